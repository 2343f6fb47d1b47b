import type { JsonObject } from '@bufbuild/protobuf'
import type {
  EnvoyFileAccessLogProvider,
  EnvoyOpenTelemetryLogProvider,
  ExtensionProvider,
} from '../../api/kinds/extension-provider.ts'
import { type Init, packed } from '../../xds/messages.ts'
import type { Mesh } from '../mesh.ts'
import { lookupProviderCluster } from '../providers.ts'
import type { PushContext } from '../scope/push-context.ts'

/** An access log of a listener, a connection manager or a TCP proxy. */
export type AccessLog = Init<'envoy.config.accesslog.v3.AccessLog'>

/** Istio's default text format (pilot/pkg/model/telemetry_logging.go EnvoyTextLogFormat). */
export const TEXT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ' +
  '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% ' +
  '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ' +
  '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% ' +
  '%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n'

/** Istio's default JSON format (EnvoyJSONLogFormatIstio). */
export const JSON_FORMAT: JsonObject = {
  start_time: '%START_TIME%',
  route_name: '%ROUTE_NAME%',
  method: '%REQ(:METHOD)%',
  path: '%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%',
  protocol: '%PROTOCOL%',
  response_code: '%RESPONSE_CODE%',
  response_flags: '%RESPONSE_FLAGS%',
  response_code_details: '%RESPONSE_CODE_DETAILS%',
  connection_termination_details: '%CONNECTION_TERMINATION_DETAILS%',
  bytes_received: '%BYTES_RECEIVED%',
  bytes_sent: '%BYTES_SENT%',
  duration: '%DURATION%',
  upstream_service_time: '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%',
  x_forwarded_for: '%REQ(X-FORWARDED-FOR)%',
  user_agent: '%REQ(USER-AGENT)%',
  request_id: '%REQ(X-REQUEST-ID)%',
  authority: '%REQ(:AUTHORITY)%',
  upstream_host: '%UPSTREAM_HOST%',
  upstream_cluster: '%UPSTREAM_CLUSTER_RAW%',
  upstream_local_address: '%UPSTREAM_LOCAL_ADDRESS%',
  downstream_local_address: '%DOWNSTREAM_LOCAL_ADDRESS%',
  downstream_remote_address: '%DOWNSTREAM_REMOTE_ADDRESS%',
  requested_server_name: '%REQUESTED_SERVER_NAME%',
  upstream_transport_failure_reason: '%UPSTREAM_TRANSPORT_FAILURE_REASON%',
}

/** Where a log is for: connection managers, TCP proxies, or listeners (which log only what no chain took). */
export type LogPlace = 'http' | 'tcp' | 'listener'

/**
 * The access logs of a place: those of MeshConfig's default providers, or else its accessLogFile and log service
 * (networking/core/accesslog.go). Telemetry resources will come before both.
 */
export function accessLogs(push: PushContext, place: LogPlace): AccessLog[] {
  const { mesh } = push
  if (place === 'listener' && mesh.disableEnvoyListenerLog) return []
  const names = mesh.defaultProviders.accessLogging ?? []
  const logs = [...new Set(names)].sort().flatMap((name) => {
    const provider = mesh.extensionProviders.find((known) => known.name?.toLowerCase() === name.toLowerCase())
    return (provider && providerLog(push, provider)) ?? []
  })
  const found = logs.length ? logs : meshLogs(mesh, place)
  return place === 'listener' ? found.map((log) => ({ ...log, filter: NO_CHAIN })) : found
}

const NO_CHAIN: AccessLog['filter'] = { filterSpecifier: { case: 'responseFlagFilter', value: { flags: ['NR'] } } }

function meshLogs(mesh: Mesh, place: LogPlace): AccessLog[] {
  const out: AccessLog[] = []
  if (mesh.accessLogFile) out.push(meshFileLog(mesh.accessLogFile, mesh))
  if (mesh.enableEnvoyAccessLogService) out.push(serviceLog(place))
  return out
}

/** A file log in the mesh's format and encoding. */
export function meshFileLog(path: string, mesh: Mesh): AccessLog {
  if (mesh.accessLogEncoding !== 'JSON') return fileLog(path, textFormat(mesh.accessLogFormat ?? ''))
  let format = JSON_FORMAT
  if (mesh.accessLogFormat) {
    try {
      format = JSON.parse(mesh.accessLogFormat) as JsonObject
    } catch {
      // As istiod: what is no JSON object counts as not written.
    }
  }
  return fileLog(path, jsonFormat(format))
}

type Format = Init<'envoy.config.core.v3.SubstitutionFormatString'>

function textFormat(written: string): Format {
  const text = written === '' ? TEXT_FORMAT : written.endsWith('\n') ? written : `${written}\n`
  return {
    format: { case: 'textFormatSource', value: { specifier: { case: 'inlineString', value: text } } },
    formatters: formatters(text),
  }
}

function jsonFormat(value: JsonObject): Format {
  return {
    format: { case: 'jsonFormat', value },
    jsonFormatOptions: { sortProperties: false },
    formatters: formatters(JSON.stringify(value)),
  }
}

function formatters(text: string): Format['formatters'] {
  if (!text.includes('%REQ_WITHOUT_QUERY')) return []
  const typedConfig = packed('envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery')
  return [{ name: 'envoy.formatter.req_without_query', typedConfig }]
}

function fileLog(path: string, format: Format): AccessLog {
  return {
    name: 'envoy.access_loggers.file',
    configType: {
      case: 'typedConfig',
      value: packed('envoy.extensions.access_loggers.file.v3.FileAccessLog', {
        path,
        accessLogFormat: { case: 'logFormat', value: format },
      }),
    },
  }
}

/** The access log of a provider; undefined for one that does not log, or whose service nobody knows. */
export function providerLog(push: PushContext, provider: ExtensionProvider): AccessLog | undefined {
  const file = provider.envoyFileAccessLog
  if (file) {
    const builtIn = provider.name === 'envoy' && !file.logFormat && !file.omitEmptyValues
    return builtIn ? meshFileLog(file.path || '/dev/stdout', push.mesh) : providerFileLog(file)
  }
  if (provider.envoyHttpAls) {
    const als = provider.envoyHttpAls
    const to = lookupProviderCluster(push, als.service, als.port)
    return to && grpcLog('http', to.cluster, { authority: to.hostname, ...als })
  }
  if (provider.envoyTcpAls) {
    const als = provider.envoyTcpAls
    const to = lookupProviderCluster(push, als.service, als.port)
    return to && grpcLog('tcp', to.cluster, { authority: to.hostname, ...als })
  }
  if (provider.envoyOtelAls) {
    const als = provider.envoyOtelAls
    const to = lookupProviderCluster(push, als.service, als.port)
    return to && openTelemetryLog(als, to)
  }
  return undefined
}

function openTelemetryLog(als: EnvoyOpenTelemetryLogProvider, to: { cluster: string; hostname: string }): AccessLog {
  const text = als.logFormat?.text || TEXT_FORMAT
  const labels = Object.entries(als.logFormat?.labels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))
  const stringValue = (value: unknown) => ({
    value: { case: 'stringValue' as const, value: typeof value === 'string' ? value : '' },
  })
  const value = packed('envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig', {
    commonConfig: commonGrpc(als.logName || 'otel_envoy_accesslog', to.cluster, to.hostname, PEERS),
    disableBuiltinLabels: true,
    body: stringValue(text),
    attributes: labels.length
      ? { values: labels.map(([key, label]) => ({ key, value: stringValue(label) })) }
      : undefined,
    formatters: formatters(text + JSON.stringify(labels)),
  })
  return { name: 'envoy.access_loggers.open_telemetry', configType: { case: 'typedConfig', value } }
}

function providerFileLog(file: EnvoyFileAccessLogProvider): AccessLog {
  const { logFormat } = file
  const labels = logFormat?.labels as JsonObject | undefined
  const format = logFormat?.labels
    ? jsonFormat(labels && Object.keys(labels).length ? labels : JSON_FORMAT)
    : textFormat(logFormat?.text ?? '')
  return fileLog(file.path || '/dev/stdout', { ...format, omitEmptyValues: file.omitEmptyValues })
}

const LOG_SERVICE = 'envoy_accesslog_service'
const V3 = 2
const PEERS = ['upstream_peer', 'downstream_peer']

function serviceLog(place: LogPlace): AccessLog {
  const logName = place === 'listener' ? 'listener_envoy_accesslog' : undefined
  return grpcLog(place === 'http' ? 'http' : 'tcp', LOG_SERVICE, { logName })
}

interface GrpcLogOptions {
  authority?: string
  logName?: string
  filterStateObjectsToLog?: string[]
  additionalRequestHeadersToLog?: string[]
  additionalResponseHeadersToLog?: string[]
  additionalResponseTrailersToLog?: string[]
}

function grpcLog(kind: 'http' | 'tcp', clusterName: string, options: GrpcLogOptions): AccessLog {
  const { authority, additionalRequestHeadersToLog, additionalResponseHeadersToLog, additionalResponseTrailersToLog } =
    options
  const objects = options.filterStateObjectsToLog?.length ? options.filterStateObjectsToLog : PEERS
  const commonConfig = commonGrpc(options.logName || `${kind}_envoy_accesslog`, clusterName, authority, objects)
  const value =
    kind === 'http'
      ? packed('envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig', {
          commonConfig,
          additionalRequestHeadersToLog,
          additionalResponseHeadersToLog,
          additionalResponseTrailersToLog,
        })
      : packed('envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig', { commonConfig })
  const name = kind === 'http' ? 'envoy.access_loggers.http_grpc' : 'envoy.tcp_grpc_access_log'
  return { name, configType: { case: 'typedConfig', value } }
}

function commonGrpc(
  logName: string,
  clusterName: string,
  authority: string | undefined,
  filterStateObjectsToLog: string[],
): Init<'envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig'> {
  return {
    logName,
    grpcService: { targetSpecifier: { case: 'envoyGrpc', value: { clusterName, authority } } },
    transportApiVersion: V3,
    filterStateObjectsToLog,
  }
}
