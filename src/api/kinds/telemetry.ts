import type { z } from 'zod'
import { bool, duration, list, map, message, number, oneOf, text } from '../schema.ts'
import { PolicySelector, PolicyTargetReference } from './selector.ts'

/** The side it is for. */
export const TracingSelector = message({
  mode: oneOf('CLIENT_AND_SERVER', 'CLIENT', 'SERVER'),
})
export type TracingSelector = z.infer<typeof TracingSelector>

/** Names an extension provider of MeshConfig. */
export const ProviderRef = message(
  {
    name: text,
  },
  ['name'],
)
export type ProviderRef = z.infer<typeof ProviderRef>

/** A fixed value. */
export const LiteralTag = message(
  {
    value: text,
  },
  ['value'],
)
export type LiteralTag = z.infer<typeof LiteralTag>

/** An environment variable of the proxy. */
export const EnvironmentTag = message(
  {
    name: text,
    defaultValue: text,
  },
  ['name'],
)
export type EnvironmentTag = z.infer<typeof EnvironmentTag>

/** A request header. */
export const RequestHeaderTag = message(
  {
    name: text,
    defaultValue: text,
  },
  ['name'],
)
export type RequestHeaderTag = z.infer<typeof RequestHeaderTag>

/** An access-log format string. */
export const FormatterTag = message(
  {
    value: text,
  },
  ['value'],
)
export type FormatterTag = z.infer<typeof FormatterTag>

/** A tag from one of four sources. */
export const TelemetryCustomTag = message(
  {
    literal: LiteralTag,
    environment: EnvironmentTag,
    header: RequestHeaderTag,
    formatter: FormatterTag,
  },
  [],
  [['literal', 'environment', 'header', 'formatter']],
)
export type TelemetryCustomTag = z.infer<typeof TelemetryCustomTag>

/** Tracing. */
export const TelemetryTracing = message({
  match: TracingSelector,
  providers: list(ProviderRef),
  randomSamplingPercentage: number,
  disableSpanReporting: bool,
  customTags: map(TelemetryCustomTag),
  useRequestIdForTraceSampling: bool,
  enableIstioTags: bool,
  disableContextPropagation: bool,
})
export type TelemetryTracing = z.infer<typeof TelemetryTracing>

/** Metrics, and the side they are reported from. */
export const MetricSelector = message(
  {
    metric: oneOf(
      'ALL_METRICS',
      'REQUEST_COUNT',
      'REQUEST_DURATION',
      'REQUEST_SIZE',
      'RESPONSE_SIZE',
      'TCP_OPENED_CONNECTIONS',
      'TCP_CLOSED_CONNECTIONS',
      'TCP_SENT_BYTES',
      'TCP_RECEIVED_BYTES',
      'GRPC_REQUEST_MESSAGES',
      'GRPC_RESPONSE_MESSAGES',
    ),
    customMetric: text,
    mode: oneOf('CLIENT_AND_SERVER', 'CLIENT', 'SERVER'),
  },
  [],
  [['metric', 'customMetric']],
)
export type MetricSelector = z.infer<typeof MetricSelector>

/** A tag set to a CEL expression, or removed. */
export const TagOverride = message({
  operation: oneOf('UPSERT', 'REMOVE'),
  value: text,
})
export type TagOverride = z.infer<typeof TagOverride>

/** Changes to metrics. */
export const MetricsOverrides = message({
  match: MetricSelector,
  disabled: bool,
  tagOverrides: map(TagOverride),
})
export type MetricsOverrides = z.infer<typeof MetricsOverrides>

/** Metrics. */
export const Metrics = message({
  providers: list(ProviderRef),
  overrides: list(MetricsOverrides),
  reportingInterval: duration,
})
export type Metrics = z.infer<typeof Metrics>

/** The side it is for. */
export const LogSelector = message({
  mode: oneOf('CLIENT_AND_SERVER', 'CLIENT', 'SERVER'),
})
export type LogSelector = z.infer<typeof LogSelector>

/** A CEL expression that lets an entry be written. */
export const AccessLogFilter = message({
  expression: text,
})
export type AccessLogFilter = z.infer<typeof AccessLogFilter>

/** Access logs. */
export const AccessLogging = message({
  match: LogSelector,
  providers: list(ProviderRef),
  disabled: bool,
  filter: AccessLogFilter,
})
export type AccessLogging = z.infer<typeof AccessLogging>

/** Metrics, access logs and traces (telemetry/v1alpha1/telemetry.proto). */
export const Telemetry = message({
  selector: PolicySelector,
  targetRef: PolicyTargetReference,
  targetRefs: list(PolicyTargetReference),
  tracing: list(TelemetryTracing),
  metrics: list(Metrics),
  accessLogging: list(AccessLogging),
})
export type Telemetry = z.infer<typeof Telemetry>
