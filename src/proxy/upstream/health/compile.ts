import type { HealthCheck, HealthCheck_Payload as Payload } from '#gen/envoy/config/core/v3/health_check_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { typeNameOf, unpack } from '../../../xds/messages.ts'
import { durationMs, type Problems } from '../../http/config.ts'
import { HeaderMutation } from '../../http/router/header-mutation.ts'
import { compileStringMatcher } from '../../http/router/string-matcher.ts'
import type { GrpcCheck, HealthCheckSettings, HttpCheck, StatusRange, TcpCheck } from './settings.ts'

const METHODS = ['GET', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH']
const BODYLESS = new Set(['GET', 'HEAD', 'DELETE', 'TRACE'])
const FILE_SINK = 'envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink'
const HTTP2 = 1
const HTTP3 = 2
const ONE_MINUTE = 60_000
const BUFFER_SIZE = 1024

/** Checks and compiles `health_checks` (source/common/upstream/health_checker_impl.cc). `http2`: the cluster speaks it. */
export function compileHealthCheck(
  all: readonly HealthCheck[],
  http2: boolean,
  runtime: Runtime,
  problems: Problems,
): HealthCheckSettings | undefined {
  const [proto] = all
  if (proto === undefined) return undefined
  const at = 'health_checks[0]'
  if (all.length > 1) problems.add('health_checks', 'Multiple health checks not supported')
  const interval = durationMs(proto.interval) ?? 0
  const unhealthyInterval = durationMs(proto.unhealthyInterval) ?? interval
  const noTrafficInterval = durationMs(proto.noTrafficInterval) ?? ONE_MINUTE
  const check = compileCheck(proto, at, http2, runtime, problems)
  if (check === undefined) return undefined
  return {
    timeout: durationMs(proto.timeout) ?? 0,
    interval,
    noTrafficInterval,
    noTrafficHealthyInterval: durationMs(proto.noTrafficHealthyInterval) ?? noTrafficInterval,
    unhealthyInterval,
    unhealthyEdgeInterval: durationMs(proto.unhealthyEdgeInterval) ?? unhealthyInterval,
    healthyEdgeInterval: durationMs(proto.healthyEdgeInterval) ?? interval,
    initialJitter: durationMs(proto.initialJitter) ?? 0,
    intervalJitter: durationMs(proto.intervalJitter) ?? 0,
    intervalJitterPercent: proto.intervalJitterPercent,
    unhealthyThreshold: proto.unhealthyThreshold ?? 0,
    healthyThreshold: proto.healthyThreshold ?? 0,
    reuseConnection: proto.reuseConnection ?? true,
    alwaysLogFailures: proto.alwaysLogHealthCheckFailures,
    alwaysLogSuccess: proto.alwaysLogHealthCheckSuccess,
    logPaths: compileLogs(proto, at, problems),
    alpn: proto.tlsOptions?.alpnProtocols,
    socketMatch:
      proto.transportSocketMatchCriteria &&
      new Map([['envoy.transport_socket_match', proto.transportSocketMatchCriteria as Record<string, unknown>]]),
    check,
  }
}

function compileLogs(proto: HealthCheck, at: string, problems: Problems): string[] {
  const paths = proto.eventLogPath === '' ? [] : [proto.eventLogPath]
  if (proto.eventService !== undefined) problems.add(`${at}.event_service`, 'not supported')
  proto.eventLogger.forEach((logger, i) => {
    const any = logger.typedConfig
    const sink = any && unpack(any, FILE_SINK)
    if (sink) paths.push(sink.eventLogPath)
    else
      problems.add(
        `${at}.event_logger[${i}]`,
        `Didn't find a registered implementation for '${logger.name}' with type URL: '${any ? typeNameOf(any.typeUrl) : ''}'`,
      )
  })
  return paths
}

function compileCheck(
  proto: HealthCheck,
  at: string,
  http2: boolean,
  runtime: Runtime,
  problems: Problems,
): HttpCheck | TcpCheck | GrpcCheck | undefined {
  const { healthChecker: checker } = proto
  switch (checker.case) {
    case 'httpHealthCheck': {
      const path = `${at}.http_health_check`
      const own = checker.value
      const method = METHODS[own.method] ?? 'GET'
      if (own.send !== undefined && BODYLESS.has(method))
        problems.add(
          path,
          `HTTP health check cannot specify a request payload with method '${method}'. Only methods that support a request body (POST, PUT, PATCH, OPTIONS) can be used with payload.`,
        )
      if (own.codecClientType === HTTP3) problems.add(`${path}.codec_client_type`, 'HTTP3 is not supported')
      const receive = compilePayloads(own.receive, `${path}.receive`, problems)
      const bufferSize = Number(own.responseBufferSize ?? BUFFER_SIZE)
      const total = receive.reduce((n, bytes) => n + bytes.length, 0)
      if (bufferSize !== 0 && total > bufferSize)
        problems.add(
          path,
          `The expected response length '${total}' is over than http health response buffer size '${bufferSize}'`,
        )
      const expected = compileRanges(own.expectedStatuses, 'expected', path, problems)
      const matcher = own.serviceNameMatcher
      return {
        type: 'HTTP',
        http2: own.codecClientType === HTTP2,
        method,
        path: own.path,
        host: own.host,
        headers: compileHeaders(own.requestHeadersToAdd, own.requestHeadersToRemove, runtime, path, problems),
        body: own.send && compilePayload(own.send, `${path}.send`, problems),
        expected: expected.length > 0 ? expected : [[200, 201]],
        retriable: compileRanges(own.retriableStatuses, 'retriable', path, problems),
        receive,
        bufferSize,
        serviceName: matcher && problems.collect(`${path}.service_name_matcher`, () => compileStringMatcher(matcher)),
      }
    }
    case 'tcpHealthCheck': {
      const path = `${at}.tcp_health_check`
      const { send, receive, proxyProtocolConfig } = checker.value
      return {
        type: 'TCP',
        send: send && compilePayload(send, `${path}.send`, problems),
        receive: compilePayloads(receive, `${path}.receive`, problems),
        proxyProtocol: proxyProtocolConfig && (proxyProtocolConfig.version === 1 ? 2 : 1),
      }
    }
    case 'grpcHealthCheck': {
      const path = `${at}.grpc_health_check`
      if (!http2) problems.add(path, 'the cluster must support HTTP/2 for gRPC healthchecking')
      return {
        type: 'GRPC',
        service: checker.value.serviceName,
        authority: checker.value.authority,
        metadata: compileHeaders(checker.value.initialMetadata, [], runtime, path, problems),
      }
    }
    default:
      problems.add(
        at,
        checker.case === 'customHealthCheck'
          ? `custom_health_check: ${checker.value.name} is not supported`
          : 'health_checker: is required',
      )
      return undefined
  }
}

function compileHeaders(
  add: ConstructorParameters<typeof HeaderMutation>[0],
  remove: readonly string[],
  runtime: Runtime,
  path: string,
  problems: Problems,
): HeaderMutation {
  return problems.collect(path, () => new HeaderMutation(add, remove, runtime)) ?? new HeaderMutation([], [], runtime)
}

function compileRanges(
  ranges: readonly { start: bigint; end: bigint }[],
  kind: 'expected' | 'retriable',
  path: string,
  problems: Problems,
): StatusRange[] {
  return ranges.map((range) => {
    const [start, end] = [Number(range.start), Number(range.end)]
    const invalid = `Invalid http ${kind} status range: expecting`
    if (start >= end) problems.add(path, `${invalid} start < end, but found start=${start} and end=${end}`)
    else if (start < 100) problems.add(path, `${invalid} start >= 100, but found start=${start}`)
    else if (end > 600) problems.add(path, `${invalid} end <= 600, but found end=${end}`)
    return [start, end]
  })
}

function compilePayloads(payloads: readonly Payload[], path: string, problems: Problems): Buffer[] {
  return payloads.map((p, i) => compilePayload(p, `${path}[${i}]`, problems)).filter((bytes) => bytes.length > 0)
}

/** Text is hexadecimal. */
function compilePayload({ payload }: Payload, path: string, problems: Problems): Buffer {
  if (payload.case === 'binary') return Buffer.from(payload.value)
  const text = payload.value ?? ''
  if (!/^(?:[0-9a-fA-F]{2})+$/.test(text)) problems.add(path, `invalid hex string '${text}'`)
  return Buffer.from(text, 'hex')
}

/** Whether the bytes hold all the wanted strings, one after the other (PayloadMatcher::match). */
export function holds(bytes: Buffer, wanted: readonly Buffer[]): boolean {
  let from = 0
  for (const part of wanted) {
    const found = bytes.indexOf(part, from)
    if (found < 0) return false
    from = found + part.length
  }
  return true
}
