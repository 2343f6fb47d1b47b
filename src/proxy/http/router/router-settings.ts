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

/** The answer to a request of which a header that `strict_check_headers` names is no number; undefined when all are. */
export function strictCheck(readers: readonly HeaderReader[], head: RequestHead): LocalReply | undefined {
  for (const reader of readers) {
    const value = reader.first(head)
    if (value === undefined || /^\d+$/.test(value)) continue
    return {
      status: 400,
      body: `invalid header '${reader.name}' with value '${value}'`,
      details: `request_headers_failed_strict_check{${reader.name}}`,
      flag: 'IH',
    }
  }
  return undefined
}
