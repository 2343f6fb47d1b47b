import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { head, inboundOf, outboundOf, type Recorder, recordingApp, sendRaw } from '../support/attacker.ts'
import { client, pod, service, startMesh, type TestMesh } from '../support/mesh.ts'

const policy = (name: string, app: string, action: string, rule: string) => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}}
spec:
  selector: {matchLabels: {app: ${app}}}
  action: ${action}
  rules: [${rule}]
---`

const hosts = '{to: [{operation: {hosts: [reviews]}}]}'
const apps: Record<string, string> = {
  open: '',
  'deny-host': policy('a', 'deny-host', 'DENY', hosts),
  'deny-ports': policy('b', 'deny-ports', 'DENY', '{to: [{operation: {hosts: [reviews, "reviews:*"]}}]}'),
  'allow-host': policy('c', 'allow-host', 'ALLOW', hosts),
  'deny-value': policy('d', 'deny-value', 'DENY', '{when: [{key: "request.headers[x-role]", values: [guest]}]}'),
  'allow-value': policy('e', 'allow-value', 'ALLOW', '{when: [{key: "request.headers[X-Role]", values: [admin]}]}'),
  'allow-others': policy(
    'f',
    'allow-others',
    'ALLOW',
    '{when: [{key: "request.headers[x-role]", notValues: [guest]}]}',
  ),
  'allow-any': policy('g', 'allow-any', 'ALLOW', '{when: [{key: "request.headers[x-role]", values: ["*"]}]}'),
  'deny-method': policy('h', 'deny-method', 'DENY', '{to: [{operation: {methods: [GET]}}]}'),
  'allow-address': policy('i', 'allow-address', 'ALLOW', '{from: [{source: {ipBlocks: [203.0.113.0/24]}}]}'),
  'allow-remote': policy('j', 'allow-remote', 'ALLOW', '{from: [{source: {remoteIpBlocks: [203.0.113.0/24]}}]}'),
  'allow-namespace': policy('k', 'allow-namespace', 'ALLOW', '{from: [{source: {namespaces: [default]}}]}'),
  'deny-namespace': policy('l', 'deny-namespace', 'DENY', '{from: [{source: {namespaces: [default]}}]}'),
  'deny-others': policy('m', 'deny-others', 'DENY', '{from: [{source: {notNamespaces: [default]}}]}'),
  'allow-original-path': policy('n', 'allow-original-path', 'ALLOW', '{to: [{operation: {paths: [/public]}}]}'),
}

describe('forged names and headers', () => {
  let mesh: TestMesh
  let app: Recorder
  beforeAll(async () => {
    app = await recordingApp()
    mesh = await startMesh(
      [
        client(),
        ...Object.keys(apps).flatMap((name, i) => [
          service(name, 'default', { name: 'http', port: 9100 + i }).replace('}]', ', targetPort: 9080}]'),
          pod(name, 'v1', { annotations: app.annotation }),
        ]),
        ...Object.values(apps),
      ].join(''),
    )
  })
  afterAll(async () => {
    await mesh?.stop()
    await app?.close()
  })
  /** The answer to plain text past the client's sidecar. */
  const direct = async (to: string, bytes: string) => {
    app.seen.length = 0
    return (await sendRaw(inboundOf(mesh, `${to}-v1`), bytes)).statuses.at(-1)
  }
  const through = async (to: string, lines: string[] = [], target = '/', host?: string) => {
    app.seen.length = 0
    const port = 9100 + Object.keys(apps).indexOf(to)
    const { statuses } = await sendRaw(outboundOf(mesh, 'client', port), head(target, host ?? `${to}:${port}`, lines))
    return statuses.at(-1)
  }
  const headers = () => app.seen[0]?.headers ?? {}

  describe('hosts, as a real Envoy judges them', () => {
    /** The answers under DENY of `reviews`, of `reviews` and `reviews:*`, and ALLOW of `reviews`. */
    const table: [host: string, denied: number, deniedWithPorts: number, allowed: number][] = [
      ['reviews', 403, 403, 200],
      ['REVIEWS', 403, 403, 200],
      ['Reviews', 403, 403, 200],
      ['reviews:9080', 200, 403, 403],
      ['reviews:80', 200, 403, 403],
      ['reviews:', 200, 403, 403],
      ['reviews:99x', 200, 403, 403],
      ['reviews.', 200, 200, 403],
      ['reviews.default', 200, 200, 403],
      ['reviews.default.svc.cluster.local', 200, 200, 403],
      ['u@reviews', 200, 200, 403],
      ['xreviews', 200, 200, 403],
      ['127.0.0.1', 200, 200, 403],
      ['', 200, 200, 403],
      ['reviews/x', 400, 400, 400],
      ['reviews, x', 400, 400, 400],
      ['reviews x', 400, 400, 400],
      ['reviews\x00', 400, 400, 400],
      ['reviews#x', 400, 400, 400],
    ]
    it.each(table)('Host: %s', async (host, ...expected) => {
      const got = []
      for (const to of ['deny-host', 'deny-ports', 'allow-host']) got.push(await direct(to, head('/', host)))
      expect(got).toEqual(expected)
    })

    it('an absolute target beats Host, for the rule and for the app, and its user is dropped', async () => {
      const absolute = (target: string, host = 'other') => direct('allow-host', head(target, host))
      expect(await absolute('http://reviews/x')).toBe(200)
      expect(app.seen[0]).toMatchObject({ url: '/x', headers: { host: 'reviews' } })
      expect(await absolute('http://other/x', 'reviews')).toBe(403)
      expect(await absolute('http://u:p@reviews/x')).toBe(200)
      expect(headers().host).toBe('reviews')
      expect(await direct('deny-host', head('http://reviews/x', 'other'))).toBe(403)
    })

    it('two Hosts are one name that is neither', async () => {
      for (const names of [
        ['reviews', 'other'],
        ['other', 'reviews'],
        ['reviews', 'reviews'],
      ]) {
        const bytes = head('/', names[0], [`host: ${names[1]}`])
        expect(await direct('allow-host', bytes)).toBe(403)
        expect(await direct('deny-host', bytes)).toBe(200)
        expect(headers().host).toBe(names.join(','))
      }
    })

    it('X-Forwarded-Host and its like are no Host', async () => {
      const lines = ['x-forwarded-host: reviews', 'x-host: reviews', 'forwarded: host=reviews', ':authority: reviews']
      for (const line of lines) expect(await direct('allow-host', head('/', 'other', [line]))).not.toBe(200)
    })
  })

  describe('headers, as a real Envoy judges them', () => {
    /** The answers under DENY guest, ALLOW admin, ALLOW not guest, ALLOW any value. */
    const table: [what: string, lines: string[], denied: number, admin: number, others: number, any: number][] = [
      ['none', [], 200, 403, 200, 403],
      ['guest', ['x-role: guest'], 403, 403, 403, 200],
      ['admin', ['x-role: admin'], 200, 200, 200, 200],
      ['the name in capitals', ['X-ROLE: guest'], 403, 403, 403, 200],
      ['the value in capitals', ['x-role: Guest'], 200, 403, 200, 200],
      ['an empty value', ['x-role:'], 200, 403, 200, 200],
      ['blanks around it', ['x-role: \t guest \t '], 403, 403, 403, 200],
      ['on a continued line', ['x-role:', ' guest'], 403, 403, 403, 200],
      ['two lines', ['x-role: admin', 'x-role: guest'], 403, 200, 403, 200],
      ['two lines, turned', ['x-role: guest', 'x-role: admin'], 403, 200, 403, 200],
      ['a list', ['x-role: admin,guest'], 200, 403, 200, 200],
      ['an underscore', ['x_role: guest'], 200, 403, 200, 403],
      ['named as hop by hop', ['connection: x-role', 'x-role: guest'], 200, 403, 200, 403],
      ['admin named as hop by hop', ['connection: x-role', 'x-role: admin'], 200, 403, 200, 403],
    ]
    it.each(table)('%s', async (_, lines, ...expected) => {
      const got = []
      for (const to of ['deny-value', 'allow-value', 'allow-others', 'allow-any'])
        got.push(await direct(to, head('/', 'x', lines)))
      expect(got).toEqual(expected)
    })

    it('what Connection names is judged as the app gets it: not at all', async () => {
      expect(await direct('deny-value', head('/', 'x', ['connection: x-role', 'x-role: guest']))).toBe(200)
      expect(headers()).not.toHaveProperty('x-role')
    })

    it('methods are what they are: GET is not HEAD, and there is no get', async () => {
      const with_ = (method: string, ...lines: string[]) => direct('deny-method', head('/', 'x', lines, method))
      expect([await with_('GET'), await with_('HEAD'), await with_('get'), await with_('Get')]).toEqual([
        403, 200, 400, 400,
      ])
      expect(await with_('POST', 'content-length: 0', 'x-http-method-override: GET')).toBe(200)
    })
  })

  describe('who somebody says to be', () => {
    const identity = 'By=spiffe://x;Hash=0;URI=spiffe://cluster.local/ns/default/sa/client'

    it('a forged x-forwarded-client-cert reaches nobody, and is believed by no rule', async () => {
      const lines = [`x-forwarded-client-cert: ${identity}`, `X-Forwarded-Client-Cert: ${identity}`]
      expect(await direct('open', head('/', 'x', lines))).toBe(200)
      expect(headers()).not.toHaveProperty('x-forwarded-client-cert')
      expect(await direct('allow-namespace', head('/', 'x', lines))).toBe(403)
      expect(await through('open', lines)).toBe(200)
      expect(headers()['x-forwarded-client-cert']).toMatch(
        /^By=spiffe:\/\/cluster\.local\/ns\/default\/sa\/open;Hash=[0-9a-f]{64};Subject="";URI=spiffe:\/\/cluster\.local\/ns\/default\/sa\/client$/,
      )
    })

    it('plain text has no namespace: it is not allowed, nor denied, by one; notNamespaces refuses it', async () => {
      expect(await direct('allow-namespace', head('/'))).toBe(403)
      expect(await direct('deny-namespace', head('/'))).toBe(200)
      expect(await direct('deny-others', head('/'))).toBe(403)
      expect([await through('allow-namespace'), await through('deny-namespace'), await through('deny-others')]).toEqual(
        [200, 403, 200],
      )
    })

    it('X-Forwarded-For moves no connection; a sidecar believes it where a rule asks for the remote address', async () => {
      const forged = ['x-forwarded-for: 203.0.113.7']
      expect(await direct('allow-address', head('/', 'x', forged))).toBe(403)
      expect(await direct('allow-remote', head('/', 'x', forged))).toBe(200)
      expect(await direct('allow-remote', head('/', 'x', ['x-forwarded-for: 203.0.113.7, 10.0.0.1']))).toBe(403)
      expect(await direct('allow-remote', head('/', 'x', ['x-forwarded-for: 203.0.113.7:80']))).toBe(403)
      for (const line of [
        'x-real-ip: 203.0.113.7',
        'forwarded: for=203.0.113.7',
        'x-envoy-external-address: 203.0.113.7',
      ])
        expect(await direct('allow-remote', head('/', 'x', [line]))).toBe(403)
    })
  })

  describe('Envoy’s own headers', () => {
    /** A sidecar strips these of everyone. */
    const stripped: [name: string, value: string][] = [
      ['x-envoy-internal', 'true'],
      ['x-envoy-retry-on', '5xx'],
      ['x-envoy-retry-grpc-on', 'internal'],
      ['x-envoy-max-retries', '9'],
      ['x-envoy-retriable-status-codes', '200'],
      ['x-envoy-retriable-header-names', 'x'],
      ['x-envoy-upstream-alt-stat-name', 'x'],
      ['x-envoy-upstream-rq-timeout-ms', '1'],
      ['x-envoy-upstream-rq-per-try-timeout-ms', '1'],
      ['x-envoy-upstream-rq-timeout-alt-response', '1'],
      ['x-envoy-hedge-on-per-try-timeout', 'true'],
      ['x-envoy-force-trace', 'true'],
      ['x-envoy-ip-tags', 'x'],
      ['x-envoy-original-url', '/x'],
    ]
    it.each(stripped)('%s is taken off at both', async (name, value) => {
      expect(await direct('open', head('/', 'x', [`${name}: ${value}`]))).toBe(200)
      expect(headers()).not.toHaveProperty(name)
      expect(await through('open', [`${name}: ${value}`])).toBe(200)
      expect(headers()).not.toHaveProperty(name)
      expect(app.seen).toHaveLength(1)
    })

    it('x-envoy-attempt-count and x-envoy-expected-rq-timeout-ms are the proxies’ own', async () => {
      expect(await through('open', ['x-envoy-attempt-count: 77', 'x-envoy-expected-rq-timeout-ms: 77'])).toBe(200)
      expect(headers()['x-envoy-attempt-count']).toBe('1')
      expect(headers()['x-envoy-expected-rq-timeout-ms']).not.toBe('77')
    })

    it('x-envoy-original-path, -original-host and -decorator-operation say nothing to rules', async () => {
      for (const name of ['x-envoy-original-path', 'x-original-url', 'x-rewrite-url', 'x-forwarded-path'])
        expect(await direct('allow-original-path', head('/admin', 'x', [`${name}: /public`]))).toBe(403)
      expect(await direct('allow-host', head('/', 'x', ['x-envoy-original-host: reviews']))).toBe(403)
      expect(await direct('allow-original-path', head('/public', 'x', ['x-envoy-decorator-operation: evil']))).toBe(200)
    })
  })
})
