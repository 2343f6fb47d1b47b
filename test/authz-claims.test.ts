import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { jwksOf, makeSigner } from './support/jwt.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const ISSUER = 'https://id.test/realms/a'
const me = makeSigner('mine')

type Claims = Record<string, unknown> | undefined

const ANNA = { sub: 'anna' }
const OTTO = { sub: 'otto' }

const principals = (list: string) => `{from: [{source: {requestPrincipals: ${list}}}]}`
const when = (key: string, field: string) => `{when: [{key: "${key}", ${field}}]}`

/** A rule, and claims that it matches and does not; undefined: no token. */
const RULES: [rule: string, matches: Claims[], not: Claims[]][] = [
  [principals(`["${ISSUER}/anna"]`), [ANNA], [OTTO, undefined]],
  [principals(`["${ISSUER}/*"]`), [ANNA, OTTO], [undefined]],
  [principals('["*/anna"]'), [ANNA], [OTTO]],
  [principals('["*"]'), [ANNA, OTTO], [undefined]],
  [`{from: [{source: {notRequestPrincipals: ["*"]}}]}`, [undefined], [ANNA]],
  [`{from: [{source: {notRequestPrincipals: ["${ISSUER}/otto"]}}]}`, [ANNA, undefined], [OTTO]],
  [when('request.auth.principal', `values: ["${ISSUER}/otto"]`), [OTTO], [ANNA, undefined]],
  [when('request.auth.principal', 'notValues: ["*"]'), [undefined], [ANNA]],
  [
    when('request.auth.audiences', 'values: ["shop"]'),
    [{ aud: 'shop' }, { aud: ['a', 'shop'] }],
    [{ aud: 'shops' }, {}],
  ],
  [when('request.auth.audiences', 'values: ["s*", "*z"]'), [{ aud: 'shop' }, { aud: ['xyz'] }], [{ aud: 'a' }]],
  [when('request.auth.presenter', 'values: ["app"]'), [{ azp: 'app' }], [{ azp: 'other' }, undefined]],
  [when('request.auth.presenter', 'notValues: ["app"]'), [{ azp: 'other' }, undefined], [{ azp: 'app' }]],
  [
    when('request.auth.claims[group]', 'values: ["a", "b*"]'),
    [{ group: 'a' }, { group: ['x', 'bc'] }],
    [{ group: 'x' }, { group: 1 }, undefined],
  ],
  [when('request.auth.claims[group]', 'values: ["*"]'), [{ group: 'a' }], [{ group: '' }, {}]],
  [when('request.auth.claims[group]', 'notValues: ["a"]'), [{ group: 'b' }, {}, undefined], [{ group: ['b', 'a'] }]],
  [
    when('request.auth.claims[realm][roles]', 'values: ["admin"]'),
    [{ realm: { roles: ['user', 'admin'] } }, { realm: { roles: 'admin' } }],
    [{ realm: { roles: ['user'] } }, { realm: 'admin' }],
  ],
  [
    when('request.auth.claims[scope]', 'values: ["write"]'),
    [{ scope: 'read write' }],
    [{ scope: 'read' }, { scope: 'writer' }],
  ],
  [
    `{from: [{source: {requestPrincipals: ["*"], namespaces: [default]}}], to: [{operation: {methods: [GET]}}], when: [{key: "request.auth.claims[group]", values: [a]}]}`,
    [{ group: 'a' }],
    [{ group: 'b' }, undefined],
  ],
]

describe('AuthorizationPolicy by the claims of tokens', () => {
  let mesh: TestMesh
  beforeAll(async () => {
    mesh = await startMesh(
      {
        'base.yaml': `${[client(), service('reviews'), pod('reviews', 'v1')].join('')}
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt, namespace: default}
spec:
  selector: {matchLabels: {app: reviews}}
  jwtRules: ${JSON.stringify([{ issuer: ISSUER, jwks: jwksOf(me) }])}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}}
---`,
        'policies.yaml': '',
      },
      { watch: true },
    )
  })
  afterAll(async () => {
    await mesh?.stop()
  })

  const status = async (claims: Claims) => {
    const headers = claims ? { authorization: `Bearer ${me.sign({ iss: ISSUER, sub: 'x', ...claims })}` } : undefined
    return (await mesh.get('client', 'http://reviews:9080/', { headers: headers ?? {} })).status
  }

  it.each(RULES)('%s', async (rule, matches, not) => {
    await mesh.write(
      'policies.yaml',
      `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: default}
spec: {selector: {matchLabels: {app: reviews}}, rules: [${rule}]}
`,
    )
    for (const claims of matches) expect([claims, await status(claims)]).toEqual([claims, 200])
    for (const claims of not) expect([claims, await status(claims)]).toEqual([claims, 403])
  })
})
