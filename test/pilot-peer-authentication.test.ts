import { describe, expect, it } from 'vitest'
import { type Json, pilotOf, podYaml, serviceYaml } from './support/pilot.ts'

const base = serviceYaml('a', 'http:80>8080 tcp:90>9090') + podYaml('a1', 'app: a')

const policy = (spec: string, name = 'p', namespace = 'default', created = '2026-01-01T00:00:00Z') => `---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: ${name}, namespace: ${namespace}, creationTimestamp: ${created}}
spec: ${spec}
`

/** The kinds of connections that the chains of a port take. */
function taken(yaml: string, port: number | undefined = 8080): string[] {
  const { filter_chains: chains } = pilotOf(base + yaml)
    .proxy('a1')
    .listener('virtualInbound')
  return chains
    .filter((chain: Json) => chain.filter_chain_match?.destination_port === port && !chain.name.includes('blackhole'))
    .map((chain: Json) => {
      const { transport_protocol: transport = 'any', application_protocols: protocols } = chain.filter_chain_match
      return `${transport}${protocols ? `/${protocols.join(',')}` : ''}${chain.transport_socket ? ' terminated' : ''}`
    })
}

describe('PeerAuthentication', () => {
  it('is PERMISSIVE when there is none', () => {
    const mutual = 'tls/istio,istio-peer-exchange,istio-http/1.0,istio-http/1.1,istio-h2 terminated'
    expect(taken('')).toEqual([mutual, 'raw_buffer'])
    // TLS that is not Istio's is the app's own.
    expect(taken('', 9090)).toEqual([mutual, 'tls', 'raw_buffer'])
  })

  it.each([
    ['STRICT', ['tls terminated']],
    ['DISABLE', ['raw_buffer']],
  ])('%s', (mode, kinds) => {
    expect(taken(policy(`{mtls: {mode: ${mode}}}`))).toEqual(kinds)
  })

  it('STRICT asks for a client certificate', () => {
    const { filter_chains: chains } = pilotOf(base + policy('{mtls: {mode: STRICT}}'))
      .proxy('a1')
      .listener('virtualInbound')
    const chain = chains.find((known: Json) => known.filter_chain_match?.destination_port === 8080)
    expect(chain.transport_socket.typed_config).toMatchObject({
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
      require_client_certificate: true,
      common_tls_context: {
        alpn_protocols: ['h2', 'http/1.1'],
        tls_certificate_sds_secret_configs: [{ name: 'default' }],
      },
    })
  })

  it.each([
    ['TLSv1_2', ''],
    ['TLSv1_2', 'meshMTLS: {minProtocolVersion: TLS_AUTO}'],
    ['TLSv1_2', 'meshMTLS: {minProtocolVersion: TLSV1_2}'],
    ['TLSv1_3', 'meshMTLS: {minProtocolVersion: TLSV1_3}'],
  ])('a client needs %s at least: %s', (least, settings) => {
    const mesh = `---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    ${settings || 'accessLogFile: ""'}
`
    const { filter_chains: chains } = pilotOf(base + policy('{mtls: {mode: STRICT}}') + mesh)
      .proxy('a1')
      .listener('virtualInbound')
    const secure = chains.filter((chain: Json) => chain.transport_socket)
    expect(secure.length).toBeGreaterThan(0)
    for (const { transport_socket: socket } of secure) {
      expect(socket.typed_config.common_tls_context.tls_params).toMatchObject({
        tls_minimum_protocol_version: least,
        tls_maximum_protocol_version: 'TLSv1_3',
      })
    }
  })

  const isStrict = (yaml: string, port = 8080) =>
    taken(yaml, port).length === 1 && taken(yaml, port)[0]?.endsWith('terminated')

  it('of a workload goes before that of the namespace, and that before the mesh', () => {
    const root = policy('{mtls: {mode: STRICT}}', 'root', 'istio-system')
    const namespace = policy('{mtls: {mode: PERMISSIVE}}', 'namespace')
    const workload = policy('{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}}', 'workload')
    expect(isStrict(root)).toBe(true)
    expect(isStrict(root + namespace)).toBe(false)
    expect(isStrict(root + namespace + workload)).toBe(true)
  })

  it('UNSET and nothing inherit', () => {
    const root = policy('{mtls: {mode: STRICT}}', 'root', 'istio-system')
    expect(isStrict(root + policy('{mtls: {mode: UNSET}}'))).toBe(true)
    expect(isStrict(root + policy('{}'))).toBe(true)
  })

  it('of one port', () => {
    const ports = policy(
      '{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {9090: {mode: DISABLE}}}',
    )
    expect(isStrict(ports)).toBe(true)
    expect(taken(ports, 9090).every((kind) => !kind.includes('terminated'))).toBe(true)
  })

  it('the oldest of a namespace counts', () => {
    const newer = policy('{mtls: {mode: DISABLE}}', 'newer', 'default', '2026-02-01T00:00:00Z')
    const older = policy('{mtls: {mode: STRICT}}', 'older', 'default', '2026-01-01T00:00:00Z')
    expect(isStrict(newer + older)).toBe(true)
  })

  it('holds for ports of no service too', () => {
    const strict = taken(policy('{mtls: {mode: STRICT}}'), undefined)
    expect(strict.length).toBeGreaterThan(0)
    expect(strict.every((kind) => kind.endsWith('terminated'))).toBe(true)
    expect(taken('', undefined).some((kind) => kind === 'raw_buffer')).toBe(true)
  })
})
