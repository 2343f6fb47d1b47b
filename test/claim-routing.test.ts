import { afterEach, describe, expect, it } from 'vitest'
import { loadText } from '../src/api/load.ts'
import { routeMatch } from '../src/pilot/route/match.ts'
import { gatewayYaml } from './support/gateway.ts'
import { jwksOf, makeSigner } from './support/jwt.ts'
import { pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const me = makeSigner('mine')
const ISSUER = 'https://id.test'

const gateway = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---`

const authentication = `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  jwtRules: ${JSON.stringify([{ issuer: ISSUER, jwks: jwksOf(me), spaceDelimitedClaims: ['roles'] }])}
---`

const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---`

/** Routes in order: those with a match lead to `v2`, the rest to `v1`. */
const routes = (...matches: object[]) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: ["*"]
  gateways: [web]
  http:
  - match: ${JSON.stringify(matches)}
    route: [{destination: {host: web, subset: v2}}]
  - route: [{destination: {host: web, subset: v1}}]
---`

const base = [gatewayYaml(), gateway, strict, service('web'), pod('web', 'v1'), pod('web', 'v2')].join('')

describe('routing by the claims of a JWT at a gateway', () => {
  let mesh: TestMesh | undefined
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })
  const start = async (...matches: object[]) => {
    mesh = await startMesh(base + authentication + routes(...matches))
  }
  const version = async (claims?: Record<string, unknown>, headers: Record<string, string> = {}) => {
    const token = claims && me.sign({ iss: ISSUER, ...claims })
    const got = await mesh!.get('outside', 'http://web.test/', {
      headers: { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...headers },
    })
    return got.echo?.version ?? got.status
  }
  const claim = (name: string, match: object) => ({ headers: { [`@request.auth.claims${name}`]: match } })

  it('takes a string, or a list that has it', async () => {
    await start(claim('.group', { exact: 'beta' }))
    expect(await version({ group: 'beta' })).toBe('v2')
    expect(await version({ group: ['alpha', 'beta'] })).toBe('v2')
    expect(await version({ group: 'betas' })).toBe('v1')
    expect(await version({ group: 7 })).toBe('v1')
    expect(await version({})).toBe('v1')
    expect(await version()).toBe('v1')
    expect(await version(undefined, { authorization: 'Bearer rubbish' })).toBe(401)
  })

  it('takes nested claims, with dots or brackets, prefixes and regular expressions', async () => {
    await start(
      claim('.org.team', { prefix: 'blu' }),
      claim('[https://x.test/roles][admin]', { regex: 'a+b' }),
      claim('[roles]', { exact: 'writer' }),
    )
    expect(await version({ org: { team: 'blue' } })).toBe('v2')
    expect(await version({ org: { team: 'red' } })).toBe('v1')
    expect(await version({ 'https://x.test/roles': { admin: 'aab' } })).toBe('v2')
    expect(await version({ 'https://x.test/roles': { admin: 'aabb' } })).toBe('v1')
    expect(await version({ roles: 'reader writer' })).toBe('v2')
  })

  it('takes all conditions of a match together, and those that must not hold', async () => {
    await start({
      headers: { '@request.auth.claims.group': { exact: 'beta' }, 'x-try': { exact: 'yes' } },
      withoutHeaders: { '@request.auth.claims.blocked': { exact: 'true' } },
    })
    expect(await version({ group: 'beta' }, { 'x-try': 'yes' })).toBe('v2')
    expect(await version({ group: 'beta' }, { 'x-try': 'no' })).toBe('v1')
    expect(await version({ group: 'beta', blocked: 'true' }, { 'x-try': 'yes' })).toBe('v1')
  })

  it('believes no header that a client sends', async () => {
    await start(claim('.group', { exact: 'beta' }))
    expect(await version(undefined, { 'x-group': 'beta', group: 'beta' })).toBe('v1')
  })
})

describe('a match on claims', () => {
  it.each([
    ['@request.auth.claims.sub', ['sub']],
    ['@Request.Auth.Claims.a.b', ['a', 'b']],
    ['@request.auth.claims[a.b][c]', ['a.b', 'c']],
    ['@request.auth.claims[a[b]c]', ['a[b]c']],
    ['@request.auth.claims.a..b', ['a', '', 'b']],
  ])('%s is one on metadata', (name, claims) => {
    const match = routeMatch({ headers: { [name]: { exact: 'v' } } } as never, 'virtual-service')
    const [matcher] = match.dynamicMetadata ?? []
    const keys = matcher?.path?.map(({ segment }) => segment?.value)
    expect(keys).toEqual(['payload', ...claims])
    expect(matcher?.filter).toBe('envoy.filters.http.jwt_authn')
    expect(match.headers).toEqual([])
  })

  it('is refused where sidecars would have to make it', () => {
    const problems = (gateways: string) =>
      loadText(
        'vs.yaml',
        `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web.test]
  ${gateways}
  http:
  - match: [{headers: {"@request.auth.claims.sub": {exact: a}}}]
    route: [{destination: {host: web}}]
`,
      ).problems.map(({ line, col, severity, message }) => `${line}:${col} ${severity} ${message.replace(/.*: /, '')}`)
    const refused = ['8:24 error claims of a JWT can be matched at gateways alone']
    expect(problems('')).toEqual(refused)
    expect(problems('gateways: [mesh]')).toEqual(refused)
    expect(problems('gateways: [web, mesh]')).toEqual(refused)
    expect(problems('gateways: [web]')).toEqual([])
  })
})
