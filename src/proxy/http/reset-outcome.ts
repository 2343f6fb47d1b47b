import type { StreamEnd } from './codec.ts'
import type { ExchangeInfo } from './exchange-info.ts'
import type { HcmStats } from './hcm-stats.ts'
import { DETAILS } from './local-replies.ts'

/** Writes down for logs and statistics why the client's stream ended early: its protocol error, or who closed it. */
export function noteReset(info: ExchangeInfo, stats: HcmStats, why: StreamEnd): void {
  stats.rqRxReset.inc()
  if (why.error !== undefined) {
    stats.cxProtocolError.inc()
    info.flag('DPE')
    info.responseCodeDetails = why.error
    if (why.status !== undefined && why.status > 0) {
      info.responseCode = why.status
      info.bytesSent = why.bytesSent ?? 0
      stats.charge(why.status)
      stats.rqResponseBeforeComplete.inc()
    }
  } else if (why.details !== undefined) {
    if (why.flag !== undefined) info.flag(why.flag)
    if (why.details !== '') info.responseCodeDetails = why.details
  } else if (why.remote) {
    info.flag('DC')
    info.responseCodeDetails = DETAILS.downstreamRemoteDisconnect
  } else info.responseCodeDetails ??= 'downstream_local_disconnect'
}
