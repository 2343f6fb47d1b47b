import type { AccessLog } from '#gen/envoy/config/accesslog/v3/accesslog_pb.js'
import type { FileAccessLog } from '#gen/envoy/extensions/access_loggers/file/v3/file_pb.js'
import type { StderrAccessLog, StdoutAccessLog } from '#gen/envoy/extensions/access_loggers/stream/v3/stream_pb.js'
import type { Runtime } from '../../runtime.ts'
import { configTypeName, resolveTypedConfig } from '../../xds/typed-config.ts'
import { ConfigError, type LogFile, type ProxyContext } from '../context.ts'
import type { StreamInfo } from '../stream-info.ts'
import { readDataSource } from '../tls/data-source.ts'
import { compileLogFilter, type LogFilter } from './access-log-filter.ts'
import {
  compileFormat,
  compileJsonFormat,
  compileSubstitutionFormat,
  DEFAULT_FORMAT,
  type Formatter,
} from './format/compile.ts'

/** Writes one line for a stream, if its filter wants it. */
export interface AccessLogger {
  log(info: StreamInfo): void
}

class FileLogger implements AccessLogger {
  readonly #formatter: Formatter
  readonly #filter: LogFilter | undefined
  readonly #file: LogFile

  constructor(formatter: Formatter, filter: LogFilter | undefined, file: LogFile) {
    this.#formatter = formatter
    this.#filter = filter
    this.#file = file
  }

  log(info: StreamInfo): void {
    if (this.#filter === undefined || this.#filter(info)) this.#file.write(this.#formatter.format(info))
  }
}

function readFormatSource(source: Parameters<typeof readDataSource>[0]): string {
  const errors: string[] = []
  const bytes = readDataSource(source, 'text_format_source', errors)
  if (errors.length > 0) throw new ConfigError(errors)
  return bytes?.toString('utf8') ?? ''
}

function fileFormat({ accessLogFormat: format }: FileAccessLog, runtime: Runtime): Formatter {
  switch (format.case) {
    case 'format':
      return compileFormat(format.value || DEFAULT_FORMAT, runtime)
    case 'jsonFormat':
    case 'typedJsonFormat':
      return compileJsonFormat(format.value, runtime)
    case 'logFormat':
      return compileSubstitutionFormat(format.value, runtime, readFormatSource)
    default:
      return compileFormat(DEFAULT_FORMAT, runtime)
  }
}

function streamFormat({ accessLogFormat: format }: StdoutAccessLog | StderrAccessLog, runtime: Runtime): Formatter {
  if (format.case === 'logFormat') return compileSubstitutionFormat(format.value, runtime, readFormatSource)
  return compileFormat(DEFAULT_FORMAT, runtime)
}

/** Loggers that send to a service: understood, and told to be missing. */
const SERVICES = new Set([
  'envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig',
  'envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig',
  'envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig',
])

function compileLogger(config: AccessLog, context: ProxyContext): AccessLogger | undefined {
  const { runtime, logs } = context
  if (!config.configType.value) throw new ConfigError([`${config.name || 'access_log'}: typed_config is required`])
  const filter = config.filter && compileLogFilter(config.filter, runtime)
  const any = config.configType.value
  const type = configTypeName(any)
  const { message, problems } = resolveTypedConfig(any)
  if (problems.length > 0) throw new ConfigError(problems.map((p) => `${p.path.join('.')}: ${p.message}`))
  switch (type) {
    case 'envoy.extensions.access_loggers.file.v3.FileAccessLog': {
      const file = message as FileAccessLog
      if (file.path === '') throw new ConfigError(['path: value length must be at least 1 characters'])
      const formatter = fileFormat(file, runtime)
      return new FileLogger(formatter, filter, openLog(logs, file.path))
    }
    case 'envoy.extensions.access_loggers.stream.v3.StdoutAccessLog':
      return new FileLogger(streamFormat(message as StdoutAccessLog, runtime), filter, logs.open('/dev/stdout'))
    case 'envoy.extensions.access_loggers.stream.v3.StderrAccessLog':
      return new FileLogger(streamFormat(message as StderrAccessLog, runtime), filter, logs.open('/dev/stderr'))
    default:
      if (!SERVICES.has(type)) throw new ConfigError([`access logger ${type} is not supported`])
      context.notEnforced?.(`access logger ${type}`)
      return undefined
  }
}

function openLog(logs: ProxyContext['logs'], path: string): LogFile {
  try {
    return logs.open(path)
  } catch (error) {
    throw new ConfigError([`unable to open file '${path}': ${(error as Error).message}`])
  }
}

/**
 * Compiles the access loggers of a listener, connection manager or TCP proxy: file, stdout and stderr
 * loggers with text or JSON formats and filters (source/common/access_log/access_log_impl.cc,
 * source/extensions/access_loggers/file/config.cc). Loggers that send to a service are noted
 * as not enforced, others refused by name. Throws ConfigError.
 */
export function compileAccessLoggers(configs: readonly AccessLog[], context: ProxyContext): AccessLogger[] {
  const errors: string[] = []
  const loggers: AccessLogger[] = []
  configs.forEach((config, i) => {
    try {
      const logger = compileLogger(config, context)
      if (logger) loggers.push(logger)
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      for (const e of error.errors) errors.push(configs.length > 1 ? `access_log[${i}]: ${e}` : e)
    }
  })
  if (errors.length > 0) throw new ConfigError(errors)
  return loggers
}
