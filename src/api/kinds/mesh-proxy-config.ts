import type { z } from 'zod'
import { bool, duration, int32, int64, list, map, message, number, oneOf, text, uint32 } from '../schema.ts'
import { ProxyImage } from './proxy-config.ts'
import { ClientTLSSettings, TcpKeepalive } from './traffic-policy.ts'
import { ReadinessProbe } from './workload-group.ts'

/** Zipkin. */
export const Zipkin = message({
  address: text,
})
export type Zipkin = z.infer<typeof Zipkin>

/** Lightstep. */
export const Lightstep = message({
  address: text,
  accessToken: text,
})
export type Lightstep = z.infer<typeof Lightstep>

/** Datadog. */
export const Datadog = message({
  address: text,
})
export type Datadog = z.infer<typeof Datadog>

/** Stackdriver. */
export const Stackdriver = message({
  debug: bool,
  maxNumberOfAttributes: int64,
  maxNumberOfAnnotations: int64,
  maxNumberOfMessageEvents: int64,
})
export type Stackdriver = z.infer<typeof Stackdriver>

/** OpenCensus. */
export const OpenCensusAgent = message({
  address: text,
  context: list(oneOf('UNSPECIFIED', 'W3C_TRACE_CONTEXT', 'GRPC_BIN', 'CLOUD_TRACE_CONTEXT', 'B3')),
})
export type OpenCensusAgent = z.infer<typeof OpenCensusAgent>

/** A fixed value. */
export const ProxyLiteralTag = message({
  value: text,
})
export type ProxyLiteralTag = z.infer<typeof ProxyLiteralTag>

/** An environment variable of the proxy. */
export const ProxyEnvironmentTag = message({
  name: text,
  defaultValue: text,
})
export type ProxyEnvironmentTag = z.infer<typeof ProxyEnvironmentTag>

/** A request header. */
export const ProxyRequestHeaderTag = message({
  name: text,
  defaultValue: text,
})
export type ProxyRequestHeaderTag = z.infer<typeof ProxyRequestHeaderTag>

/** A tag from one of three sources. */
export const ProxyCustomTag = message(
  {
    literal: ProxyLiteralTag,
    environment: ProxyEnvironmentTag,
    header: ProxyRequestHeaderTag,
  },
  [],
  [['literal', 'environment', 'header']],
)
export type ProxyCustomTag = z.infer<typeof ProxyCustomTag>

/** Tracing. */
export const ProxyTracing = message(
  {
    zipkin: Zipkin,
    lightstep: Lightstep,
    datadog: Datadog,
    stackdriver: Stackdriver,
    openCensusAgent: OpenCensusAgent,
    customTags: map(ProxyCustomTag),
    maxPathTagLength: uint32,
    /** Percent. */
    sampling: number,
    tlsSettings: ClientTLSSettings,
    enableIstioTags: bool,
  },
  [],
  [['zipkin', 'lightstep', 'datadog', 'stackdriver', 'openCensusAgent']],
)
export type ProxyTracing = z.infer<typeof ProxyTracing>

/** Secret discovery. Deprecated. */
export const ProxySDS = message({
  enabled: bool,
  k8sSaJwtPath: text,
})
export type ProxySDS = z.infer<typeof ProxySDS>

/** A service outside. */
export const RemoteService = message({
  address: text,
  tlsSettings: ClientTLSSettings,
  tcpKeepalive: TcpKeepalive,
})
export type RemoteService = z.infer<typeof RemoteService>

/** Takes the PROXY protocol. */
export const ProxyProtocolConfiguration = message({})
export type ProxyProtocolConfiguration = z.infer<typeof ProxyProtocolConfiguration>

/** What stands in front of a gateway. */
export const GatewayTopology = message({
  numTrustedProxies: uint32,
  forwardClientCertDetails: oneOf(
    'UNDEFINED',
    'SANITIZE',
    'FORWARD_ONLY',
    'APPEND_FORWARD',
    'SANITIZE_SET',
    'ALWAYS_FORWARD_ONLY',
  ),
  proxyProtocol: ProxyProtocolConfiguration,
})
export type GatewayTopology = z.infer<typeof GatewayTopology>

/** More stats to keep. */
export const ProxyStatsMatcher = message({
  inclusionPrefixes: list(text),
  inclusionSuffixes: list(text),
  inclusionRegexps: list(text),
})
export type ProxyStatsMatcher = z.infer<typeof ProxyStatsMatcher>

/** CryptoMB. */
export const CryptoMb = message({
  pollDelay: duration,
  fallback: bool,
})
export type CryptoMb = z.infer<typeof CryptoMb>

/** QuickAssist. */
export const QAT = message({
  pollDelay: duration,
  fallback: bool,
})
export type QAT = z.infer<typeof QAT>

/** Who signs with the private key. */
export const PrivateKeyProvider = message(
  {
    cryptomb: CryptoMb,
    qat: QAT,
  },
  [],
  [['cryptomb', 'qat']],
)
export type PrivateKeyProvider = z.infer<typeof PrivateKeyProvider>

/** What goes into `x-forwarded-client-cert`. */
export const SetCurrentClientCertDetails = message({
  subject: bool,
  cert: bool,
  chain: bool,
  dns: bool,
  uri: bool,
})
export type SetCurrentClientCertDetails = z.infer<typeof SetCurrentClientCertDetails>

/** `x-request-id`. */
export const RequestIdHeader = message({
  disabled: bool,
})
export type RequestIdHeader = z.infer<typeof RequestIdHeader>

/** `server`. */
export const ServerHeader = message({
  disabled: bool,
  value: text,
})
export type ServerHeader = z.infer<typeof ServerHeader>

/** `x-envoy-attempt-count`. */
export const AttemptCountHeader = message({
  disabled: bool,
})
export type AttemptCountHeader = z.infer<typeof AttemptCountHeader>

/** Envoy's `x-envoy-*` debug headers. */
export const EnvoyDebugHeaders = message({
  disabled: bool,
})
export type EnvoyDebugHeaders = z.infer<typeof EnvoyDebugHeaders>

/** `x-envoy-peer-metadata`. */
export const MetadataExchangeHeaders = message({
  mode: oneOf('UNDEFINED', 'IN_MESH'),
})
export type MetadataExchangeHeaders = z.infer<typeof MetadataExchangeHeaders>

/** `x-forwarded-host`. */
export const XForwardedHost = message({
  enabled: bool,
})
export type XForwardedHost = z.infer<typeof XForwardedHost>

/** `x-forwarded-port`. */
export const XForwardedPort = message({
  enabled: bool,
})
export type XForwardedPort = z.infer<typeof XForwardedPort>

/** Headers that the proxy adds. */
export const ProxyHeaders = message({
  forwardedClientCert: oneOf(
    'UNDEFINED',
    'SANITIZE',
    'FORWARD_ONLY',
    'APPEND_FORWARD',
    'SANITIZE_SET',
    'ALWAYS_FORWARD_ONLY',
  ),
  setCurrentClientCertDetails: SetCurrentClientCertDetails,
  requestId: RequestIdHeader,
  server: ServerHeader,
  attemptCount: AttemptCountHeader,
  envoyDebugHeaders: EnvoyDebugHeaders,
  metadataExchangeHeaders: MetadataExchangeHeaders,
  preserveHttp1HeaderCase: bool,
  xForwardedHost: XForwardedHost,
  xForwardedPort: XForwardedPort,
})
export type ProxyHeaders = z.infer<typeof ProxyHeaders>

/** Limits and timeouts of connections. */
export const ConnectionSettings = message({
  profile: oneOf('SIDECAR', 'EDGE'),
  listenerPerConnectionBufferLimitBytes: int32,
  clusterPerConnectionBufferLimitBytes: int32,
  httpIdleTimeout: duration,
  httpMaxConnectionDuration: duration,
  httpDrainTimeout: duration,
  httpRequestTimeout: duration,
  httpRequestHeadersTimeout: duration,
  httpStreamIdleTimeout: duration,
  httpMaxStreamDuration: duration,
  httpMaxConcurrentStreams: int32,
  http2InitialStreamWindowSize: int32,
  http2InitialConnectionWindowSize: int32,
  httpHeadersWithUnderscoresAction: oneOf(
    'HEADERS_WITH_UNDERSCORES_UNSPECIFIED',
    'HEADERS_WITH_UNDERSCORES_ALLOW',
    'HEADERS_WITH_UNDERSCORES_REJECT_REQUEST',
    'HEADERS_WITH_UNDERSCORES_DROP_HEADER',
  ),
  httpMergeSlashes: bool,
  httpPathWithEscapedSlashesAction: oneOf(
    'PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED',
    'KEEP_UNCHANGED',
    'REJECT_REQUEST',
    'UNESCAPE_AND_REDIRECT',
    'UNESCAPE_AND_FORWARD',
  ),
  listenerConnectionLimit: int32,
  globalDownstreamConnectionLimit: int32,
})
export type ConnectionSettings = z.infer<typeof ConnectionSettings>

/** Settings of proxies (mesh/v1alpha1/proxy.proto): MeshConfig's defaultConfig, and the annotation proxy.istio.io/config. */
export const MeshProxyConfig = message(
  {
    configPath: text,
    binaryPath: text,
    serviceCluster: text,
    tracingServiceName: oneOf('APP_LABEL_AND_NAMESPACE', 'CANONICAL_NAME_ONLY', 'CANONICAL_NAME_AND_NAMESPACE'),
    /** 45s when unset. */
    drainDuration: duration,
    discoveryAddress: text,
    /** Deprecated. */
    discoveryRefreshDelay: duration,
    /** Deprecated. */
    zipkinAddress: text,
    statsdUdpAddress: text,
    /** Deprecated. */
    envoyMetricsServiceAddress: text,
    /** 15000 when unset. */
    proxyAdminPort: int32,
    /** Deprecated. */
    availabilityZone: text,
    controlPlaneAuthPolicy: oneOf('NONE', 'MUTUAL_TLS', 'INHERIT'),
    customConfigFile: text,
    /** 189 when unset. */
    statNameLength: int32,
    concurrency: int32,
    proxyBootstrapTemplatePath: text,
    interceptionMode: oneOf('REDIRECT', 'TPROXY', 'NONE'),
    tracing: ProxyTracing,
    /** Deprecated. */
    sds: ProxySDS,
    envoyAccessLogService: RemoteService,
    envoyMetricsService: RemoteService,
    proxyMetadata: map(text),
    runtimeValues: map(text),
    /** 15020 when unset. */
    statusPort: int32,
    extraStatTags: list(text),
    gatewayTopology: GatewayTopology,
    /** 5s when unset. */
    terminationDrainDuration: duration,
    meshId: text,
    readinessProbe: ReadinessProbe,
    proxyStatsMatcher: ProxyStatsMatcher,
    holdApplicationUntilProxyStarts: bool,
    caCertificatesPem: list(text),
    image: ProxyImage,
    privateKeyProvider: PrivateKeyProvider,
    proxyHeaders: ProxyHeaders,
    fileFlushInterval: duration,
    fileFlushMinSizeKb: uint32,
    statsCompression: bool,
    connectionSettings: ConnectionSettings,
  },
  [],
  [['serviceCluster', 'tracingServiceName']],
)
export type MeshProxyConfig = z.infer<typeof MeshProxyConfig>
