import { annotations, NO_HTTP2, PROXY_SETTINGS } from './not-enforced-sidecars.ts'
import type { ApiObject, Kind, Path } from './objects.ts'

/** A field (or a whole kind) that is read and checked, but does nothing yet. */
export interface NotEnforced {
  /**
   * The kind, then the path of the field: `[]` is any entry of a list, `{}` any entry of a map, `=X` asks for that
   * value, `~X` for one that the regular expression finds, `"a.b/c"` is a key that holds dots. Without a path, the
   * whole kind.
   */
  pattern: string
  /** What does not happen. */
  words: string
}

const rows = (kind: Kind, ...fields: [path: string, words: string][]): NotEnforced[] =>
  fields.map(([path, words]) => ({ pattern: path === '' ? kind : `${kind} ${path}`, words }))

/** Extension providers that nothing here calls. */
const PROVIDERS = [
  'envoyExtAuthzHttp',
  'envoyExtAuthzGrpc',
  'zipkin',
  'opentelemetry',
  'datadog',
  'skywalking',
  'lightstep',
  'opencensus',
  'stackdriver',
  'prometheus',
  'envoyHttpAls',
  'envoyTcpAls',
  'envoyOtelAls',
] as const

/** The same fields of a DestinationRule's traffic policy, of its subsets', and of their ports'. */
const policies = (...fields: [path: string, words: string][]): NotEnforced[] =>
  ['spec.trafficPolicy', 'spec.subsets[].trafficPolicy'].flatMap((policy) =>
    [policy, `${policy}.portLevelSettings[]`].flatMap((at) =>
      rows('DestinationRule', ...fields.map(([path, words]): [string, string] => [`${at}.${path}`, words])),
    ),
  )

/** The HTTP/2 family of port names and protocols (pkg/config/protocol). */
const HTTP2 = '(?:http2|grpc(?!-web(?:-|$)))(?:-|$)'
const ZONES = 'zone-aware routing within a region (the order of regions holds)'
const NO_GRPC_WEB = 'gRPC-Web (the listeners of the port are refused)'
const NO_MONGO = 'statistics of MongoDB traffic'
const NO_DYNAMIC_DNS = 'resolution by DNS on demand (the HTTP listeners of the port are refused)'

/** A command of format strings that nothing here can compute: where it stands, the whole resource is refused. */
const CEL = '~%CEL\\('
const NO_CEL = 'CEL expressions in formats'

const HEADER_VALUES = ['headers', 'route[].headers'].flatMap((headers) =>
  ['request', 'response'].flatMap((side) =>
    ['set', 'add'].map((operation): [string, string] => [
      `spec.http[].${headers}.${side}.${operation}{}${CEL}`,
      `${NO_CEL} (the routes of the port are refused)`,
    ]),
  ),
)

/** Everything that is understood but not enforced yet. Strike out a line when the data path gets it. */
export const NOT_ENFORCED: readonly NotEnforced[] = [
  ...rows(
    'VirtualService',
    ['spec.http[].retries.retryRemoteLocalities', 'retries in other localities'],
    ['spec.http[].match[].statPrefix', 'per-route statistics'],
    ...HEADER_VALUES,
  ),
  ...policies(
    ['loadBalancer.zoneAwareLbSetting', ZONES],
    ['connectionPool.tcp.tcpKeepalive.probes', 'the number of keep-alive probes'],
    ['connectionPool.tcp.tcpKeepalive.interval', 'the interval of keep-alive probes'],
    ['connectionPool.http.h2UpgradePolicy=UPGRADE', NO_HTTP2],
    ['connectionPool.http.useClientProtocol', "use of the client's protocol, which is always HTTP/1.1"],
    ['connectionPool.http.maxConcurrentStreams', 'the limit of HTTP/2 streams'],
    ['connectionPool.http.http2KeepAlive', 'HTTP/2 keep-alive'],
    ['outlierDetection.outlierDetectionHttpErrorCodes', 'the choice of status codes that count as errors'],
  ),
  ...rows(
    'DestinationRule',
    ['spec.trafficPolicy.tunnel', 'tunnelling (the TCP listeners of the host are refused)'],
    ['spec.trafficPolicy.proxyProtocol', 'the PROXY protocol (the clusters of the host are refused)'],
    ['spec.subsets[].trafficPolicy.tunnel', 'tunnelling (the TCP listeners of the host are refused)'],
    ['spec.subsets[].trafficPolicy.proxyProtocol', 'the PROXY protocol (the clusters of the host are refused)'],
  ),
  ...rows(
    'ServiceEntry',
    ['spec.resolution=DYNAMIC_DNS', NO_DYNAMIC_DNS],
    ['spec.ports[].protocol=HTTP2', NO_HTTP2],
    ['spec.ports[].protocol=GRPC', NO_HTTP2],
    ['spec.ports[].protocol=GRPC-WEB', NO_GRPC_WEB],
    ['spec.ports[].protocol=MONGO', NO_MONGO],
  ),
  ...rows(
    'Service',
    [`spec.ports[].name~^${HTTP2}`, NO_HTTP2],
    [`spec.ports[].appProtocol~^(?:kubernetes\\.io/h2c$|${HTTP2})`, NO_HTTP2],
    ['spec.ports[].name~^grpc-web(?:-|$)', NO_GRPC_WEB],
    ['spec.ports[].appProtocol~^grpc-web(?:-|$)', NO_GRPC_WEB],
    ['spec.ports[].name~^mongo(?:-|$)', NO_MONGO],
    ['spec.ports[].appProtocol~^mongo(?:-|$)', NO_MONGO],
    ['spec.ports[].protocol=UDP', 'UDP'],
    ['spec.ports[].protocol=SCTP', 'SCTP'],
    ['spec.ports[].nodePort', 'ports of nodes'],
    ['spec.sessionAffinity=ClientIP', 'session affinity'],
    ['spec.externalIPs', 'external addresses'],
  ),
  ...rows(
    'Pod',
    ['spec.containers[].readinessProbe', 'readiness probes (a pod is ready unless its status says otherwise)'],
    ...annotations('metadata'),
  ),
  ...(['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet'] as const).flatMap((kind) =>
    rows(
      kind,
      ['spec.template.spec.containers[].readinessProbe', 'readiness probes (every pod is ready)'],
      ...annotations('spec.template.metadata'),
    ),
  ),
  ...rows('Gateway', ['', 'gateways']),
  ...rows(
    'Sidecar',
    ['spec.ingress[].captureMode=NONE', 'listeners without capture'],
    ['spec.ingress[].tls', 'TLS that a sidecar ends'],
    ['spec.egress[].captureMode=NONE', 'listeners without capture'],
    ['spec.egress[].bind~^unix:', 'listeners on unix sockets (they are refused)'],
  ),
  ...rows('WorkloadGroup', ['', 'automatic registration of workloads']),
  ...rows('RequestAuthentication', ['', 'JWT authentication']),
  ...rows('AuthorizationPolicy', ['', 'authorization (everything is allowed)']),
  ...rows('EnvoyFilter', ['', 'EnvoyFilter']),
  ...rows('Telemetry', ['', "Telemetry, and with it Istio's own metrics and metadata exchange"]),
  ...rows('ProxyConfig', ['', 'ProxyConfig']),
  ...rows(
    'MeshConfig',
    [`spec.accessLogFormat${CEL}`, `${NO_CEL} (every listener is refused)`],
    [`spec.extensionProviders[].envoyFileAccessLog.logFormat.text${CEL}`, `${NO_CEL} (every listener is refused)`],
    ['spec.enableEnvoyAccessLogService', 'the access log service'],
    ['spec.proxyHttpPort', 'the port of the HTTP proxy, which is 15002'],
    ['spec.outboundTrafficPolicy.tls', 'TLS towards unknown destinations'],
    ['spec.caCertificates[].spiffeBundleUrl', 'roots of trust that are fetched'],
    ...PROVIDERS.map((provider): [string, string] => [
      `spec.extensionProviders[].${provider}`,
      'extension providers other than access logs to files',
    ]),
    ['spec.defaultProviders.metrics', "Istio's own metrics"],
    ['spec.defaultProviders.tracing', 'tracing'],
    ...PROXY_SETTINGS.map(([path, words]): [string, string] => [`spec.defaultConfig.${path}`, words]),
    ['spec.zoneAwareLbSetting', ZONES],
    [
      'spec.outboundTrafficPolicy.mode=ALLOW_ANY_DYNAMIC_DNS',
      'resolution by DNS on demand (every outbound HTTP listener is refused)',
    ],
    ['spec.ca', 'another certificate authority'],
    ['spec.serviceSettings', 'settings of services'],
    ['spec.h2UpgradePolicy=UPGRADE', NO_HTTP2],
    ['spec.tcpKeepalive.probes', 'the number of keep-alive probes'],
    ['spec.tcpKeepalive.interval', 'the interval of keep-alive probes'],
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
    ['spec.defaultInboundHttpRetryPolicy', 'retries by the server side'],
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
  const steps = path ? stepsOf(path) : []
  BY_KIND.set(kind, [...(BY_KIND.get(kind) ?? []), { ...row, steps }])
}

/** The steps of a path: field names, `[]`, `{}`, and what is asked of a value (`=X`, `~X`). */
export function stepsOf(path: string): string[] {
  const steps = path.match(/\[\]|\{\}|[=~].*$|"[^"]*"|[^.[\]{}=~"]+/g) ?? []
  return steps.map((step) => step.replace(/^"(.*)"$/, '$1'))
}

/** What an object uses of the table: the first place for each pattern. */
export function notEnforced(object: ApiObject): NotEnforcedUse[] {
  const uses: NotEnforcedUse[] = []
  for (const { pattern, words, steps } of BY_KIND.get(object.kind) ?? []) {
    const path = steps.length === 0 ? ['kind'] : firstUse(object, steps, 0, [])
    if (!path) continue
    const field = steps.length === 0 ? '' : ` (${pattern.slice(pattern.indexOf(' ') + 1).replace(/[=~].*/, '')})`
    uses.push({ pattern, path, message: `not enforced yet: ${words}${field}` })
  }
  return uses
}

function firstUse(value: unknown, steps: readonly string[], i: number, path: Path): Path | undefined {
  if (value === undefined || value === false) return undefined
  const step = steps[i]
  if (step === undefined) return path
  if (step.startsWith('=')) return value === step.slice(1) ? path : undefined
  if (step.startsWith('~'))
    return typeof value === 'string' && new RegExp(step.slice(1), 'i').test(value) ? path : undefined
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
