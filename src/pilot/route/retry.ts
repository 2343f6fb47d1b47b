import { STATUS_CODES } from 'node:http'
import type { HTTPRetry } from '../../api/kinds/virtual-service.ts'
import { type Init, packed } from '../../xds/messages.ts'
import { duration, lazy } from '../proto.ts'

type RetryPolicy = Init<'envoy.config.route.v3.RetryPolicy'>

const DEFAULT_RETRY_ON = 'connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes'

const PREVIOUS_HOSTS = lazy(() => [
  {
    name: 'envoy.retry_host_predicates.previous_hosts',
    configType: {
      case: 'typedConfig',
      value: packed('envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate'),
    },
  } as const,
])

const PREVIOUS_PRIORITIES = lazy(
  () =>
    ({
      name: 'envoy.retry_priorities.previous_priorities',
      configType: {
        case: 'typedConfig',
        value: packed('envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig', {
          updateFrequency: 2,
        }),
      },
    }) as const,
)

/**
 * Retries of outbound routes: twice, on another host, for what surely did not reach the application, unless the
 * policy says otherwise; none for zero attempts (networking/core/route/retry/retry.go).
 */
export function retryPolicy(policy: HTTPRetry | undefined, consistentHash: boolean): RetryPolicy | undefined {
  const out: RetryPolicy = {
    numRetries: 2,
    retryOn: DEFAULT_RETRY_ON,
    hostSelectionRetryMaxAttempts: 5n,
    retryHostPredicate: consistentHash ? [] : PREVIOUS_HOSTS(),
  }
  if (!policy) return out
  if (!policy.attempts || policy.attempts <= 0) return undefined
  out.numRetries = policy.attempts
  if (policy.retryOn) Object.assign(out, retryOn(policy.retryOn))
  out.perTryTimeout = duration(policy.perTryTimeout)
  if (policy.retryIgnorePreviousHosts !== undefined) {
    out.retryHostPredicate = policy.retryIgnorePreviousHosts ? PREVIOUS_HOSTS() : []
  }
  if (policy.retryRemoteLocalities) out.retryPriority = PREVIOUS_PRIORITIES()
  if (policy.backoff) out.retryBackOff = { baseInterval: duration(policy.backoff) }
  return out
}

/**
 * Retries of inbound routes: twice, when the application closed the connection before it had the request, unless the
 * mesh says otherwise; hosts and timeouts of a try mean nothing here (ConvertInboundPolicy).
 */
export function inboundRetryPolicy(policy: HTTPRetry | undefined): RetryPolicy | undefined {
  if (!policy) return { numRetries: 2, retryOn: 'reset-before-request' }
  if (!policy.attempts || policy.attempts <= 0) return undefined
  return {
    numRetries: policy.attempts,
    retryOn: 'reset-before-request',
    ...(policy.retryOn ? retryOn(policy.retryOn) : {}),
    ...(policy.backoff ? { retryBackOff: { baseInterval: duration(policy.backoff) } } : {}),
  }
}

/** Numbers among the conditions are status codes, and imply the condition for them. */
function retryOn(text: string): Pick<RetryPolicy, 'retryOn' | 'retriableStatusCodes'> {
  const parts = text.split(',').map((part) => part.trim())
  const isCode = (part: string): boolean => /^[+-]?\d+$/.test(part) && STATUS_CODES[Number(part)] !== undefined
  const codes = parts.filter(isCode).map(Number)
  let conditions = parts.filter((part) => part !== '' && !isCode(part)).join(',')
  if (codes.length && !conditions.includes('retriable-status-codes')) conditions += ',retriable-status-codes'
  return { retryOn: conditions, retriableStatusCodes: codes }
}
