import type { ListenerProtocol } from '../../registry/protocol.ts'
import type { MtlsMode } from '../scope/peer-authentication.ts'

/** One way into an inbound port: which connections, how they are taken, and whether mutual TLS ends here. */
export interface InboundMatch {
  alpn: string[]
  transport: 'tls' | 'raw_buffer'
  protocol: 'http' | 'tcp'
  tls: boolean
}

const HTTP_ALPN = ['istio-http/1.0', 'istio-http/1.1', 'istio-h2']
const TCP_ALPN = ['istio-peer-exchange', 'istio']
/** Every ALPN value by which sidecars mark Istio's mutual TLS. */
export const ALL_ALPN = ['istio', 'istio-peer-exchange', ...HTTP_ALPN]

/**
 * The ways into a port, by what it carries and how it takes connections: sidecars mark by ALPN what they send
 * (networking/core/filterchain_options.go).
 */
export function inboundMatches(protocol: ListenerProtocol, mode: MtlsMode, plaintext: string[]): InboundMatch[] {
  const mtls = (kind: 'http' | 'tcp', alpn: string[]): InboundMatch => ({
    alpn,
    transport: 'tls',
    protocol: kind,
    tls: true,
  })
  const raw = (kind: 'http' | 'tcp', alpn: string[] = []): InboundMatch => ({
    alpn,
    transport: 'raw_buffer',
    protocol: kind,
    tls: false,
  })
  const opaque: InboundMatch = { alpn: [], transport: 'tls', protocol: 'tcp', tls: false }
  switch (protocol) {
    case 'http':
      if (mode === 'STRICT') return [mtls('http', [])]
      return mode === 'PERMISSIVE' ? [mtls('http', ALL_ALPN), raw('http')] : [raw('http')]
    case 'auto':
      if (mode === 'STRICT') return [mtls('http', HTTP_ALPN), mtls('tcp', [])]
      return mode === 'PERMISSIVE'
        ? [mtls('http', HTTP_ALPN), raw('http', plaintext), mtls('tcp', TCP_ALPN), raw('tcp'), opaque]
        : [raw('http', plaintext), raw('tcp')]
    default:
      if (mode === 'STRICT') return [mtls('tcp', [])]
      return mode === 'PERMISSIVE' ? [mtls('tcp', ALL_ALPN), opaque, raw('tcp')] : [raw('tcp')]
  }
}
