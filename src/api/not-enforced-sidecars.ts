/** Said of every field that needs HTTP/2. */
export const NO_HTTP2 = 'HTTP/2 and gRPC through a sidecar'

/** Annotations of pods that nothing here reads. */
const ANNOTATIONS: readonly [name: string, words: string][] = [
  ['proxy.istio.io/config', 'settings of one proxy'],
  ['sidecar.istio.io/interceptionMode', 'interception other than REDIRECT'],
  ['sidecar.istio.io/extraStatTags', 'the choice of statistics'],
  ['sidecar.istio.io/statsInclusionPrefixes', 'the choice of statistics'],
  ['sidecar.istio.io/statsInclusionSuffixes', 'the choice of statistics'],
  ['sidecar.istio.io/statsInclusionRegexps', 'the choice of statistics'],
  ['traffic.sidecar.istio.io/includeInboundPorts', 'exceptions from capture'],
  ['traffic.sidecar.istio.io/excludeInboundPorts', 'exceptions from capture'],
  ['traffic.sidecar.istio.io/includeOutboundPorts', 'exceptions from capture'],
  ['traffic.sidecar.istio.io/excludeOutboundPorts', 'exceptions from capture'],
  ['traffic.sidecar.istio.io/includeOutboundIPRanges', 'exceptions from capture'],
  ['traffic.sidecar.istio.io/excludeOutboundIPRanges', 'exceptions from capture'],
]

/** Rows for them, in the metadata at this path. */
export const annotations = (at: string): [path: string, words: string][] =>
  ANNOTATIONS.map(([name, words]) => [`${at}.annotations."${name}"`, words])

/** Settings of proxies (MeshConfig's defaultConfig); what is not here holds, or has no effect by its nature. */
export const PROXY_SETTINGS: readonly [path: string, words: string][] = [
  ['tracing', 'tracing'],
  ['zipkinAddress', 'tracing'],
  ['meshId', 'names of meshes'],
  ['serviceCluster', 'names of services in traces'],
  ['tracingServiceName', 'names of services in traces'],
  ['concurrency', 'threads of a sidecar'],
  ['interceptionMode=NONE', 'interception other than REDIRECT'],
  ['interceptionMode=TPROXY', 'interception other than REDIRECT'],
  ['drainDuration', 'the time that draining takes'],
  ['terminationDrainDuration', 'the time that draining takes'],
  ['statsdUdpAddress', 'the sending of metrics'],
  ['envoyMetricsService', 'the sending of metrics'],
  ['envoyMetricsServiceAddress', 'the sending of metrics'],
  ['envoyAccessLogService', 'the access log service'],
  ['proxyAdminPort', 'other ports of sidecars'],
  ['statusPort', 'other ports of sidecars'],
  ['customConfigFile', 'another bootstrap'],
  ['proxyBootstrapTemplatePath', 'another bootstrap'],
  ['proxyMetadata', 'metadata of proxies'],
  ['runtimeValues', 'runtime settings of proxies'],
  ['extraStatTags', 'the choice of statistics'],
  ['proxyStatsMatcher', 'the choice of statistics'],
  ['statNameLength', 'the choice of statistics'],
  ['gatewayTopology', 'gateways'],
  ['readinessProbe', 'readiness probes'],
  ['caCertificatesPem', 'further roots of trust'],
  ['privateKeyProvider', 'providers of private keys'],
  ['fileFlushInterval', 'how often logs are flushed'],
  ['fileFlushMinSizeKb', 'how often logs are flushed'],
  ['proxyHeaders.preserveHttp1HeaderCase', 'the case of header names (HTTP listeners and clusters are refused)'],
  ['connectionSettings.profile=EDGE', 'profiles of connection settings'],
  ['connectionSettings.listenerPerConnectionBufferLimitBytes', 'limits of buffers'],
  ['connectionSettings.clusterPerConnectionBufferLimitBytes', 'limits of buffers'],
  ['connectionSettings.httpMaxConcurrentStreams', NO_HTTP2],
  ['connectionSettings.http2InitialStreamWindowSize', NO_HTTP2],
  ['connectionSettings.http2InitialConnectionWindowSize', NO_HTTP2],
  ['connectionSettings.listenerConnectionLimit', 'limits of connections that are accepted'],
  ['connectionSettings.globalDownstreamConnectionLimit', 'limits of connections that are accepted'],
]
