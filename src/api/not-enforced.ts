import type { ApiObject, Kind, Path } from './objects.ts'

/** A field (or a whole kind) that is read and checked, but does nothing yet. */
export interface NotEnforced {
  /**
   * The kind, then the path of the field: `[]` is any entry of a list, `{}` any entry of a map, `=X` asks for that
   * value. Without a path, the whole kind.
   */
  pattern: string
  /** What does not happen. */
  words: string
}

const rows = (kind: Kind, ...fields: [path: string, words: string][]): NotEnforced[] =>
  fields.map(([path, words]) => ({ pattern: path === '' ? kind : `${kind} ${path}`, words }))

/** The same fields of a DestinationRule's traffic policy, of its subsets', and of their ports'. */
const policies = (...fields: [path: string, words: string][]): NotEnforced[] =>
  ['spec.trafficPolicy', 'spec.subsets[].trafficPolicy'].flatMap((policy) =>
    [policy, `${policy}.portLevelSettings[]`].flatMap((at) =>
      rows('DestinationRule', ...fields.map(([path, words]): [string, string] => [`${at}.${path}`, words])),
    ),
  )

/** Everything that is understood but not enforced yet. Strike out a line when the data path gets it. */
export const NOT_ENFORCED: readonly NotEnforced[] = [
  ...rows(
    'VirtualService',
    ['spec.http[].timeout', 'request timeouts'],
    ['spec.http[].retries', 'retries'],
    ['spec.http[].fault', 'faults'],
    ['spec.http[].mirror', 'mirroring'],
    ['spec.http[].mirrors', 'mirroring'],
    ['spec.http[].corsPolicy', 'CORS'],
    ['spec.http[].match[].statPrefix', 'per-route statistics'],
    ['spec.tls', 'routing by SNI'],
    ['spec.tcp[].match', 'conditions on TCP routes'],
  ),
  ...policies(
    ['loadBalancer.simple=PASSTHROUGH', 'the PASSTHROUGH load balancer'],
    ['loadBalancer.consistentHash', 'consistent hashing'],
    ['loadBalancer.localityLbSetting', 'locality load balancing'],
    ['loadBalancer.zoneAwareLbSetting', 'zone-aware load balancing'],
    ['loadBalancer.warmup', 'warm-up'],
    ['loadBalancer.warmupDurationSecs', 'warm-up'],
    ['connectionPool.tcp.maxConnections', 'connection limits'],
    ['connectionPool.tcp.maxConnectionDuration', 'the duration limit of connections'],
    ['connectionPool.tcp.tcpKeepalive', 'TCP keep-alive'],
    ['connectionPool.tcp.idleTimeout', 'idle timeouts'],
    ['connectionPool.http.http1MaxPendingRequests', 'the limit of pending requests'],
    ['connectionPool.http.http2MaxRequests', 'the limit of active requests'],
    ['connectionPool.http.maxRequestsPerConnection', 'the limit of requests per connection'],
    ['connectionPool.http.maxRetries', 'the limit of retries'],
    ['connectionPool.http.idleTimeout', 'idle timeouts'],
    ['connectionPool.http.h2UpgradePolicy=UPGRADE', 'HTTP/2 towards the service'],
    ['connectionPool.http.useClientProtocol', "use of the client's protocol"],
    ['connectionPool.http.maxConcurrentStreams', 'the limit of HTTP/2 streams'],
    ['connectionPool.http.http2KeepAlive', 'HTTP/2 keep-alive'],
    ['outlierDetection', 'outlier detection'],
    ['tls.mode=SIMPLE', 'TLS origination'],
    ['tls.mode=MUTUAL', 'TLS origination'],
  ),
  ...rows(
    'DestinationRule',
    ['spec.trafficPolicy.tunnel', 'tunnelling'],
    ['spec.trafficPolicy.proxyProtocol', 'the PROXY protocol'],
    ['spec.trafficPolicy.retryBudget', 'retry budgets'],
    ['spec.subsets[].trafficPolicy.tunnel', 'tunnelling'],
    ['spec.subsets[].trafficPolicy.proxyProtocol', 'the PROXY protocol'],
    ['spec.subsets[].trafficPolicy.retryBudget', 'retry budgets'],
  ),
  ...rows(
    'ServiceEntry',
    ['spec.resolution=DNS', 'resolution by DNS'],
    ['spec.resolution=DNS_ROUND_ROBIN', 'resolution by DNS'],
    ['spec.resolution=DYNAMIC_DNS', 'resolution by DNS on demand'],
    ['spec.subjectAltNames', 'the check of subject alternative names'],
  ),
  ...rows(
    'Service',
    ['spec.sessionAffinity=ClientIP', 'session affinity'],
    ['spec.trafficDistribution', 'locality load balancing'],
    ['spec.internalTrafficPolicy=Local', 'the preference for the own node'],
    ['spec.externalIPs', 'external addresses'],
  ),
  ...rows('Pod', [
    'spec.containers[].readinessProbe',
    'readiness probes (a pod is ready unless its status says otherwise)',
  ]),
  ...(['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet'] as const).flatMap((kind) =>
    rows(kind, ['spec.template.spec.containers[].readinessProbe', 'readiness probes (every pod is ready)']),
  ),
  ...rows('Gateway', ['', 'gateways']),
  ...rows('Sidecar', ['', 'Sidecar']),
  ...rows('WorkloadGroup', ['', 'automatic registration of workloads']),
  ...rows('PeerAuthentication', ['', 'PeerAuthentication (mutual TLS stays PERMISSIVE)']),
  ...rows('RequestAuthentication', ['', 'JWT authentication']),
  ...rows('AuthorizationPolicy', ['', 'authorization (everything is allowed)']),
  ...rows('EnvoyFilter', ['', 'EnvoyFilter']),
  ...rows('Telemetry', ['', 'Telemetry']),
  ...rows('ProxyConfig', ['', 'ProxyConfig']),
  ...rows(
    'MeshConfig',
    ['spec.accessLogEncoding=JSON', 'access logs in JSON'],
    ['spec.enableEnvoyAccessLogService', 'the access log service'],
    ['spec.extensionProviders', 'extension providers'],
    ['spec.defaultProviders', 'default providers'],
    ['spec.defaultConfig', 'settings of proxies'],
    ['spec.localityLbSetting', 'locality load balancing'],
    ['spec.zoneAwareLbSetting', 'zone-aware load balancing'],
    ['spec.defaultHttpRetryPolicy', 'retries'],
    ['spec.defaultTrafficPolicy', 'connection limits and outlier detection'],
    ['spec.outboundTrafficPolicy.mode=ALLOW_ANY_DYNAMIC_DNS', 'resolution by DNS on demand'],
    ['spec.caCertificates', 'further roots of trust'],
    ['spec.ca', 'another certificate authority'],
    ['spec.serviceSettings', 'settings of services'],
    ['spec.h2UpgradePolicy=UPGRADE', 'HTTP/2 towards services'],
    ['spec.tcpKeepalive', 'TCP keep-alive'],
    ['spec.meshMTLS', 'versions and ciphers of mutual TLS'],
    ['spec.tlsDefaults', 'versions and ciphers of TLS'],
    ['spec.hboneIdleTimeout', 'HBONE'],
    ['spec.ingressClass', 'Ingress'],
    ['spec.ingressControllerMode', 'Ingress'],
    ['spec.ingressSelector', 'Ingress'],
    ['spec.ingressService', 'Ingress'],
    ['spec.configSources', 'other sources of configuration'],
    ['spec.certificates', 'DNS certificates'],
    ['spec.serviceScopeConfigs', 'scopes of services'],
    ['spec.enablePrometheusMerge', "merging of the application's metrics"],
    ['spec.verifyCertificateAtClient', 'the check of certificates at the client'],
    ['spec.discoverySelectors', 'selection of namespaces'],
    ['spec.defaultInboundHttpRetryPolicy', 'retries'],
    ['spec.serviceEntryVisibility', 'visibility of ServiceEntries'],
  ),
]

/** A use of something in the table. */
export interface NotEnforcedUse {
  pattern: string
  path: Path
  /** `not enforced yet: …`. */
  message: string
}

interface Row extends NotEnforced {
  steps: string[]
}

const BY_KIND = new Map<string, Row[]>()
for (const row of NOT_ENFORCED) {
  const [kind, path] = row.pattern.split(' ') as [string, string | undefined]
  const steps = path?.match(/\[\]|\{\}|=.*$|[^.[\]{}=]+/g) ?? []
  BY_KIND.set(kind, [...(BY_KIND.get(kind) ?? []), { ...row, steps }])
}

/** What an object uses of the table: the first place for each pattern. */
export function notEnforced(object: ApiObject): NotEnforcedUse[] {
  const uses: NotEnforcedUse[] = []
  for (const { pattern, words, steps } of BY_KIND.get(object.kind) ?? []) {
    const path = steps.length === 0 ? ['kind'] : firstUse(object, steps, 0, [])
    if (!path) continue
    const field = steps.length === 0 ? '' : ` (${pattern.slice(pattern.indexOf(' ') + 1).replace(/=.*/, '')})`
    uses.push({ pattern, path, message: `not enforced yet: ${words}${field}` })
  }
  return uses
}

function firstUse(value: unknown, steps: readonly string[], i: number, path: Path): Path | undefined {
  if (value === undefined || value === false) return undefined
  const step = steps[i]
  if (step === undefined) return path
  if (step.startsWith('=')) return value === step.slice(1) ? path : undefined
  if (typeof value !== 'object' || value === null) return undefined
  if (step === '[]' || step === '{}') {
    for (const [key, item] of Object.entries(value)) {
      const found = firstUse(item, steps, i + 1, [...path, step === '[]' ? Number(key) : key])
      if (found) return found
    }
    return undefined
  }
  return firstUse((value as Record<string, unknown>)[step], steps, i + 1, [...path, step])
}
