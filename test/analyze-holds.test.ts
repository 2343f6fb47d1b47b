import http from 'node:http'
import net from 'node:net'
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
  ['DGY0102', deny('paths: ["/admin", "/admin/*"]'), '/x/..%3b/admin', {}, allow('to: [{operation: {paths: ["/public"]}}]')],
  ['DGY0103', deny('paths: ["/a|b"]'), '/a|b', {}, deny('paths: ["/a%7Cb"]')],
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

  /** The inbound address of the workload `reviews-v1`. */
  const inbound = () => mesh!.mesh.workloads().find(({ workload }) => workload === 'reviews-v1')!.inbound['9080']!
  /** The status that a caller without a sidecar gets, who writes the head of the request itself. */
  const rawStatus = (path: string, lines: string) =>
    new Promise<number>((resolve, reject) => {
      const [host = '', port] = inbound().split(':')
      const socket = net.connect(Number(port), host, () =>
        socket.write([`GET ${path} HTTP/1.1`, lines, 'connection: close', '', ''].join('\r\n')),
      )
      let text = ''
      socket
        .on('data', (data) => {
          text += data
        })
        .on('error', reject)
        .on('close', () => resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1])))
    })

  const byRole = (values: string, rule = '') =>
    allow(`${rule}when: [{key: "request.headers[x-role]", values: [${values}]}]`)
  const here = 'from: [{source: {ipBlocks: ["127.0.0.0/8"]}}], '
  const admin = deny('paths: ["/admin", "/admin/*"]')
  const host = deny('hosts: ["reviews.test", "reviews.test:*", "reviews.test.*"]')
  const otherHost = allow('to: [{operation: {hosts: ["x.test"]}}]')
  it.each([
    ['DGY0102', '/x/%2e%2e;/admin', 'host: reviews', [admin, allow('to: [{operation: {paths: ["/public"]}}]')]],
    ['DGY0105', '/', 'host: u@reviews.test', [host, otherHost]],
    ['DGY0105', '/', 'host: x\r\nhost: reviews.test', [host, otherHost]],
    ['DGY0105', '/', 'host: reviews.test\r\nhost: x', [host, otherHost]],
    ['DGY0107', '/', 'host: a\r\nx-role:', [byRole('"*"'), byRole('admin')]],
    ['DGY0126', '/', 'host: a\r\nx-role:', [byRole('"*"', here), byRole('admin', here)]],
  ] as const)('%s: %s is got past by %j, and not when it is written as advised', async (code, path, sent, yaml) => {
    const [weak, mended] = yaml
    expect(analyzed(BASE + weak).map((message) => message.code)).toContain(code)
    mesh = await startMesh(BASE + weak)
    expect(await rawStatus(path, sent)).toBe(200)
    await mesh.stop()
    mesh = await startMesh(BASE + mended)
    expect(await rawStatus(path, sent)).toBe(403)
  })

  it('DGY0126: of several lines one is enough, until somebody before sets the header', async () => {
    const weak = allow(
      'from: [{source: {principals: ["cluster.local/ns/default/sa/client"]}}], when: [{key: "request.headers[x-role]", values: [admin]}]',
    )
    expect(analyzed(BASE + weak).map((message) => message.code)).toContain('DGY0126')
    const sent = async (yaml: string) => {
      mesh = await startMesh(BASE + yaml)
      const [answer] = await mesh.mesh.call({
        from: 'client',
        url: 'http://reviews:9080/',
        method: 'GET',
        headers: [
          ['x-role', 'guest'],
          ['x-role', 'admin'],
        ],
        body: '',
        count: 1,
        concurrency: 1,
        timeout: 10_000,
      })
      await mesh.stop()
      mesh = undefined
      return answer?.status
    }
    expect(await sent(weak)).toBe(200)
    const sets = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{headers: {request: {set: {x-role: guest}}}, route: [{destination: {host: reviews}}]}]
---`
    expect(await sent(weak + sets)).toBe(403)
  })

  it('DGY0127: tokens for others are taken, also from the query, and not when the rule says which and where', async () => {
    const signer = makeSigner('one')
    const token = signer.sign({ iss: 'a', sub: 'b', aud: 'others' })
    const rule = (more: string) =>
      TOKENS.replace(/jwks: '.*'/, `jwks: '${jwksOf(signer)}'${more}`) +
      allow('from: [{source: {requestPrincipals: ["*"]}}]')
    expect(analyzed(BASE + rule('')).map((message) => message.code)).toContain('DGY0127')
    expect(await status(rule(''), `/?access_token=${token}`, {})).toBe(200)
    expect(await status(rule(', fromHeaders: [{name: x-token}]'), `/?access_token=${token}`, {})).toBe(403)
    expect(await status(rule(', audiences: [web]'), `/?access_token=${token}`, {})).toBe(403)
  })

  it('a set without keys: a sidecar that starts does not listen, one that runs keeps what it had', async () => {
    const empty = TOKENS.replace(/jwks: '.*'/, `jwks: '{"keys": []}'`)
    expect(await status(empty, '/', {})).toBe(503)
    mesh = await startMesh({ 'base.yaml': BASE, 'jwt.yaml': TOKENS }, { watch: true })
    await mesh.write('jwt.yaml', empty)
    const told = mesh.events.flatMap((event) => (event.type === 'problems' ? event.problems : []))
    expect(told).toContainEqual(
      expect.objectContaining({
        severity: 'warning',
        message: expect.stringContaining('there are no keys. Envoy refuses a listener with this rule'),
        line: 5,
      }),
    )
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(200)
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
