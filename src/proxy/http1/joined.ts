import { type HeaderMap, headerName } from '../http/headers.ts'

/**
 * Headers of which there is only one: further lines are joined to the first with a comma, so that nothing
 * behind the codec can see one value and miss another (inline headers in envoy/http/header_map.h).
 */
const single = [
  'connection',
  'content-length',
  'content-type',
  'date',
  'expect',
  'grpc-message',
  'grpc-status',
  'grpc-timeout',
  'host',
  'keep-alive',
  'location',
  'proxy-connection',
  'server',
  'te',
  'transfer-encoding',
  'upgrade',
  'user-agent',
  'via',
  'x-client-trace-id',
  'x-envoy-attempt-count',
  'x-envoy-decorator-operation',
  'x-envoy-degraded',
  'x-envoy-downstream-service-cluster',
  'x-envoy-downstream-service-node',
  'x-envoy-expected-rq-timeout-ms',
  'x-envoy-external-address',
  'x-envoy-force-trace',
  'x-envoy-hedge-on-per-try-timeout',
  'x-envoy-immediate-health-check-fail',
  'x-envoy-internal',
  'x-envoy-ip-tags',
  'x-envoy-max-retries',
  'x-envoy-original-path',
  'x-envoy-original-url',
  'x-envoy-ratelimited',
  'x-envoy-retriable-header-names',
  'x-envoy-retriable-status-codes',
  'x-envoy-retry-grpc-on',
  'x-envoy-retry-on',
  'x-envoy-upstream-alt-stat-name',
  'x-envoy-upstream-canary',
  'x-envoy-upstream-healthchecked-cluster',
  'x-envoy-upstream-rq-per-try-timeout-ms',
  'x-envoy-upstream-rq-timeout-alt-response',
  'x-envoy-upstream-rq-timeout-ms',
  'x-envoy-upstream-service-time',
  'x-forwarded-client-cert',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-request-id',
].map((name) => headerName(name))

const hashes = new Map(single.map((name) => [name.hash, name]))

/** Joins repeated lines of the headers above. Call it when some name has come twice. */
export function joinRepeated(head: HeaderMap): void {
  for (let i = 1; i < head.lines; i++) {
    const name = hashes.get(head.hashAt(i))
    if (name === undefined || head.find(name, 0) === i || head.find(name, i) !== i) continue
    head.set(name, head.values(name).join(','))
    i = 0
  }
}
