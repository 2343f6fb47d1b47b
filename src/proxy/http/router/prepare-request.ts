import type { ExchangeInfo } from '../exchange-info.ts'
import type { RequestHead } from '../headers.ts'
import { H } from '../names.ts'
import { applyMutations } from './header-mutation.ts'
import { updateAuthority } from './rewrite.ts'
import type { Forward, Route } from './route.ts'
import { finalTimeouts, type RequestTimeouts, setTimeoutHeaders } from './timeouts.ts'

/** How a request's head is made ready. */
export interface PrepareOptions {
  readonly suppressEnvoyHeaders: boolean
  readonly respectExpectedTimeout: boolean
}

/**
 * Everything about the head that the upstream gets to see: timeouts told, attempt count, header mutations, host and
 * path rewrites, in Envoy's order. Fills `timeouts`; returns the status that a timeout answers (504, or 204 when
 * the request asked for it).
 */
export function prepareRequest(
  head: RequestHead,
  route: Route,
  forward: Forward,
  info: ExchangeInfo,
  grpc: boolean,
  options: PrepareOptions,
  timeouts: RequestTimeouts,
): number {
  const quiet = options.suppressEnvoyHeaders
  finalTimeouts(forward, head, grpc, options.respectExpectedTimeout, timeouts)
  const timeoutStatus = head.remove(H.upstreamTimeoutAltResponse) ? 204 : 504
  if (!quiet) setTimeoutHeaders(head, timeouts, 0, forward, grpc)
  if (forward.attemptCountInRequest) head.set(H.attemptCount, '1')
  applyMutations(route.requestMutations, head, info)
  const authority = forward.hostRewrite.authority(head, head.path, info)
  if (authority !== '') {
    if (forward.hostRewrite.ofEntry) head.authority = authority
    else updateAuthority(head, authority, forward.appendForwardedHost, !quiet)
  }
  if (forward.pathRewrite !== undefined) {
    const path = forward.pathRewrite.rewrite(head.path, info)
    if (!quiet && (path !== head.path || !forward.pathRewrite.formatted)) head.set(H.originalPath, head.path)
    head.path = path
  }
  return timeoutStatus
}
