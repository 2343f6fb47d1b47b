import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import tls from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Identity, makeAuthority, makeIdentity } from './support/certificates.ts'
import { secretYaml } from './support/gateway.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

/** What the far side saw of a connection. */
interface Handshake {
  readonly sni: string | false | null
  readonly peer: string | undefined
  readonly alpn: string | false | null
}

const rule = (settings: string, selector = '') => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: far}
spec: {host: far, ${selector} trafficPolicy: {tls: {${settings}}}}
---`

describe('TLS that a DestinationRule asks for', () => {
  let folder: string
  let authority: Identity
  let other: Identity
  let ids: Record<'far' | 'wide' | 'me' | 'stranger', Identity>
  let shown: Identity
  let asks = true
  let server: tls.Server
  let front: net.Server
  let mesh: TestMesh
  const seen: Handshake[] = []
  const plain: string[] = []
  let inForce = ''

  beforeAll(async () => {
    authority = await makeAuthority('CN=ca')
    other = await makeAuthority('CN=other')
    const dns = (...names: string[]) => names.map((value) => ({ type: 'dns' as const, value }))
    ids = {
      far: await makeIdentity(authority, 'CN=far', dns('far.example.com', 'far')),
      wide: await makeIdentity(authority, 'CN=wide', dns('*.example.com')),
      me: await makeIdentity(authority, 'CN=me', dns('me.example.com')),
      stranger: await makeIdentity(other, 'CN=stranger', dns('far.example.com', 'far')),
    }
    shown = ids.far
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-tls-modes-'))
    const files = { 'ca.pem': authority.cert, 'other.pem': other.cert, 'me.pem': ids.me.cert, 'me.key': ids.me.key }
    for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(folder, name), text)

    server = tls.createServer(
      {
        requestCert: true,
        rejectUnauthorized: false,
        ca: authority.cert,
        ALPNCallback: ({ protocols }) => protocols.find((name) => name === 'istio' || name === 'http/1.1'),
        SNICallback: (_, done) =>
          done(null, tls.createSecureContext({ key: shown.key, cert: shown.cert, ca: authority.cert })),
        key: ids.far.key,
        cert: ids.far.cert,
      },
      (socket) => {
        const peer = socket.authorized ? socket.getPeerCertificate().subject?.CN : undefined
        seen.push({
          sni: socket.servername ?? null,
          peer: typeof peer === 'string' ? peer : undefined,
          alpn: socket.alpnProtocol,
        })
        socket.on('error', () => {})
        const status = asks && !socket.authorized ? '403 Forbidden' : '200 OK'
        socket.on('data', () => socket.end(`HTTP/1.1 ${status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`))
      },
    )
    server.on('tlsClientError', () => {})
    front = net.createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', (first) => {
        if (first[0] !== 22) {
          plain.push(first.toString('latin1').slice(0, 4))
          socket.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
          return
        }
        socket.pause()
        socket.unshift(first)
        server.emit('connection', socket)
        process.nextTick(() => socket.resume())
      })
    })
    front.listen(0, '127.0.0.1')
    await once(front, 'listening')
    const { port } = front.address() as net.AddressInfo
    mesh = await startMesh(
      {
        'mesh.yaml': [
          client(),
          service('far'),
          pod('far', 'v1', {
            annotations: `sidecar.istio.io/inject: "false", dinghy.dev/app: "9080=127.0.0.1:${port}"`,
          }),
          secretYaml('me', { 'tls.crt': ids.me.cert, 'tls.key': ids.me.key, 'ca.crt': authority.cert }, 'default'),
          secretYaml('roots', { 'ca.crt': authority.cert }, 'default'),
          `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: far}
spec: {hosts: [far], http: [{route: [{destination: {host: far}}], retries: {attempts: 0}}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    accessLogFormat: "%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%\\n"
---`,
        ].join(''),
        'rule.yaml': '',
      },
      { watch: true },
    )
  })
  afterAll(async () => {
    await mesh?.stop()
    front?.close()
    fs.rmSync(folder, { recursive: true, force: true })
  })

  /** The answer under a rule, with the certificate that the far side shows; `failed` with why there was none. */
  const under = async (yaml: string, identity: Identity = ids.far, demands = false) => {
    // Sessions of before are not resumed, or nobody would look at the certificate.
    server.setTicketKeys(randomBytes(48))
    shown = identity
    asks = demands
    seen.length = 0
    plain.length = 0
    if (yaml !== inForce) await mesh.write('rule.yaml', yaml.replaceAll('FOLDER', folder))
    inForce = yaml
    const lines = (await mesh.logLines('default', 'client', 0)).length
    const { status } = await mesh.get('client', 'http://far:9080/')
    const line = (await mesh.logLines('default', 'client', lines + 1)).at(-1)!.replaceAll('_', ' ')
    return { status, seen: seen.at(-1), line }
  }
  const CA = 'caCertificates: FOLDER/ca.pem'
  const PAIR = 'clientCertificate: FOLDER/me.pem, privateKey: FOLDER/me.key'

  it('SIMPLE asks for the name of the Host header, and takes a certificate for that name alone', async () => {
    const good = await under(rule(`mode: SIMPLE, ${CA}`))
    expect([good.status, good.seen]).toEqual([200, { sni: 'far', peer: undefined, alpn: 'http/1.1' }])
    const bad = await under(rule(`mode: SIMPLE, ${CA}`), ids.me)
    expect([bad.status, bad.line]).toEqual([
      503,
      expect.stringMatching(/^503 UF TLS error:.*verify (cert failed|SAN list)/),
    ])
  })

  it('sni is asked for as it is, and what is presented then only needs to be of the authority', async () => {
    const { status, seen } = await under(rule(`mode: SIMPLE, sni: far.example.com, ${CA}`), ids.me)
    expect([status, seen?.sni]).toEqual([200, 'far.example.com'])
  })

  it('subjectAltNames: one of them must be there, exactly', async () => {
    const names = (list: string) => rule(`mode: SIMPLE, sni: far.example.com, ${CA}, subjectAltNames: [${list}]`)
    expect((await under(names('far.example.com'))).status).toBe(200)
    expect((await under(names('x, far'))).status).toBe(200)
    for (const list of ['example.com', 'FAR.example.com.', 'far.example', '"*.example.com"', 'far.example.com.evil']) {
      const { status, line } = await under(names(list))
      expect([list, status, line]).toEqual([list, 503, expect.stringContaining('SAN matcher')])
    }
    // Envoy lets the certificate's wildcard stand for the name.
    expect((await under(names('far.example.com'), ids.wide)).status).toBe(200)
  })

  it('another authority is refused, unless insecureSkipVerify says not to look', async () => {
    const bad = await under(rule(`mode: SIMPLE, sni: far.example.com, ${CA}`), ids.stranger)
    expect([bad.status, bad.line]).toEqual([
      503,
      expect.stringMatching(/^503 UF TLS error:.*CERTIFICATE VERIFY FAILED/),
    ])
    expect((await under(rule('mode: SIMPLE, insecureSkipVerify: true'), ids.stranger)).status).toBe(200)
    expect((await under(rule('mode: SIMPLE, caCertificates: FOLDER/other.pem'), ids.stranger)).status).toBe(200)
  })

  it('without caCertificates the roots of the system count, which do not have this one', async () => {
    const { status, line } = await under(rule('mode: SIMPLE'))
    expect([status, line]).toEqual([503, expect.stringMatching(/^503 UF TLS error:.*CERTIFICATE VERIFY FAILED/)])
  })

  it('MUTUAL shows the certificate of its files', async () => {
    expect((await under(rule(`mode: SIMPLE, ${CA}`), ids.far, true)).status).toBe(403)
    const { status, seen } = await under(rule(`mode: MUTUAL, ${CA}, ${PAIR}`), ids.far, true)
    expect([status, seen?.peer]).toEqual([200, 'me'])
  })

  it('MUTUAL takes both from a Secret, for the workloads that the rule selects', async () => {
    const select = 'workloadSelector: {matchLabels: {app: client}},'
    const { status, seen } = await under(rule('mode: MUTUAL, credentialName: me', select), ids.far, true)
    expect([status, seen?.peer]).toEqual([200, 'me'])
    const other = await under(rule('mode: MUTUAL, credentialName: me', select), ids.stranger, true)
    expect(other.status).toBe(503)
    const simple = await under(rule('mode: SIMPLE, credentialName: roots, sni: far.example.com', select))
    expect([simple.status, simple.seen?.peer]).toEqual([200, undefined])
  })

  it('a sidecar takes no Secret for a rule that selects nobody: it goes in plain text', async () => {
    const { status } = await under(rule('mode: SIMPLE, credentialName: roots'))
    expect(status).toBe(400)
    expect(plain).toEqual(['GET '])
  })

  it('DISABLE is plain text', async () => {
    await under(rule('mode: DISABLE'))
    expect(plain).toEqual(['GET '])
  })

  it('ISTIO_MUTUAL speaks the mesh’s own TLS to a server that does not know it, and refuses its certificate', async () => {
    const { status, seen, line } = await under(rule('mode: ISTIO_MUTUAL'))
    expect([status, line]).toEqual([503, expect.stringMatching(/^503 UF TLS error:.*CERTIFICATE VERIFY FAILED/)])
    expect(seen).toBeUndefined()
  })
})

describe('TLS between sidecars that a DestinationRule asks for', () => {
  let mesh: TestMesh
  beforeAll(async () => {
    mesh = await startMesh(
      {
        'mesh.yaml': [
          client(),
          service('near'),
          pod('near', 'v1'),
          `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    accessLogFormat: "%RESPONSE_CODE% %REQUESTED_SERVER_NAME% %DOWNSTREAM_PEER_URI_SAN%\\n"
---`,
        ].join(''),
        'rule.yaml': '',
      },
      { watch: true },
    )
  })
  afterAll(() => mesh?.stop())
  const under = async (settings: string) => {
    await mesh.write('rule.yaml', rule(settings).replaceAll('far', 'near'))
    const lines = (await mesh.logLines('default', 'near-v1', 0)).length
    const { status } = await mesh.get('client', 'http://near:9080/')
    if (status !== 200) return [status]
    return (await mesh.logLines('default', 'near-v1', lines + 1)).at(-1)!.split(' ')
  }
  const ME = 'spiffe://cluster.local/ns/default/sa/client'

  it.each([
    [
      'ISTIO_MUTUAL asks for the name of the cluster',
      'mode: ISTIO_MUTUAL',
      '200',
      'outbound_.9080_._.near.default.svc.cluster.local',
      ME,
    ],
    ['ISTIO_MUTUAL with sni asks for that', 'mode: ISTIO_MUTUAL, sni: hello.test', '200', 'hello.test', ME],
    [
      'ISTIO_MUTUAL with an empty list of SANs still looks at them',
      'mode: ISTIO_MUTUAL, subjectAltNames: []',
      '200',
      'outbound_.9080_._.near.default.svc.cluster.local',
      ME,
    ],
    ['DISABLE shows nobody', 'mode: DISABLE', '200', '-', '-'],
  ])('%s', async (_, settings, ...expected) => {
    expect(await under(settings)).toEqual(expected)
  })

  it('ISTIO_MUTUAL with the SAN of somebody else gets no answer', async () => {
    expect(await under('mode: ISTIO_MUTUAL, subjectAltNames: [spiffe://cluster.local/ns/default/sa/else]')).toEqual([
      503,
    ])
  })

  it('SIMPLE to a sidecar of PERMISSIVE finds no way in', async () => {
    expect(await under('mode: SIMPLE, insecureSkipVerify: true')).toEqual([503])
  })
})
