import { parseDuration } from '../api/duration.ts'

/** istiod's own switches, read from the environment under istiod's names (pilot/pkg/features). */
export interface PilotEnv {
  /** PILOT_ENABLE_METADATA_EXCHANGE: emit the `istio.metadata_exchange` filters. Default true. */
  metadataExchange: boolean
  /** PILOT_ENABLE_ALPN_FILTER: emit the `istio.alpn` filter. Default true. */
  alpnFilter: boolean
  /** PILOT_DISABLE_MX_ALPN: leave `istio-peer-exchange` out of the ALPN lists. Default false. */
  disableMxAlpn: boolean
  /** PILOT_HTTP10: take HTTP/1.0 everywhere. Default false. */
  http10: boolean
  /** ENABLE_100_CONTINUE_HEADERS. Default true. */
  proxy100Continue: boolean
  /** PILOT_SIDECAR_USE_REMOTE_ADDRESS: on outbound sidecar listeners. Default false. */
  useRemoteAddress: boolean
  /** DISABLE_SHADOW_HOST_SUFFIX: mirrored requests keep their host. Default true. */
  disableShadowHostSuffix: boolean
  /** PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS: unready endpoints are sent as unhealthy. Default true. */
  sendUnhealthyEndpoints: boolean
  /** PILOT_ENABLE_ABSOLUTE_FQDN_VHOST_DOMAIN: the name with a trailing dot is a domain too. Default true. */
  absoluteFqdnDomains: boolean
  /** PILOT_TRACE_SAMPLING, percent. Default 1. */
  traceSampling: number
  /** PILOT_DEBOUNCE_AFTER in milliseconds. Default 100. */
  debounceAfter: number
  /** PILOT_DNS_JITTER_DURATION in milliseconds, added to the period of DNS. Default 100; 0 for none. */
  dnsJitter: number
  /** ENABLE_TLS_ON_SIDECAR_INGRESS: the `tls` of a Sidecar's ingress listeners has effect. Default false. */
  tlsOnSidecarIngress: boolean
  /** PILOT_ENABLE_PERSISTENT_SESSION_FILTER: sessions of Services with the labels for it. Default false. */
  persistentSessions: boolean
  /** PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS: CUSTOM policies of a workload may name several. Default false. */
  multipleAuthorizers: boolean
  /**
   * PILOT_JWT_ENABLE_REMOTE_JWKS: who fetches what a `jwksUri` names: this pilot (`istiod`, `false`), the proxies where it is a
   * service of the mesh (`hybrid`, `true`), or always the proxies (`envoy`). Default `istiod`.
   */
  jwksFetchMode: 'istiod' | 'hybrid' | 'envoy'
  /** Any variable, '' when unset: for MeshConfig's headers that take their values from one. */
  variable: (name: string) => string
  /** CLUSTER_ID. Default `Kubernetes`. */
  clusterId: string
  /** DNS suffix of the cluster (istiod's flag `--domain`, DOMAIN_SUFFIX here). Default `cluster.local`. */
  domain: string
}

/** pkg/jwt ConvertToJwksFetchMode. */
const JWKS_MODES = new Map<string, PilotEnv['jwksFetchMode']>([
  ['hybrid', 'hybrid'],
  ['true', 'hybrid'],
  ['envoy', 'envoy'],
])

/** Reads the switches; what is absent or unreadable takes its default, as in istiod. */
export function pilotEnv(env: Readonly<Record<string, string | undefined>>): PilotEnv {
  const bool = (name: string, otherwise: boolean): boolean => {
    const text = env[name]?.toLowerCase()
    if (text === undefined || !/^(?:1|t|true|0|f|false)$/.test(text)) return otherwise
    return text === '1' || text.startsWith('t')
  }
  const millis = (name: string, otherwise: number): number => {
    try {
      return env[name] ? parseDuration(env[name]) : otherwise
    } catch {
      return otherwise
    }
  }
  const sampling = Number(env.PILOT_TRACE_SAMPLING)
  return {
    metadataExchange: bool('PILOT_ENABLE_METADATA_EXCHANGE', true),
    alpnFilter: bool('PILOT_ENABLE_ALPN_FILTER', true),
    disableMxAlpn: bool('PILOT_DISABLE_MX_ALPN', false),
    http10: bool('PILOT_HTTP10', false),
    proxy100Continue: bool('ENABLE_100_CONTINUE_HEADERS', true),
    useRemoteAddress: bool('PILOT_SIDECAR_USE_REMOTE_ADDRESS', false),
    disableShadowHostSuffix: bool('DISABLE_SHADOW_HOST_SUFFIX', true),
    sendUnhealthyEndpoints: bool('PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS', true),
    absoluteFqdnDomains: bool('PILOT_ENABLE_ABSOLUTE_FQDN_VHOST_DOMAIN', true),
    traceSampling: env.PILOT_TRACE_SAMPLING && sampling >= 0 && sampling <= 100 ? sampling : 1,
    debounceAfter: millis('PILOT_DEBOUNCE_AFTER', 100),
    dnsJitter: millis('PILOT_DNS_JITTER_DURATION', 100),
    tlsOnSidecarIngress: bool('ENABLE_TLS_ON_SIDECAR_INGRESS', false),
    persistentSessions: bool('PILOT_ENABLE_PERSISTENT_SESSION_FILTER', false),
    multipleAuthorizers: bool('PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS', false),
    jwksFetchMode: JWKS_MODES.get(env.PILOT_JWT_ENABLE_REMOTE_JWKS ?? '') ?? 'istiod',
    variable: (name) => env[name] ?? '',
    clusterId: env.CLUSTER_ID || 'Kubernetes',
    domain: env.DOMAIN_SUFFIX || 'cluster.local',
  }
}
