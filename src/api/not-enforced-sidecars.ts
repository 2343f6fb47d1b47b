const TPROXY = "the client's own address as the source of connections to the app"

/** Annotations of pods that nothing here reads. */
const ANNOTATIONS: readonly [name: string, words: string][] = [
  ['sidecar.istio.io/interceptionMode=TPROXY', TPROXY],
  ['sidecar.istio.io/extraStatTags', 'the choice of statistics'],
  ['sidecar.istio.io/statsInclusionPrefixes', 'the choice of statistics'],
  ['sidecar.istio.io/statsInclusionSuffixes', 'the choice of statistics'],
  ['sidecar.istio.io/statsInclusionRegexps', 'the choice of statistics'],
]

/** Rows for them, in the metadata at this path. */
export const annotations = (at: string): [path: string, words: string][] =>
  ANNOTATIONS.map(([name, words]) => {
    const [key = '', value] = name.split('=')
    return [`${at}.annotations."${key}"${value === undefined ? '' : `=${value}`}`, words]
  })

/** Settings of proxies (MeshConfig's defaultConfig); what is not here holds, or has no effect by its nature. */
export const PROXY_SETTINGS: readonly [path: string, words: string][] = [
  ['tracing', 'tracing'],
  ['zipkinAddress', 'tracing'],
  ['serviceCluster', 'names of services in traces'],
  ['tracingServiceName', 'names of services in traces'],
  ['concurrency', 'threads of a sidecar'],
  ['interceptionMode=TPROXY', TPROXY],
  ['statsdUdpAddress', 'the sending of metrics'],
  ['envoyMetricsService', 'the sending of metrics'],
  ['envoyMetricsServiceAddress', 'the sending of metrics'],
  ['envoyAccessLogService', 'the access log service'],
  ['proxyAdminPort', 'other ports of sidecars'],
  ['statusPort', 'other ports of sidecars'],
  ['customConfigFile', 'another bootstrap'],
  ['proxyBootstrapTemplatePath', 'another bootstrap'],
  ['extraStatTags', 'the choice of statistics'],
  ['proxyStatsMatcher', 'the choice of statistics'],
  ['statNameLength', 'the choice of statistics'],
  ['readinessProbe', 'readiness probes'],
  ['fileFlushInterval', 'how often logs are flushed'],
  ['fileFlushMinSizeKb', 'how often logs are flushed'],
]
