import type { RetryPolicy as RetryPolicyProto } from '#gen/envoy/config/route/v3/route_components_pb.js'
import { durationMs, Problems } from '../config.ts'
import { type HeaderName, headerName } from '../headers.ts'
import { compileHeaderMatchers, type HeaderMatcher } from './header-matcher.ts'
import { compileHostPredicate, type HostPredicate } from './retry-hosts.ts'
import { compileRetryPriority } from './retry-priority.ts'

/** Bits of `retry_on` and `x-envoy-retry-on` (envoy/router/router.h). */
export const RetryOn = {
  SERVER_ERROR: 1, // 5xx
  GATEWAY_ERROR: 2,
  CONNECT_FAILURE: 4,
  RETRIABLE_4XX: 8,
  REFUSED_STREAM: 16,
  GRPC_CANCELLED: 32,
  GRPC_DEADLINE_EXCEEDED: 64,
  GRPC_RESOURCE_EXHAUSTED: 128,
  GRPC_UNAVAILABLE: 256,
  GRPC_INTERNAL: 512,
  RETRIABLE_STATUS_CODES: 1024,
  RESET: 2048,
  RETRIABLE_HEADERS: 4096,
  ENVOY_RATE_LIMITED: 8192,
  RESET_BEFORE_REQUEST: 16384,
} as const

const HTTP_TOKENS: Readonly<Record<string, number>> = {
  '5xx': RetryOn.SERVER_ERROR,
  'gateway-error': RetryOn.GATEWAY_ERROR,
  'connect-failure': RetryOn.CONNECT_FAILURE,
  'retriable-4xx': RetryOn.RETRIABLE_4XX,
  'refused-stream': RetryOn.REFUSED_STREAM,
  'retriable-status-codes': RetryOn.RETRIABLE_STATUS_CODES,
  'retriable-headers': RetryOn.RETRIABLE_HEADERS,
  reset: RetryOn.RESET,
  'reset-before-request': RetryOn.RESET_BEFORE_REQUEST,
  'envoy-ratelimited': RetryOn.ENVOY_RATE_LIMITED,
  // There is no HTTP/3 here that could fail.
  'http3-post-connect-failure': 0,
}

const GRPC_TOKENS: Readonly<Record<string, number>> = {
  cancelled: RetryOn.GRPC_CANCELLED,
  'deadline-exceeded': RetryOn.GRPC_DEADLINE_EXCEEDED,
  'resource-exhausted': RetryOn.GRPC_RESOURCE_EXHAUSTED,
  unavailable: RetryOn.GRPC_UNAVAILABLE,
  internal: RetryOn.GRPC_INTERNAL,
}

/** Whether a `x-envoy-retry-on` (or, with `grpc`, `x-envoy-retry-grpc-on`) value has known words only. */
export function knownRetryWords(text: string, grpc: boolean): boolean {
  const tokens = grpc ? GRPC_TOKENS : HTTP_TOKENS
  return text.split(',').every((word) => word.trim() === '' || Object.hasOwn(tokens, word.trim()))
}

function bits(text: string, tokens: Readonly<Record<string, number>>): number {
  let mask = 0
  for (const token of text.split(',')) mask |= tokens[token.trim()] ?? 0
  return mask
}

/** The bits of a `retry_on` value; unknown words are ignored, as Envoy does. */
export function parseRetryOn(text: string): number {
  return bits(text, HTTP_TOKENS)
}

/** The bits of an `x-envoy-retry-grpc-on` value; also valid inside `retry_on`. */
export function parseRetryGrpcOn(text: string): number {
  return bits(text, GRPC_TOKENS)
}

/** How to read a rate-limit reset header. */
export interface ResetHeader {
  readonly name: HeaderName
  readonly format: 'seconds' | 'timestamp'
}

const KNOWN = new Set([
  'retryOn',
  'numRetries',
  'perTryTimeout',
  'perTryIdleTimeout',
  'retryHostPredicate',
  'retryPriority',
  'hostSelectionRetryMaxAttempts',
  'retriableStatusCodes',
  'retryBackOff',
  'rateLimitedRetryBackOff',
  'retriableHeaders',
  'retriableRequestHeaders',
])

/** A compiled retry policy (source/common/router/retry_policy_impl.cc). Times in ms; 0 is none. */
export class RetryPolicy {
  readonly on: number
  readonly retryOn: string
  readonly numRetries: number
  readonly perTryTimeout: number
  readonly perTryIdleTimeout: number
  readonly hostPredicates: readonly HostPredicate[]
  /** `update_frequency` of previous_priorities; undefined: retries go where first attempts do. */
  readonly priorityFrequency: number | undefined
  readonly hostSelectionAttempts: number
  readonly statusCodes: readonly number[]
  readonly baseInterval: number
  readonly maxInterval: number
  readonly resetHeaders: readonly ResetHeader[]
  readonly resetMaxInterval: number
  readonly retriableHeaders: readonly HeaderMatcher[]
  readonly retriableRequestHeaders: readonly HeaderMatcher[]

  constructor(config: RetryPolicyProto) {
    const problems = new Problems()
    problems.refuseUnknown(config, KNOWN, 'retry_policy')
    this.retryOn = config.retryOn
    this.on = parseRetryOn(config.retryOn) | parseRetryGrpcOn(config.retryOn)
    this.numRetries = config.numRetries ?? 1
    this.perTryTimeout = durationMs(config.perTryTimeout) ?? 0
    this.perTryIdleTimeout = durationMs(config.perTryIdleTimeout) ?? 0
    this.hostSelectionAttempts = Number(config.hostSelectionRetryMaxAttempts) || 1
    this.statusCodes = config.retriableStatusCodes
    const base = durationMs(config.retryBackOff?.baseInterval)
    this.baseInterval = base === undefined ? 25 : Math.max(1, base)
    const max = durationMs(config.retryBackOff?.maxInterval)
    if (max !== undefined && max < (base ?? 25)) {
      problems.add('retry_policy.retry_back_off.max_interval', 'must be at least base_interval')
    }
    this.maxInterval = max ?? this.baseInterval * 10
    this.hostPredicates = config.retryHostPredicate.flatMap(
      (predicate) => problems.collect('retry_policy', () => compileHostPredicate(predicate)) ?? [],
    )
    this.priorityFrequency = problems.collect('retry_policy', () => compileRetryPriority(config.retryPriority))
    this.resetHeaders = (config.rateLimitedRetryBackOff?.resetHeaders ?? []).map((h) => ({
      name: headerName(h.name.toLowerCase()),
      format: h.format === 1 ? 'timestamp' : 'seconds',
    }))
    this.resetMaxInterval = durationMs(config.rateLimitedRetryBackOff?.maxInterval) ?? 300_000
    const headers = (list: typeof config.retriableHeaders, path: string) =>
      problems.collect('', () => compileHeaderMatchers(list, path)) ?? []
    this.retriableHeaders = headers(config.retriableHeaders, 'retry_policy.retriable_headers')
    this.retriableRequestHeaders = headers(config.retriableRequestHeaders, 'retry_policy.retriable_request_headers')
    problems.throwIfAny()
  }

  toString(): string {
    return `${this.numRetries} retries on ${this.retryOn || 'nothing'}`
  }
}
