import http from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { analyzed } from './support/analysis.ts'
import { startApp } from './support/app.ts'
import { jwksOf, makeSigner } from './support/jwt.ts'
import { client, pod, type Send, service, startMesh, type TestMesh } from './support/mesh.ts'

const policy = (spec: string, name = 'p') => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}}
spec: {${spec}}
---`
const meshConfig = (mode: string) => `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'pathNormalization: {normalization: ${mode}}'}
---`
const STRICT = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec: {mtls: {mode: STRICT}}
---`
const TOKENS = `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt}
spec: {jwtRules: [{issuer: a, jwks: '${jwksOf(makeSigner('one'))}'}]}
---`
const BASE = client() + service('reviews') + pod('reviews', 'v1')
const deny = (operation: string) => policy(`action: DENY, rules: [{to: [{operation: {${operation}}}]}]`)
const denyWhen = (key: string, value: string) =>
  policy(`action: DENY, rules: [{when: [{key: "${key}", values: [${value}]}]}]`)
const allow = (rule: string) => policy(`rules: [{${rule}}]`)

/** What a warning says gets past a policy, and the policy that it says to write instead. */
const TRICKS: readonly [code: string, weak: string, path: string, send: Send, mended: string][] = [
  ['DGY0101', deny('paths: ["/admin", "/admin/*"]'), '//admin', {}, meshConfig('MERGE_SLASHES') + deny('paths: ["/admin", "/admin/*"]')],
  ['DGY0101', deny('paths: ["/admin"]'), '/admin/', {}, deny('paths: ["/admin", "/admin/*"]')],
  ['DGY0101', deny('paths: ["/admin/*"]'), '/admin', {}, deny('paths: ["/admin", "/admin/*"]')],
  [
    'DGY0101', deny('paths: ["/admin", "/admin/*"]'), '/%2Fadmin', {},
    meshConfig('DECODE_AND_MERGE_SLASHES') + deny('paths: ["/admin", "/admin/*"]'),
  ],
  ['DGY0102', deny('paths: ["/admin", "/admin/*"]'), '/ADMIN', {}, allow('to: [{operation: {paths: ["/public"]}}]')],
  ['DGY0102', deny('paths: ["/admin", "/admin/*"]'), '/admin;a=b', {}, allow('to: [{operation: {paths: ["/public"]}}]')],
  ['DGY0103', deny('paths: ["/q?a=1"]'), '/q?a=1', {}, deny('paths: ["/q"]')],
  ['DGY0104', deny('paths: ["/v[0-9]+"]'), '/v1', {}, deny('paths: ["/{*}"]')],
  ['DGY0105', deny('hosts: ["reviews:9080"]'), '/', { headers: { host: 'reviews.' } }, allow('to: [{operation: {hosts: ["x.test"]}}]')],
  ['DGY0106', denyWhen('request.headers[x-role]', 'guest'), '/', { headers: { 'x-role': 'GUEST' } }, allow('when: [{key: "request.headers[x-role]", values: [admin]}]')],
  ['DGY0107', allow('when: [{key: "request.headers[x-role]", values: [admin]}]'), '/', { headers: { 'x-role': 'admin' } }, allow('from: [{source: {principals: ["cluster.local/ns/default/sa/other"]}}], when: [{key: "request.headers[x-role]", values: [admin]}]')],
  ['DGY0108', deny('methods: [GET]'), '/', { method: 'HEAD' }, deny('methods: [GET, HEAD]')],
  ['DGY0109', deny('methods: [get]'), '/', {}, deny('methods: [GET]')],
  ['DGY0112', policy('action: DENY, rules: [{from: [{source: {principals: ["spiffe://cluster.local/ns/default/sa/client"]}}]}]'), '/', {}, policy('action: DENY, rules: [{from: [{source: {principals: ["cluster.local/ns/default/sa/client"]}}]}]')],
  ['DGY0117', allow('from: [{source: {remoteIpBlocks: ["198.51.100.0/24"]}}]'), '/', { headers: { 'x-forwarded-for': '198.51.100.7' } }, allow('from: [{source: {ipBlocks: ["198.51.100.0/24"]}}]')],
] // biome-ignore format: a table

describe('a policy that analyze warns of', () => {
  let mesh: TestMesh | undefined
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })
  const status = async (yaml: string, path: string, send: Send) => {
    mesh = await startMesh(BASE + yaml)
    const got = await mesh.get('client', `http://reviews:9080${path}`, send)
    await mesh.stop()
    mesh = undefined
    return got.status
  }

  const cases = TRICKS.map(([code, weak, path, send, mended]) => [code, path, { weak, send, mended }] as const)
  it.each(cases)('%s: %s is got past, and not when it is written as advised', async (code, path, trick) => {
    const { weak, send, mended } = trick
    expect(analyzed(BASE + weak).map((message) => message.code)).toContain(code)
    expect(await status(weak, path, send)).toBe(200)
    expect(await status(mended, path, send)).toBe(403)
  })

  it('DGY0114: plaintext has no namespace that could be refused', async () => {
    const weak = policy('action: DENY, rules: [{from: [{source: {namespaces: [default]}}]}]')
    expect(analyzed(BASE + weak).map(({ code }) => code)).toContain('DGY0114')
    const plaintext = async (yaml: string) => {
      mesh = await startMesh(BASE + yaml)
      const at = mesh.mesh.workloads().find(({ workload }) => workload === 'reviews-v1')!.inbound['9080']
      return new Promise<number | string | undefined>((resolve) => {
        http
          .get(`http://${at}/`, { agent: false }, (response) => resolve(response.resume().statusCode))
          .on('error', (e: NodeJS.ErrnoException) => resolve(e.code))
      })
    }
    expect(await plaintext(weak)).toBe(200)
    await mesh?.stop()
    expect(await plaintext(weak + STRICT)).toBe('ECONNRESET')
  })

  it.each([
    ['DGY0110', deny('methods: [POST]'), 'tcp', undefined],
    ['DGY0111', allow('to: [{operation: {methods: [GET]}}]'), 'tcp', undefined],
    ['DGY0115', allow('from: [{source: {requestPrincipals: ["*"]}}]'), 'http', 403],
    ['DGY0115', policy('action: DENY, rules: [{from: [{source: {notRequestPrincipals: ["*"]}}]}]'), 'http', 403],
    ['DGY0116', TOKENS, 'http', 200],
    ['DGY0120', deny('ports: ["80"]'), 'http', 200],
    ['DGY0121', policy('action: CUSTOM, provider: {name: nobody}, rules: [{}]'), 'http', 403],
    [
      'DGY0123',
      deny('methods: [GET]').replace('{name: p', '{annotations: {istio.io/dry-run: "true"}, name: p'),
      'http',
      200,
    ],
  ])('%s: does what the warning says', async (code, yaml, protocol, wanted) => {
    const app = await startApp((_request, response) => response.end('ok'))
    const base = `${client()}${service('reviews', 'default', { name: protocol, port: 80 }).replace('port: 80', 'port: 80, targetPort: 9080')}${pod('reviews', 'v1', { annotations: app.annotation })}`
    try {
      expect(analyzed(base + yaml).map((message) => message.code)).toContain(code)
      mesh = await startMesh(base + yaml)
      const { status: got } = await mesh.get('client', 'http://reviews/')
      // Where TCP is refused there is no answer at all.
      expect(got || undefined).toBe(wanted)
    } finally {
      await app.close()
    }
  })

  it('what surely is a mistake is told by a running mesh too, once', async () => {
    const wrong = policy('rules: [{from: [{source: {principals: ["spiffe://cluster.local/ns/a/sa/b"]}}]}]')
    mesh = await startMesh({ 'base.yaml': BASE, 'policy.yaml': wrong }, { watch: true })
    const told = () => mesh!.events.flatMap((event) => (event.type === 'problems' ? event.problems : []))
    expect(told()).toEqual([
      expect.objectContaining({
        severity: 'warning',
        message: expect.stringMatching(/"spiffe:\/\/".*\[DGY0112\]$/),
        line: 5,
      }),
    ])
    await mesh.write('base.yaml', `${BASE}${client('other')}`)
    expect(told()).toHaveLength(1)
  })
})
