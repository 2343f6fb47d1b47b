import type { z } from 'zod'
import { bool, duration, int32, int64, list, map, message, oneOf, struct, text, uint32 } from '../schema.ts'

/** How much of the body the authorization service gets. */
export const EnvoyExternalAuthorizationRequestBody = message({
  maxRequestBytes: uint32,
  allowPartialMessage: bool,
  packAsBytes: bool,
})
export type EnvoyExternalAuthorizationRequestBody = z.infer<typeof EnvoyExternalAuthorizationRequestBody>

/** An authorization service over HTTP. */
export const EnvoyExternalAuthorizationHttpProvider = message({
  service: text,
  port: uint32,
  /** 600s when unset. */
  timeout: duration,
  pathPrefix: text,
  failOpen: bool,
  clearRouteCache: bool,
  /** 403 when unset. */
  statusOnError: text,
  /** Deprecated. */
  includeHeadersInCheck: list(text),
  includeRequestHeadersInCheck: list(text),
  includeAdditionalHeadersInCheck: map(text),
  includeRequestBodyInCheck: EnvoyExternalAuthorizationRequestBody,
  headersToUpstreamOnAllow: list(text),
  headersToDownstreamOnDeny: list(text),
  headersToDownstreamOnAllow: list(text),
})
export type EnvoyExternalAuthorizationHttpProvider = z.infer<typeof EnvoyExternalAuthorizationHttpProvider>

/** An authorization service over gRPC. */
export const EnvoyExternalAuthorizationGrpcProvider = message({
  service: text,
  port: uint32,
  /** 600s when unset. */
  timeout: duration,
  failOpen: bool,
  clearRouteCache: bool,
  /** 403 when unset. */
  statusOnError: text,
  includeRequestBodyInCheck: EnvoyExternalAuthorizationRequestBody,
})
export type EnvoyExternalAuthorizationGrpcProvider = z.infer<typeof EnvoyExternalAuthorizationGrpcProvider>

/** A header for requests to a backend. */
export const ProviderHttpHeader = message(
  {
    name: text,
    value: text,
    envName: text,
  },
  [],
  [['value', 'envName']],
)
export type ProviderHttpHeader = z.infer<typeof ProviderHttpHeader>

/** Zipkin. */
export const ZipkinTracingProvider = message({
  service: text,
  port: uint32,
  maxTagLength: uint32,
  enable64bitTraceId: bool,
  path: text,
  traceContextOption: oneOf('USE_B3', 'USE_B3_WITH_W3C_PROPAGATION'),
  timeout: duration,
  headers: list(ProviderHttpHeader),
})
export type ZipkinTracingProvider = z.infer<typeof ZipkinTracingProvider>

/** Lightstep. */
export const LightstepTracingProvider = message({
  service: text,
  port: uint32,
  accessToken: text,
  maxTagLength: uint32,
})
export type LightstepTracingProvider = z.infer<typeof LightstepTracingProvider>

/** Datadog. */
export const DatadogTracingProvider = message({
  service: text,
  port: uint32,
  maxTagLength: uint32,
})
export type DatadogTracingProvider = z.infer<typeof DatadogTracingProvider>

/** Labels of its log entries. */
export const StackdriverLogging = message({
  labels: map(text),
})
export type StackdriverLogging = z.infer<typeof StackdriverLogging>

/** Stackdriver. */
export const StackdriverProvider = message({
  /** Deprecated. */
  debug: bool,
  /** Deprecated. */
  maxNumberOfAttributes: int64,
  /** Deprecated. */
  maxNumberOfAnnotations: int64,
  /** Deprecated. */
  maxNumberOfMessageEvents: int64,
  maxTagLength: uint32,
  logging: StackdriverLogging,
})
export type StackdriverProvider = z.infer<typeof StackdriverProvider>

/** OpenCensus. */
export const OpenCensusAgentTracingProvider = message({
  service: text,
  port: uint32,
  context: list(oneOf('UNSPECIFIED', 'W3C_TRACE_CONTEXT', 'GRPC_BIN', 'CLOUD_TRACE_CONTEXT', 'B3')),
  maxTagLength: uint32,
})
export type OpenCensusAgentTracingProvider = z.infer<typeof OpenCensusAgentTracingProvider>

/** SkyWalking. */
export const SkyWalkingTracingProvider = message({
  service: text,
  port: uint32,
  accessToken: text,
})
export type SkyWalkingTracingProvider = z.infer<typeof SkyWalkingTracingProvider>

/** OTLP over HTTP. */
export const HttpService = message({
  path: text,
  timeout: duration,
  headers: list(ProviderHttpHeader),
})
export type HttpService = z.infer<typeof HttpService>

/** OTLP over gRPC. */
export const GrpcService = message({
  timeout: duration,
  initialMetadata: list(ProviderHttpHeader),
})
export type GrpcService = z.infer<typeof GrpcService>

/** From OTEL_RESOURCE_ATTRIBUTES. */
export const EnvironmentResourceDetector = message({})
export type EnvironmentResourceDetector = z.infer<typeof EnvironmentResourceDetector>

/** From Dynatrace's files. */
export const DynatraceResourceDetector = message({})
export type DynatraceResourceDetector = z.infer<typeof DynatraceResourceDetector>

/** What finds resource attributes. */
export const ResourceDetectors = message({
  environment: EnvironmentResourceDetector,
  dynatrace: DynatraceResourceDetector,
})
export type ResourceDetectors = z.infer<typeof ResourceDetectors>

/** Where the sampler asks. */
export const DynatraceApi = message({
  service: text,
  port: uint32,
  http: HttpService,
})
export type DynatraceApi = z.infer<typeof DynatraceApi>

/** Dynatrace's sampler. */
export const DynatraceSampler = message({
  tenant: text,
  clusterId: int32,
  rootSpansPerMinute: uint32,
  httpService: DynatraceApi,
})
export type DynatraceSampler = z.infer<typeof DynatraceSampler>

/** OpenTelemetry traces. */
export const OpenTelemetryTracingProvider = message(
  {
    service: text,
    port: uint32,
    maxTagLength: uint32,
    http: HttpService,
    grpc: GrpcService,
    resourceDetectors: ResourceDetectors,
    serviceAttributeEnrichment: oneOf('ISTIO_CANONICAL', 'OTEL_SEMANTIC_CONVENTIONS'),
    dynatraceSampler: DynatraceSampler,
  },
  [],
  [['dynatraceSampler']],
)
export type OpenTelemetryTracingProvider = z.infer<typeof OpenTelemetryTracingProvider>

/** Prometheus, which scrapes the proxies. */
export const PrometheusMetricsProvider = message({})
export type PrometheusMetricsProvider = z.infer<typeof PrometheusMetricsProvider>

/** A text format, or labels for JSON. */
export const FileAccessLogFormat = message(
  {
    text: text,
    labels: struct,
  },
  [],
  [['text', 'labels']],
)
export type FileAccessLogFormat = z.infer<typeof FileAccessLogFormat>

/** Access logs in a file. */
export const EnvoyFileAccessLogProvider = message({
  path: text,
  logFormat: FileAccessLogFormat,
  omitEmptyValues: bool,
})
export type EnvoyFileAccessLogProvider = z.infer<typeof EnvoyFileAccessLogProvider>

/** Access logs to a gRPC service, HTTP. */
export const EnvoyHttpGrpcV3LogProvider = message({
  service: text,
  port: uint32,
  logName: text,
  filterStateObjectsToLog: list(text),
  additionalRequestHeadersToLog: list(text),
  additionalResponseHeadersToLog: list(text),
  additionalResponseTrailersToLog: list(text),
})
export type EnvoyHttpGrpcV3LogProvider = z.infer<typeof EnvoyHttpGrpcV3LogProvider>

/** Access logs to a gRPC service, TCP. */
export const EnvoyTcpGrpcV3LogProvider = message({
  service: text,
  port: uint32,
  logName: text,
  filterStateObjectsToLog: list(text),
})
export type EnvoyTcpGrpcV3LogProvider = z.infer<typeof EnvoyTcpGrpcV3LogProvider>

/** Text and labels of its log records. */
export const OpenTelemetryLogFormat = message({
  text: text,
  labels: struct,
})
export type OpenTelemetryLogFormat = z.infer<typeof OpenTelemetryLogFormat>

/** Access logs as OpenTelemetry. */
export const EnvoyOpenTelemetryLogProvider = message({
  service: text,
  port: uint32,
  logName: text,
  logFormat: OpenTelemetryLogFormat,
})
export type EnvoyOpenTelemetryLogProvider = z.infer<typeof EnvoyOpenTelemetryLogProvider>

/** A secret discovery service. */
export const SDSProvider = message({
  name: text,
  service: text,
  port: uint32,
})
export type SDSProvider = z.infer<typeof SDSProvider>

/** A named backend for authorization, traces, metrics or logs (mesh/v1alpha1/config.proto). */
export const ExtensionProvider = message(
  {
    name: text,
    envoyExtAuthzHttp: EnvoyExternalAuthorizationHttpProvider,
    envoyExtAuthzGrpc: EnvoyExternalAuthorizationGrpcProvider,
    zipkin: ZipkinTracingProvider,
    /** Deprecated. */
    lightstep: LightstepTracingProvider,
    datadog: DatadogTracingProvider,
    stackdriver: StackdriverProvider,
    /** Deprecated. */
    opencensus: OpenCensusAgentTracingProvider,
    skywalking: SkyWalkingTracingProvider,
    opentelemetry: OpenTelemetryTracingProvider,
    prometheus: PrometheusMetricsProvider,
    envoyFileAccessLog: EnvoyFileAccessLogProvider,
    envoyHttpAls: EnvoyHttpGrpcV3LogProvider,
    envoyTcpAls: EnvoyTcpGrpcV3LogProvider,
    envoyOtelAls: EnvoyOpenTelemetryLogProvider,
    sds: SDSProvider,
  },
  [],
  [
    [
      'envoyExtAuthzHttp',
      'envoyExtAuthzGrpc',
      'zipkin',
      'lightstep',
      'datadog',
      'stackdriver',
      'opencensus',
      'skywalking',
      'opentelemetry',
      'prometheus',
      'envoyFileAccessLog',
      'envoyHttpAls',
      'envoyTcpAls',
      'envoyOtelAls',
      'sds',
    ],
  ],
)
export type ExtensionProvider = z.infer<typeof ExtensionProvider>
