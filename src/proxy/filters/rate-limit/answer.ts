import type { HeaderValue } from '#gen/envoy/config/core/v3/base_pb.js'
import type { FilterSlot } from '../../http/filter-slot.ts'
import type { RequestHead, ResponseHead } from '../../http/headers.ts'
import type { LocalReply } from '../../http/local-replies.ts'
import type { Descriptor } from '../../http/rate-limit/descriptor.ts'
import { toByteString } from '../../observe/format/bytes.ts'
import type { Cluster } from '../../upstream/cluster.ts'
import { addRequestHeader } from '../ext-authz/request-changes.ts'
import { addResponseHeader } from '../ext-authz/response-changes.ts'
import { rateLimitHeaders, retryAfter } from './headers.ts'
import type { LimitVerdict } from './service.ts'
import type { RateLimitSettings } from './settings.ts'

/** A header, its value as a byte string. */
export type HeaderPair = readonly [name: string, value: string]

/** What comes of a verdict. */
export interface LimitOutcome {
  /** The answer that the request gets; undefined: it goes on. */
  readonly reply: LocalReply | undefined
  /** What is added to the response, whoever makes it. */
  readonly headers: readonly HeaderPair[]
}

/** Counts a verdict, and says what to do about it (ratelimit.cc complete). `cluster`: where the request is going. */
export function outcomeOf(
  verdict: LimitVerdict,
  descriptors: readonly Descriptor[],
  settings: RateLimitSettings,
  cluster: Cluster,
  slot: FilterSlot,
): LimitOutcome {
  const { response } = verdict
  const count = (name: string): void => cluster.stats.counter(`${settings.statPrefix}.${name}`).inc()
  if (response === undefined) {
    count('error')
    if (settings.failureDenied.hit(slot.runtime.randomU32()))
      return {
        reply: { status: settings.errorStatus, body: '', details: 'rate_limiter_error', flag: 'RLSE' },
        headers: [],
      }
    count('failure_mode_allowed')
    return PASSES
  }
  const { dynamicMetadata, rawBody, statuses } = response
  if (dynamicMetadata !== undefined && Object.keys(dynamicMetadata).length > 0)
    slot.setMetadata(settings.metadataNamespace, dynamicMetadata)
  const over = verdict.result === 'over limit'
  const headers = headerPairs(response.responseHeadersToAdd)
  if (over) {
    count('over_limit')
    cluster.stats.chargeResponse(settings.limitedStatus, true, false)
    if (settings.tellsLimited) replace(headers, 'x-envoy-ratelimited', 'true')
  } else count('ok')
  headers.push(...rateLimitHeaders(descriptors, statuses, settings.tellsLimits))
  if (!over || !settings.enforced.hit(slot.runtime.randomU32())) return { reply: undefined, headers }
  const seconds = settings.tellsRetryAfter ? retryAfter(statuses) : undefined
  if (seconds !== undefined && !headers.some(([name]) => name === 'retry-after'))
    headers.push(['retry-after', String(seconds)])
  const reply = {
    status: settings.limitedStatus,
    body: rawBody,
    details: 'request_rate_limited',
    flag: 'RL',
    ...(settings.limitedGrpcStatus === undefined ? {} : { grpcStatus: settings.limitedGrpcStatus }),
  } as const
  return { reply, headers }
}

const PASSES: LimitOutcome = { reply: undefined, headers: [] }

function headerPairs(values: readonly HeaderValue[]): HeaderPair[] {
  return values.map(({ key, value }): HeaderPair => [toByteString(key.toLowerCase()), toByteString(value)])
}

function replace(headers: HeaderPair[], name: string, value: string): void {
  const at = headers.findIndex(([key]) => key === name)
  if (at < 0) headers.push([name, value])
  else headers[at] = [name, value]
}

/** Adds what the service wants its request to have. */
export function changeRequest(head: RequestHead, { response }: LimitVerdict): void {
  for (const [name, value] of headerPairs(response?.requestHeadersToAdd ?? [])) addRequestHeader(head, name, value)
}

/** Adds headers to a response. */
export function changeResponse(head: ResponseHead, headers: readonly HeaderPair[]): void {
  for (const [name, value] of headers) addResponseHeader(head, name, value)
}
