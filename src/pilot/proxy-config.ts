import type { ConnectionSettings, MeshProxyConfig } from '../api/kinds/mesh-proxy-config.ts'
import { mergeProxyConfig } from './effective-proxy-config.ts'
import type { ProxyNode } from './proxy.ts'
import type { PushContext } from './scope/push-context.ts'

/** The settings of a proxy: MeshConfig's defaultConfig, under what the proxy says of itself (PROXY_CONFIG). */
export function proxyConfigOf(push: PushContext, proxy: ProxyNode): MeshProxyConfig {
  return proxy.proxyConfig ? mergeProxyConfig(push.mesh.defaultConfig, proxy.proxyConfig) : push.mesh.defaultConfig
}

/** What the profile EDGE sets at gateways where nothing is stated: Envoy's advice for edge proxies. */
const EDGE: ConnectionSettings = {
  listenerPerConnectionBufferLimitBytes: 32 * 1024,
  httpIdleTimeout: '1h',
  httpStreamIdleTimeout: '5m',
  httpRequestTimeout: '5m',
  httpRequestHeadersTimeout: '60s',
  httpMaxConcurrentStreams: 100,
  http2InitialStreamWindowSize: 64 * 1024,
  http2InitialConnectionWindowSize: 1024 * 1024,
  httpHeadersWithUnderscoresAction: 'HEADERS_WITH_UNDERSCORES_REJECT_REQUEST',
  httpMergeSlashes: true,
  httpPathWithEscapedSlashesAction: 'UNESCAPE_AND_REDIRECT',
}

/** The connection settings of a proxy, with what its profile sets (networking/core/connection_settings.go). */
export function connectionSettingsOf(push: PushContext, proxy: ProxyNode): ConnectionSettings | undefined {
  const stated = proxyConfigOf(push, proxy).connectionSettings ?? push.mesh.defaultConfig.connectionSettings
  return stated?.profile === 'EDGE' && proxy.type === 'router' ? { ...EDGE, ...stated } : stated
}

/** What of the headers that proxies add is switched on or off (networking/util/proxy_headers.go). */
export interface ProxyHeaderOptions {
  /** '' leaves Envoy's `envoy`. */
  serverName: string
  /** ServerHeaderTransformation: 0 OVERWRITE, 2 PASS_THROUGH. */
  serverTransformation: 0 | 2
  /** ForwardClientCertDetails. */
  forwardClientCert: 0 | 1 | 2 | 3 | 4
  attemptCount: boolean
  requestId: boolean
  suppressDebugHeaders: boolean
  skipExternalExchange: boolean
  xForwardedHost: boolean
  xForwardedPort: boolean
}

/** Values of ForwardClientCertDetails by their names in MeshConfig. */
export const FORWARD_CLIENT_CERT = {
  UNDEFINED: 2,
  SANITIZE: 0,
  FORWARD_ONLY: 1,
  APPEND_FORWARD: 2,
  SANITIZE_SET: 3,
  ALWAYS_FORWARD_ONLY: 4,
} as const

/** The header options of a listener. Outbound listeners of sidecars keep Envoy's server name, `envoy`. */
export function proxyHeaders(config: MeshProxyConfig, outbound: boolean): ProxyHeaderOptions {
  const headers = config.proxyHeaders
  const { server } = headers ?? {}
  const name = server?.disabled ? '' : server?.value || (outbound ? '' : 'istio-envoy')
  return {
    serverName: name,
    serverTransformation: server?.disabled ? 2 : 0,
    forwardClientCert: FORWARD_CLIENT_CERT[headers?.forwardedClientCert ?? 'UNDEFINED'],
    attemptCount: !headers?.attemptCount?.disabled,
    requestId: !headers?.requestId?.disabled,
    suppressDebugHeaders: headers?.envoyDebugHeaders?.disabled === true,
    skipExternalExchange: headers?.metadataExchangeHeaders?.mode === 'IN_MESH',
    xForwardedHost: headers?.xForwardedHost?.enabled === true,
    xForwardedPort: headers?.xForwardedPort?.enabled === true,
  }
}
