import { formatGrpcTimeout, grpcTimeout } from '../grpc-timeout.ts'
import type { RequestHead } from '../headers.ts'
import { H } from '../names.ts'
import type { Forward } from './route.ts'

/** The timeouts of a request in ms; 0 is none. */
export interface RequestTimeouts {
  global: number
  perTry: number
  /** A try that takes too long goes on beside the next one. */
  hedge: boolean
  /** Longest stream to the upstream, from the request's own header; undefined: the cluster's. */
  stream: number | undefined
}

/**
 * The timeouts of a request from route and headers (source/common/router/router.cc finalTimeout). Consumes
 * `x-envoy-upstream-rq-timeout-ms`, `x-envoy-upstream-rq-per-try-timeout-ms`, `x-envoy-hedge-on-per-try-timeout` and
 * `x-envoy-upstream-stream-duration-ms`.
 */
export function finalTimeouts(
  forward: Forward,
  head: RequestHead,
  grpc: boolean,
  respectExpected: boolean,
  out: RequestTimeouts,
): void {
  let global = forward.usesStreamDuration ? 0 : forward.timeout
  if (grpc && forward.maxGrpcTimeout !== undefined && !forward.usesStreamDuration) {
    global = grpcTimeout(head) ?? 0
    if (forward.grpcTimeoutOffset > 0 && forward.grpcTimeoutOffset < global) global -= forward.grpcTimeoutOffset
    const max = forward.maxGrpcTimeout
    if (max !== 0 && (global === 0 || global > max)) global = max
  }
  let perTry = forward.retryPolicy.perTryTimeout
  const expected = respectExpected ? milliseconds(head.get(H.expectedTimeout)) : undefined
  if (expected !== undefined) global = expected
  else if (!respectExpected || !head.has(H.expectedTimeout)) {
    global = milliseconds(head.get(H.upstreamTimeout)) ?? global
    head.remove(H.upstreamTimeout)
  }
  perTry = milliseconds(head.get(H.upstreamPerTryTimeout)) ?? perTry
  head.remove(H.upstreamPerTryTimeout)
  if (perTry >= global && global !== 0) perTry = 0
  out.global = global
  out.perTry = perTry
  out.hedge = forward.hedgeOnTimeout
  const hedge = head.get(H.hedgeOnPerTryTimeout)
  if (hedge !== undefined) {
    head.remove(H.hedgeOnPerTryTimeout)
    if (hedge === 'true') out.hedge = true
    else if (hedge === 'false') out.hedge = false
  }
  out.stream = milliseconds(head.get(H.upstreamStreamDuration))
  head.remove(H.upstreamStreamDuration)
}

/** Tells the upstream how long it has: the try, or what is left of the whole. `elapsed` ms since the request was complete. */
export function setTimeoutHeaders(
  head: RequestHead,
  timeouts: RequestTimeouts,
  elapsed: number,
  forward: Forward,
  grpc: boolean,
): void {
  // A try that goes on beside the next one has all the time.
  let expected = timeouts.perTry > 0 && !timeouts.hedge ? timeouts.perTry : timeouts.global
  if (timeouts.global > 0) expected = Math.max(1, Math.min(expected, Math.ceil(timeouts.global - elapsed)))
  if (expected <= 0) return
  head.set(H.expectedTimeout, String(expected))
  if (grpc && forward.maxGrpcTimeout !== undefined && !forward.usesStreamDuration) {
    head.set(H.grpcTimeout, formatGrpcTimeout(expected))
  }
}

function milliseconds(text: string | undefined): number | undefined {
  return text !== undefined && /^\+?\d{1,19}$/.test(text) ? Number(text) : undefined
}
