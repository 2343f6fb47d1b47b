import type { Runtime } from '../../../runtime.ts'
import type { ClusterManager } from '../../upstream/cluster.ts'
import type { RequestHead } from '../headers.ts'
import type { LocalReply } from '../local-replies.ts'
import type { TimerWheel } from '../timer-wheel.ts'
import type { HeaderReader } from './header-matcher.ts'
import { knownRetryWords } from './retry-policy.ts'
import type { RouterStats } from './router-stats.ts'

/** What routers of one chain share. */
export interface RouterSettings {
  readonly runtime: Runtime
  readonly wheel: TimerWheel
  readonly clusters: ClusterManager
  readonly stats: RouterStats
  readonly suppressEnvoyHeaders: boolean
  readonly respectExpectedTimeout: boolean
  readonly strictHeaders: readonly HeaderReader[]
  readonly proxy100Continue: boolean
  readonly ownAddress: string
  /** Counts a copy of a request among the proxy's own. */
  readonly countShadow: () => void
  /** The proxy's own zone; '' when it has none. */
  readonly zone: string
  /** Counters by status are kept at all (dynamic_stats). */
  readonly dynamicStats: boolean
  /** gRPC requests are not counted by status (suppress_grpc_request_failure_code_stats). */
  readonly suppressGrpcCodes: boolean
}

/**
 * The answer to a request of which a header that `strict_check_headers` names is not as it should be: a number, or, for
 * the conditions of retries, known words. Undefined when all are.
 */
export function strictCheck(readers: readonly HeaderReader[], head: RequestHead): LocalReply | undefined {
  for (const reader of readers) {
    const value = reader.first(head)
    if (value === undefined || wellFormed(reader.name, value)) continue
    return {
      status: 400,
      body: `invalid header '${reader.name}' with value '${value}'`,
      details: `request_headers_failed_strict_check{${reader.name}}`,
      flag: 'IH',
    }
  }
  return undefined
}

function wellFormed(name: string, value: string): boolean {
  if (name === 'x-envoy-retry-on') return knownRetryWords(value, false)
  if (name === 'x-envoy-retry-grpc-on') return knownRetryWords(value, true)
  return /^\d+$/.test(value)
}
