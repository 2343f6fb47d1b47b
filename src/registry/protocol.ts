import { own } from '../api/own.ts'

/** What a service port carries, as Istio tells it (pkg/config/protocol). `AUTO` is Istio's «unsupported»: sniffed. */
export type Protocol =
  | 'TCP'
  | 'UDP'
  | 'GRPC'
  | 'GRPC-Web'
  | 'HTTP'
  | 'HTTP_PROXY'
  | 'HTTP2'
  | 'HTTPS'
  | 'TLS'
  | 'Mongo'
  | 'Redis'
  | 'MySQL'
  | 'AUTO'

const BY_NAME: Record<string, Protocol> = {
  tcp: 'TCP',
  udp: 'UDP',
  grpc: 'GRPC',
  'grpc-web': 'GRPC-Web',
  http: 'HTTP',
  http_proxy: 'HTTP_PROXY',
  http2: 'HTTP2',
  https: 'HTTPS',
  tls: 'TLS',
  mongo: 'Mongo',
  redis: 'Redis',
  mysql: 'MySQL',
}

/** Reads a protocol's name, in any case; what is not known is sniffed. */
export function parseProtocol(text: string | undefined): Protocol {
  return BY_NAME[(text ?? '').toLowerCase()] ?? 'AUTO'
}

// On these ports the server speaks first, or breaks when sniffed: SMTP, DNS, MySQL, MongoDB.
const NEVER_SNIFFED = new Set([25, 53, 3306, 27017])

const KUBERNETES_APP_PROTOCOLS: Record<string, Protocol> = {
  'kubernetes.io/h2c': 'HTTP2',
  'kubernetes.io/ws': 'HTTP',
  'kubernetes.io/wss': 'HTTPS',
}

/** The protocol of a Kubernetes service port: `appProtocol` before the name's prefix (pkg/config/kube/conversion.go). */
export function servicePortProtocol(port: {
  port: number
  name?: string
  protocol?: string
  appProtocol?: string
}): Protocol {
  if (port.protocol === 'UDP') return 'UDP'
  let name = port.name ?? ''
  if (port.appProtocol !== undefined) {
    const known = own(KUBERNETES_APP_PROTOCOLS, port.appProtocol)
    if (known) return known
    name = port.appProtocol
  }
  if (name.toLowerCase().startsWith('grpc-web')) return 'GRPC-Web'
  const protocol = parseProtocol(name.split('-', 1)[0])
  return protocol === 'AUTO' && NEVER_SNIFFED.has(port.port) ? 'TCP' : protocol
}

const HTTP_FAMILY = new Set<Protocol>(['HTTP', 'HTTP2', 'HTTP_PROXY', 'GRPC', 'GRPC-Web'])
const TCP_FAMILY = new Set<Protocol>(['TCP', 'HTTPS', 'TLS', 'Mongo', 'Redis', 'MySQL'])

/** Whether Envoy treats it as HTTP. */
export const isHttp = (protocol: Protocol): boolean => HTTP_FAMILY.has(protocol)
/** Whether Envoy may treat it as HTTP. */
export const isHttpOrSniffed = (protocol: Protocol): boolean => protocol === 'AUTO' || HTTP_FAMILY.has(protocol)
/** Whether Envoy upstream speaks HTTP/2 by declaration. */
export const isHttp2 = (protocol: Protocol): boolean =>
  protocol === 'HTTP2' || protocol === 'GRPC' || protocol === 'GRPC-Web'
/** Whether Envoy treats it as bytes. */
export const isTcp = (protocol: Protocol): boolean => TCP_FAMILY.has(protocol)
/** Whether it starts with a TLS handshake that stays opaque. */
export const isTls = (protocol: Protocol): boolean => protocol === 'HTTPS' || protocol === 'TLS'
/** Whether it is gRPC. */
export const isGrpc = (protocol: Protocol): boolean => protocol === 'GRPC' || protocol === 'GRPC-Web'

/** The three ways in which a listener can be built for a port. */
export type ListenerProtocol = 'http' | 'tcp' | 'auto' | 'udp'

/** How a listener is built for a port of this protocol (pilot/pkg/networking/networking.go). */
export function listenerProtocol(protocol: Protocol): ListenerProtocol {
  if (isHttp(protocol)) return 'http'
  if (isTcp(protocol)) return 'tcp'
  return protocol === 'UDP' ? 'udp' : 'auto'
}
