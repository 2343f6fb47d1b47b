import net from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { type App, startApp } from './support/app.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const url = 'http://reviews:9080/'

const meshConfig = (text: string) => `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    ${text}
---`

const base = [client(), service('reviews'), pod('reviews', 'v1')]

describe('MeshConfig', () => {
  let mesh: TestMesh | undefined
  const apps: App[] = []
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
    for (const app of apps.splice(0)) await app.close()
  })
  const start = async (text: string) => {
    mesh = await startMesh([...base, meshConfig(text)].join(''))
    return mesh
  }
  const dump = async (from: TestMesh, who: string) =>
    (await fetch(`http://${from.mesh.workloads().find((w) => w.name === who)!.admin}/config_dump`)).text()

  it('accessLogEncoding: JSON writes objects', async () => {
    const mesh = await start('accessLogFile: /dev/stdout\n    accessLogEncoding: JSON')
    await mesh.get('client', `${url}a`)
    const [line] = await mesh.logLines('default', 'client', 1)
    expect(JSON.parse(line!)).toMatchObject({
      method: 'GET',
      path: '/a',
      response_code: 200,
      authority: 'reviews:9080',
    })
  })

  it('an access log provider to a file, made the default, writes its format', async () => {
    const provider =
      'extensionProviders: [{name: mine, envoyFileAccessLog: {path: /dev/stdout, logFormat: {text: "%PROTOCOL% %RESPONSE_CODE%\\n"}}}]'
    const mesh = await start(`${provider}\n    defaultProviders: {accessLogging: [mine]}`)
    await mesh.get('client', url)
    expect(await mesh.logLines('default', 'client', 1)).toEqual(['HTTP/1.1 200'])
  })

  it('trustDomain is the domain of every identity', async () => {
    const mesh = await start('trustDomain: example.org')
    const { echo } = await mesh.get('client', url)
    expect(echo!.request.headers['x-forwarded-client-cert']).toContain('URI=spiffe://example.org/ns/default/sa/client')
  })

  it('enableAutoMtls: false speaks plain text', async () => {
    const { echo } = await (await start('enableAutoMtls: false')).get('client', url)
    expect(echo!.request.headers['x-forwarded-client-cert']).toBeUndefined()
  })

  it('meshMTLS.minProtocolVersion reaches the handshake', async () => {
    const format = 'accessLogFile: /dev/stdout\n    accessLogFormat: "%DOWNSTREAM_TLS_VERSION%\\n"'
    const mesh = await start(`meshMTLS: {minProtocolVersion: TLSV1_3}\n    ${format}`)
    await mesh.get('client', url)
    expect(await mesh.logLines('default', 'reviews-v1', 1)).toEqual(['TLSv1.3'])
  })

  it.each(['inboundTrafficPolicy: {mode: LOCALHOST}', 'proxyListenPort: 15011', 'proxyInboundListenPort: 15016'])(
    'with %s requests arrive',
    async (text) => {
      expect((await (await start(text)).get('client', url)).echo?.workload).toBe('reviews-v1')
    },
  )

  it('pathNormalization decides what paths look like', async () => {
    const mesh = await start('pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}')
    expect((await mesh.get('client', `${url}a//b%2fc`)).echo?.request.path).toBe('/a/b/c')
  })

  it.each([
    ['server: {value: mine}', (headers: Record<string, string>) => headers.server, 'mine'],
    ['server: {disabled: true}', (headers: Record<string, string>) => headers.server ?? 'none', 'none'],
    [
      'envoyDebugHeaders: {disabled: true}',
      (headers: Record<string, string>) => headers['x-envoy-upstream-service-time'] ?? 'none',
      'none',
    ],
  ])('proxyHeaders {%s} shows in answers', async (headers, read, expected) => {
    const mesh = await start(`defaultConfig: {proxyHeaders: {${headers}}}`)
    expect(read((await mesh.get('client', url)).headers as Record<string, string>)).toBe(expected)
  })

  it.each([
    ['attemptCount: {disabled: true}', 'x-envoy-attempt-count', undefined],
    ['forwardedClientCert: SANITIZE', 'x-forwarded-client-cert', undefined],
    [
      'setCurrentClientCertDetails: {uri: false, subject: false, dns: false, cert: true}',
      'x-forwarded-client-cert',
      /Cert="-----BEGIN/,
    ],
    ['xForwardedPort: {enabled: true}', 'x-forwarded-port', /^\d+$/],
  ])('proxyHeaders {%s} shows in requests', async (headers, name, expected) => {
    const mesh = await start(`defaultConfig: {proxyHeaders: {${headers}}}`)
    const value = (await mesh.get('client', url)).echo!.request.headers[name]
    if (expected) expect(value).toMatch(expected)
    else expect(value).toBeUndefined()
  })

  it('proxyHeaders {requestId: {disabled: true}} makes no ids', async () => {
    const mesh = await start('defaultConfig: {proxyHeaders: {requestId: {disabled: true}}}')
    const { address } = mesh.mesh.registry.byHostname('reviews.default.svc.cluster.local')!.get('default')!
    const socket = net.connect(await mesh.mesh.captureOf('client', address, 9080))
    socket.write('GET / HTTP/1.1\r\nhost: reviews:9080\r\nconnection: close\r\n\r\n')
    const chunks: Buffer[] = []
    for await (const chunk of socket) chunks.push(chunk as Buffer)
    expect(Buffer.concat(chunks).toString()).toMatch(/^HTTP\/1.1 200(?![\s\S]*x-request-id)/)
  })

  it('connectionSettings hold for what sidecars accept', async () => {
    const app = await startApp((_request, response) => setTimeout(() => response.end(), 300))
    apps.push(app)
    const settings =
      'httpMaxStreamDuration: 50ms, httpHeadersWithUnderscoresAction: HEADERS_WITH_UNDERSCORES_REJECT_REQUEST'
    mesh = await startMesh(
      [
        client(),
        service('reviews'),
        pod('reviews', 'v1', { annotations: app.annotation }),
        meshConfig(`defaultConfig: {connectionSettings: {${settings}}}`),
      ].join(''),
    )
    expect((await mesh.get('client', url, { headers: { a_b: 'c' } })).status).toBe(400)
    expect((await mesh.get('client', url)).status).not.toBe(200)
    expect(await dump(mesh, 'client')).toContain('max_stream_duration')
  })
})

describe('a mesh whose YAML asks for nothing that is missing', () => {
  it('says nothing', async () => {
    const mesh = await startMesh(base.join(''))
    await mesh.get('client', url)
    expect(mesh.events.filter(({ type }) => ['problems', 'workload', 'rejected'].includes(type))).toEqual([])
    await mesh.stop()
  })
})
