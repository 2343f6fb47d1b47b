import { type HeaderMap, type HeaderName, headerName } from '../http/headers.ts'

/** Names, looked up by hash. */
export type NameSet = ReadonlyMap<number, HeaderName>

/**
 * Headers of which a message has one line only: further ones are joined to the first with a comma, so that
 * nothing behind the codec can see one value and miss another. These are Envoy's inline headers
 * (envoy/http/header_map.h and those its filters register), as measured on a real one.
 */
export const requestSingles: NameSet = nameSet([
  'accept accept-encoding access-control-request-headers access-control-request-method',
  'access-control-request-private-network authentication authorization cache-control cdn-loop',
  'connection content-encoding content-length content-type expect grpc-accept-encoding grpc-timeout',
  'host if-match if-modified-since if-none-match if-range if-unmodified-since keep-alive origin pragma',
  'proxy-connection proxy-status referer te transfer-encoding upgrade user-agent via x-client-trace-id',
  'x-envoy-attempt-count x-envoy-decorator-operation x-envoy-downstream-service-cluster',
  'x-envoy-downstream-service-node x-envoy-expected-rq-timeout-ms x-envoy-external-address',
  'x-envoy-force-trace x-envoy-hedge-on-per-try-timeout x-envoy-internal x-envoy-ip-tags',
  'x-envoy-max-retries x-envoy-original-host x-envoy-original-path x-envoy-retriable-header-names',
  'x-envoy-retriable-status-codes x-envoy-retry-grpc-on x-envoy-retry-on x-envoy-upstream-alt-stat-name',
  'x-envoy-upstream-rq-per-try-timeout-ms x-envoy-upstream-rq-timeout-alt-response',
  'x-envoy-upstream-rq-timeout-ms x-forwarded-client-cert x-forwarded-for x-forwarded-host',
  'x-forwarded-port x-forwarded-proto x-request-id',
])

/** The same for responses. */
export const responseSingles: NameSet = nameSet([
  'access-control-allow-credentials access-control-allow-headers access-control-allow-methods',
  'access-control-allow-origin access-control-allow-private-network access-control-expose-headers',
  'access-control-max-age age cache-control connection content-encoding content-length content-type',
  'date etag expires grpc-message grpc-status keep-alive last-modified location proxy-connection',
  'proxy-status server transfer-encoding upgrade vary via x-envoy-attempt-count',
  'x-envoy-decorator-operation x-envoy-degraded x-envoy-immediate-health-check-fail x-envoy-ratelimited',
  'x-envoy-upstream-canary x-envoy-upstream-healthchecked-cluster x-envoy-upstream-service-time',
  'x-request-id',
])

/** Joins repeated lines of such headers. Call it when some name has come twice. */
export function joinRepeated(head: HeaderMap, singles: NameSet): void {
  for (let i = 1; i < head.lines; i++) {
    const name = singles.get(head.hashAt(i))
    if (name === undefined || head.find(name, i) !== i || head.find(name, 0) === i) continue
    head.set(name, head.values(name).join(','))
    i = 0
  }
}

function nameSet(groups: readonly string[]): NameSet {
  const names = groups.flatMap((group) => group.split(' ')).map((name) => headerName(name))
  return new Map(names.map((name) => [name.hash, name]))
}
