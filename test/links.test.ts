import { afterEach, describe, expect, it } from 'vitest'
import { linksBrief, linksTable } from '../src/cli/links.ts'
import type { LinkView } from '../src/mesh/control/link-view.ts'
import type { Link } from '../src/pilot/links/link.ts'
import { countLinks } from '../src/pilot/links/rows.ts'
import { transportTo } from '../src/pilot/links/transport.ts'
import { type Init, make, packed } from '../src/xds/messages.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const peers = (spec: string) => `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: peers}
spec: {${spec}}
---`
const rule = (policy: string, more = '') => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy: {${policy}}${more}
---`
const NO_SIDECAR = 'sidecar.istio.io/inject: "false"'
const bare = client('bare').replace('labels:', `annotations: {${NO_SIDECAR}}, labels:`)
const BASE = client() + service('reviews') + pod('reviews', 'v1')

describe('which links are mutual TLS', () => {
  let mesh: TestMesh | undefined
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })
  const start = async (...yaml: string[]) => {
    mesh = await startMesh({ 'base.yaml': BASE, 'rules.yaml': yaml.join('') || '# none\n' }, { watch: true })
    return mesh
  }
  const rows = (of: TestMesh): [clients: string, target: string, how: string, by: string, mode: string][] =>
    of.mesh
      .links()
      .rows.map((row: LinkView) => [
        row.clients,
        row.target,
        row.fails ? `${row.transport} fails` : row.transport,
        row.by.replace(/ \S*rules\.yaml/, ''),
        row.mode,
      ])

  it('all of them, when nothing is said', async () => {
    const { mesh: running, get } = await start()
    expect(rows(mesh!)).toEqual([['*', 'reviews:9080', 'mTLS', 'auto mTLS', 'PERMISSIVE']])
    expect(running.links()).toMatchObject({ links: 1, mtls: 1 })
    expect(running.links().rows[0]?.observed).toEqual({ tls: 0, plaintext: 0, failed: 0 })
    await get('client', 'http://reviews:9080/')
    expect(running.links().rows[0]?.observed).toEqual({ tls: 1, plaintext: 0, failed: 0 })
  })

  it('STRICT, with the policy that says so', async () => {
    const { mesh: running } = await start(peers('mtls: {mode: STRICT}'))
    expect(rows(mesh!)).toEqual([['*', 'reviews:9080', 'mTLS', 'auto mTLS', 'STRICT']])
    expect(running.links().rows[0]?.modeBy).toMatch(/^PeerAuthentication default\/peers .*rules\.yaml:2$/)
  })

  it('none where a policy says DISABLE', async () => {
    await start(peers('mtls: {mode: DISABLE}'))
    expect(rows(mesh!)).toEqual([['*', 'reviews:9080', 'plaintext', 'PeerAuthentication default/peers:2', 'DISABLE']])
  })

  it('plaintext by a DestinationRule is seen as such', async () => {
    const { mesh: running, get } = await start(rule('tls: {mode: DISABLE}'))
    expect(rows(mesh!)).toEqual([['*', 'reviews:9080', 'plaintext', 'DestinationRule default/reviews:7', 'PERMISSIVE']])
    expect(running.links()).toMatchObject({ links: 1, mtls: 0 })
    expect((await get('client', 'http://reviews:9080/')).status).toBe(200)
    expect(running.links().rows[0]?.observed).toEqual({ tls: 0, plaintext: 1, failed: 0 })
  })

  it('plaintext to STRICT fails, and so do its requests', async () => {
    const { mesh: running, get } = await start(peers('mtls: {mode: STRICT}'), rule('tls: {mode: DISABLE}'))
    const [row] = running.links().rows
    expect(row?.shortcoming).toMatch(
      /^fails: it is plaintext \(DestinationRule default\/reviews .*rules\.yaml:\d+\), and the server takes mutual TLS only \(STRICT, PeerAuthentication default\/peers/,
    )
    expect((await get('client', 'http://reviews:9080/')).status).toBe(503)
  })

  it('one port by a policy of its own', async () => {
    const selector = 'selector: {matchLabels: {app: reviews}}'
    const two = service('reviews').replace('port: 9080}', 'port: 9080}, {name: http-b, port: 9090}')
    await start(two, peers(`${selector}, mtls: {mode: STRICT}, portLevelMtls: {9090: {mode: DISABLE}}`))
    expect(rows(mesh!)).toEqual([
      ['*', 'reviews:9080', 'mTLS', 'auto mTLS', 'STRICT'],
      ['*', 'reviews:9090', 'plaintext', 'PeerAuthentication default/peers:9', 'DISABLE'],
    ])
  })

  it('a client without a sidecar speaks plaintext', async () => {
    await start(bare)
    expect(rows(mesh!)).toEqual([
      ['bare', 'reviews:9080', 'plaintext', 'client has no sidecar', 'PERMISSIVE'],
      ['client', 'reviews:9080', 'mTLS', 'auto mTLS', 'PERMISSIVE'],
    ])
  })

  it('a server without a sidecar gets plaintext, and cannot end mutual TLS', async () => {
    await start(pod('reviews', 'v2', { annotations: NO_SIDECAR }))
    expect(rows(mesh!)).toEqual([
      ['client', 'reviews:9080 (reviews-v1)', 'mTLS', 'auto mTLS', 'PERMISSIVE'],
      ['*', 'reviews:9080 (reviews-v2)', 'plaintext', 'server has no sidecar', 'no sidecar'],
      ['reviews-v2', 'reviews:9080 (reviews-v1)', 'plaintext', 'client has no sidecar', 'PERMISSIVE'],
    ])
    await mesh!.write(
      'rules.yaml',
      pod('reviews', 'v2', { annotations: NO_SIDECAR }) + rule('tls: {mode: ISTIO_MUTUAL}'),
    )
    expect(rows(mesh!)[1]?.slice(0, 3)).toEqual(['*', 'reviews:9080 (reviews-v2)', 'mTLS fails'])
  })

  it('TLS to a service outside the mesh is no link of the mesh', async () => {
    const { mesh: running } = await start(`
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec: {hosts: [api.test], ports: [{number: 443, name: https, protocol: HTTPS}], resolution: STATIC, endpoints: [{address: 127.0.0.1}]}
---${rule('tls: {mode: SIMPLE, insecureSkipVerify: true}').replace('host: reviews', 'host: api.test')}`)
    expect(rows(mesh!)).toContainEqual(['*', 'api.test:443', 'TLS', 'DestinationRule default/reviews:12', 'outside'])
    expect(linksBrief(running.links(), 5)).toEqual(['mTLS: 1 of 1 link'])
  })

  it('a subset that goes otherwise has a line of its own', async () => {
    await start(
      rule(
        'connectionPool: {tcp: {maxConnections: 5}}',
        '\n  subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {tls: {mode: DISABLE}}}]',
      ),
    )
    expect(rows(mesh!)).toEqual([
      ['*', 'reviews:9080', 'mTLS', 'auto mTLS', 'PERMISSIVE'],
      ['*', 'reviews:9080 v1', 'plaintext', 'DestinationRule default/reviews:8', 'PERMISSIVE'],
    ])
  })

  it.each([
    ['excludeInboundPorts: "9080"', ['*', 'reviews:9080', 'mTLS fails', 'auto mTLS', 'no sidecar']],
    ['includeInboundPorts: "8080"', ['*', 'reviews:9080', 'mTLS fails', 'auto mTLS', 'no sidecar']],
  ])('a port that the server takes past its sidecar: %s', async (annotation, row) => {
    const annotations = `traffic.sidecar.istio.io/${annotation}`
    mesh = await startMesh(client() + service('reviews') + pod('reviews', 'v1', { annotations }))
    expect(rows(mesh)).toEqual([row])
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(503)
  })

  it('a port that the client takes past its sidecar is plaintext', async () => {
    const past = client().replace(
      'labels:',
      'annotations: {traffic.sidecar.istio.io/excludeOutboundPorts: "9080"}, labels:',
    )
    mesh = await startMesh(past + service('reviews') + pod('reviews', 'v1'))
    const by = 'the client leaves it out of its redirection'
    expect(rows(mesh)).toEqual([['*', 'reviews:9080', 'plaintext', by, 'PERMISSIVE']])
  })

  it.each([
    ['SIMPLE to STRICT', 'STRICT', 'SIMPLE, insecureSkipVerify: true', 'TLS fails'],
    ['ISTIO_MUTUAL to DISABLE', 'DISABLE', 'ISTIO_MUTUAL', 'mTLS fails'],
    ['ISTIO_MUTUAL to STRICT', 'STRICT', 'ISTIO_MUTUAL', 'mTLS'],
  ])('what fails, fails: %s', async (_name, mode, tls, how) => {
    await start(peers(`mtls: {mode: ${mode}}`), rule(`tls: {mode: ${tls}}`))
    expect(rows(mesh!)[0]?.[2]).toBe(how)
    expect((await mesh!.get('client', 'http://reviews:9080/')).status).toBe(how === 'mTLS' ? 200 : 503)
  })

  it('are told in short, with the reason of what is no mutual TLS', async () => {
    const { mesh: running } = await start(bare, service('details'), pod('details', 'v1'))
    expect(linksBrief(running.links(), 5)).toEqual([
      'mTLS: 4 of 6 links',
      '  bare → details:9080, reviews:9080 is plaintext (client has no sidecar)',
    ])
    expect(linksTable(running.links().rows)).toMatch(/^CLIENT +TO +CONNECTION +BY +SERVER TAKES +SEEN\n/)
  })

  it('tells which links a change of the files concerns', async () => {
    const running = await start(peers('mtls: {mode: PERMISSIVE}'))
    const told = () => running.events.flatMap((event) => (event.type === 'changed' ? [event.summary] : []))
    await running.write('rules.yaml', rule('tls: {mode: DISABLE}'))
    expect(told()).toContainEqual(
      expect.stringMatching(
        /^\* → reviews:9080 is plaintext now \(DestinationRule default\/reviews .*rules\.yaml:7\)$/,
      ),
    )
    await running.write('rules.yaml', rule('connectionPool: {tcp: {maxConnections: 5}}'))
    expect(told()).toContain('* → reviews:9080 is mTLS now (auto mTLS)')
    const seen = told().length
    await running.write('rules.yaml', rule('connectionPool: {tcp: {maxConnections: 6}}'))
    expect(
      told()
        .slice(seen)
        .filter((line) => line.includes('→')),
    ).toEqual([])
  })
})

describe('a link', () => {
  const link = (more: object): Link =>
    ({
      clients: [{ namespace: 'default', workload: 'a' }],
      hostname: 'b',
      port: 80,
      subset: '',
      mode: 'STRICT',
      transport: 'mTLS',
      fails: undefined,
      ...more,
    }) as unknown as Link

  it('counts as mutual TLS only when all of it works, and not again for a subset', () => {
    expect(countLinks([link({})])).toEqual({ links: 1, mtls: 1 })
    expect(countLinks([link({ fails: 'the server takes none' })])).toEqual({ links: 1, mtls: 0 })
    expect(countLinks([link({}), link({ transport: 'plaintext' })])).toEqual({ links: 1, mtls: 0 })
    expect(countLinks([link({}), link({ subset: 'v1', transport: 'plaintext' })])).toEqual({ links: 1, mtls: 1 })
    expect(countLinks([link({ mode: 'outside' })])).toEqual({ links: 0, mtls: 0 })
  })

  type Socket = Init<'envoy.config.core.v3.TransportSocket'>
  type Common = Init<'envoy.extensions.transport_sockets.tls.v3.CommonTlsContext'>
  const secure = (commonTlsContext: Common): Socket => ({
    name: 'tls',
    configType: {
      case: 'typedConfig',
      value: packed('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', { commonTlsContext }),
    },
  })
  const behindProxyProtocol = (transportSocket: Socket): Socket => ({
    name: 'proxy protocol',
    configType: {
      case: 'typedConfig',
      value: packed('envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport', {
        transportSocket,
      }),
    },
  })
  const mutual = { tlsCertificateSdsSecretConfigs: [{ name: 'default' }] }
  it.each([
    ['its own certificate', secure(mutual), 'mTLS', true],
    ['that beneath the PROXY protocol', behindProxyProtocol(secure(mutual)), 'mTLS', true],
    ['a certificate of files', secure({ tlsCertificates: [{}] }), 'TLS', true],
    ['none', secure({}), 'TLS', false],
  ])('shows %s', (_what, transportSocket, transport, showsCertificate) => {
    const cluster = make('envoy.config.cluster.v3.Cluster', { transportSocket })
    expect(transportTo(cluster, undefined)).toEqual({ transport, showsCertificate })
  })
})
