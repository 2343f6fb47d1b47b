/** What is known of a request that failed. */
export interface FailureFacts {
  readonly method: string
  readonly status: number
  readonly flags: readonly string[]
  readonly details: string
  /** How often it was sent upstream. */
  readonly attempts: number
  /** Who it was sent to, in order. */
  readonly tried: readonly string[]
}

/** What the caller's sidecar would do about failures of its route. */
export interface PolicyFacts {
  /** Envoy's `retry_on` conditions; empty without retries. */
  readonly retryOn: readonly string[]
  readonly retries: number
  readonly retriableStatuses: readonly number[]
  /** How many hosts the cluster has. */
  readonly hosts: number
}

/** Why a request failed, and whether a policy could have saved it. */
export interface FailureReason {
  readonly savable: boolean
  readonly why: string
}

const no = (why: string): FailureReason => ({ savable: false, why })
const yes = (why: string): FailureReason => ({ savable: true, why })

/** Explains a failed request from its sidecar's response flags, details and attempts. */
export function explainFailure(facts: FailureFacts, policy: PolicyFacts | undefined): FailureReason {
  const { flags, details, attempts, status } = facts
  const has = (...wanted: string[]) => wanted.some((flag) => flags.includes(flag))
  if (details.startsWith('upstream_reset_after_response_started'))
    return no(
      `reset after the response had begun (${reasonIn(details)}): what the client has of it cannot be taken back`,
    )
  if (has('UO')) return yes('breaker open (UO): the limits of connectionPool were reached')
  if (has('UH'))
    return policy && policy.hosts > 0
      ? yes(
          'no healthy upstream (UH): all hosts were ejected; a lower maxEjectionPercent, or minHealthPercent, keeps some',
        )
      : no('no healthy upstream (UH): there was no host at all')
  if (has('NR')) return yes('no route (NR) matched')
  if (has('NC')) return yes('the route names a cluster that there is not (NC)')
  if (has('DI', 'FI'))
    return yes(`an injected fault of a VirtualService (${flags.join(',')}), which comes before retries`)
  if (has('RL')) return yes('a rate limit (RL) refused it')
  if (details === 'upstream_per_try_timeout')
    return yes(`perTryTimeout (UT) ended its ${ordinal(attempts)} attempt${spent(facts, policy)}`)
  if (has('UT', 'UMSDR', 'DT', 'SI'))
    return yes(`the timeout of its route (${flags.join(',')}) ended it during its ${ordinal(attempts)} attempt`)
  if (has('DC')) return no('the client hung up (DC) before the answer')
  if (attempts === 0) return yes(`its sidecar answered ${status} itself: ${details || 'no details'}`)
  if (attempts > 1) return afterRetries(facts, policy)
  return unretried(facts, policy)
}

/** It was retried, and failed all the same. */
function afterRetries(facts: FailureFacts, policy: PolicyFacts | undefined): FailureReason {
  const { attempts, tried } = facts
  // In one order, so that like failures are counted together.
  const hosts = [...new Set(tried)].sort()
  if (policy && !covers(facts, policy)) return notCovered(facts, policy, `after ${attempts} attempts `)
  if (hosts.length === 1 && policy && policy.hosts > 1)
    return yes(`all ${attempts} attempts went to ${hosts[0]}, though the cluster has ${policy.hosts} hosts`)
  if (policy && hosts.length >= policy.hosts)
    return no(`all ${attempts} attempts failed, on every host there was (${hosts.join(', ')})`)
  return yes(`all ${attempts} attempts failed (on ${hosts.join(', ')}); another host was not tried`)
}

/** It was sent once. */
function unretried(facts: FailureFacts, policy: PolicyFacts | undefined): FailureReason {
  if (policy === undefined || policy.retries === 0) return yes(`${failureIn(facts)}, and its route has no retries`)
  if (!covers(facts, policy)) return notCovered(facts, policy, '')
  return yes(
    `${failureIn(facts)}: covered by retryOn, but not retried: maxRetries was reached, or the request's body did not fit the buffer`,
  )
}

function notCovered(facts: FailureFacts, policy: PolicyFacts, when: string): FailureReason {
  return yes(`${when}${failureIn(facts)}, which retryOn (${policy.retryOn.join(',')}) does not cover`)
}

function spent({ attempts }: FailureFacts, policy: PolicyFacts | undefined): string {
  return policy && attempts > policy.retries ? `, the last of ${policy.retries + 1}` : ''
}

/** Whether the policy's conditions say that such a failure is retried (source/common/router/retry_state_impl.cc). */
function covers({ status, details }: FailureFacts, { retryOn, retriableStatuses }: PolicyFacts): boolean {
  const on = (...conditions: string[]) => conditions.some((condition) => retryOn.includes(condition))
  if (on('5xx') && status >= 500) return true
  if (on('gateway-error') && status >= 502 && status <= 504) return true
  if (!details.startsWith('upstream_reset_before_response_started'))
    return on('retriable-status-codes') && retriableStatuses.includes(status)
  const reason = reasonIn(details)
  if (on('reset') || (on('connect-failure') && reason.includes('connection failure'))) return true
  return on('refused-stream') && reason.includes('refused')
}

function failureIn({ details, status, method }: FailureFacts): string {
  if (details === 'via_upstream') return `${method} was answered ${status} by the app or its sidecar`
  if (details.startsWith('upstream_reset_before_response_started'))
    return `${method} was reset before a response (${reasonIn(details)})`
  return `${method} failed with ${status} (${details || 'no details'})`
}

/** `connection termination` of `upstream_reset_before_response_started{connection_termination}`. */
function reasonIn(details: string): string {
  return (/\{(.*)\}/.exec(details)?.[1] ?? details).replaceAll('_', ' ').replace(/\|.*$/, '')
}

function ordinal(n: number): string {
  return n === 1 ? 'only' : `${n}${['th', 'st', 'nd', 'rd'][n % 100 > 10 && n % 100 < 14 ? 0 : n % 10] ?? 'th'}`
}
