import type { Runtime } from '../../../runtime.ts'
import type { ClusterManager } from '../../upstream/cluster.ts'
import type { RequestHead } from '../headers.ts'
import type { LocalReply } from '../local-replies.ts'
import type { TimerWheel } from '../timer-wheel.ts'
import type { HeaderReader } from './header-matcher.ts'
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
}

/** A header that `strict_check_headers` wants to be a number and is not; its value. */
export function invalidNumber(reader: HeaderReader, head: RequestHead): string | undefined {
  const value = reader.first(head)
  return value === undefined || /^\d+$/.test(value) ? undefined : value
}

/** The answer to it. */
export function strictReply(name: string, value: string): LocalReply {
  return {
    status: 400,
    body: `invalid header '${name}' with value '${value}'`,
    details: `request_headers_failed_strict_check{${name}}`,
    flag: 'IH',
  }
}
