import type { Runtime } from '../../../runtime.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { numberOperator, type OperatorSpec, type OperatorTable, plainNumber } from './operator.ts'

/** Milliseconds since the stream began, whole, or undefined while the moment has not come. */
function since(info: StreamInfo, moment: number | undefined): number | undefined {
  return moment ? Math.trunc(moment - info.start) : undefined
}

/** Milliseconds from the first byte to the end of the stream, or to now while it lasts. */
export function durationOf(info: StreamInfo, runtime: Runtime): number {
  return Math.trunc((info.end || runtime.now()) - info.start)
}

type Moment = (info: StreamInfo) => number | undefined

/** The moments that %COMMON_DURATION% knows by name; others are absent. */
const MOMENTS: Readonly<Record<string, Moment>> = {
  DS_CX_BEG: (info) => info.downstream.connectStart,
  DS_CX_END: (info) => info.downstream.connected,
  DS_HS_END: (info) => info.downstream.handshakeComplete,
  DS_RX_BEG: (info) => info.start,
  DS_RX_END: (info) => info.requestComplete,
  DS_TX_BEG: (info) => info.downstreamFirstTx,
  DS_TX_END: (info) => info.downstreamLastTx,
  US_CX_BEG: (info) => info.upstream?.connectStart,
  US_CX_END: (info) => info.upstream?.connected,
  US_HS_END: (info) => info.upstream?.handshakeComplete,
  US_TX_BEG: (info) => info.upstreamFirstTx,
  US_TX_END: (info) => info.upstreamLastTx,
  US_RX_BEG: (info) => info.upstreamFirstRx,
  US_RX_BODY_BEG: (info) => info.upstreamFirstRxBody,
  US_RX_END: (info) => info.upstreamLastRx,
}

const NANOS: Readonly<Record<string, number>> = { ms: 1e6, us: 1e3, ns: 1 }

const commonDuration: OperatorSpec = {
  params: 'required',
  length: false,
  make: (param) => {
    const [from, to, precision = 'ms', more] = param.split(':')
    if (to === undefined || more !== undefined) throw new Error(`Invalid common duration configuration: ${param}.`)
    const unit = Object.hasOwn(NANOS, precision) ? NANOS[precision]! : 0
    if (unit === 0) throw new Error(`Invalid common duration precision: ${precision}.`)
    const begin = Object.hasOwn(MOMENTS, from!) ? MOMENTS[from!] : undefined
    const end = Object.hasOwn(MOMENTS, to) ? MOMENTS[to] : undefined
    return numberOperator((info) => {
      const a = begin?.(info)
      const b = end?.(info)
      return a && b && b >= a ? Math.floor(Math.round((b - a) * 1e6) / unit) : undefined
    })
  },
}

/** Durations in whole milliseconds (source/common/formatter/stream_info_formatter.cc). */
export const durations: OperatorTable = {
  DURATION: {
    params: 'none',
    length: false,
    make: (_param, _max, runtime) => numberOperator((info) => durationOf(info, runtime)),
  },
  REQUEST_DURATION: plainNumber((info) => since(info, info.requestComplete)),
  REQUEST_TX_DURATION: plainNumber((info) => since(info, info.upstreamLastTx)),
  RESPONSE_DURATION: plainNumber((info) => since(info, info.upstreamFirstRx)),
  RESPONSE_TX_DURATION: plainNumber((info) =>
    info.downstreamLastTx && info.upstreamFirstRx
      ? Math.trunc(info.downstreamLastTx - info.upstreamFirstRx)
      : undefined,
  ),
  DOWNSTREAM_HANDSHAKE_DURATION: plainNumber((info) => since(info, info.downstream.handshakeComplete)),
  // The last acknowledgement is only known to QUIC.
  ROUNDTRIP_DURATION: plainNumber(() => undefined),
  UPSTREAM_CONNECTION_POOL_READY_DURATION: plainNumber((info) =>
    info.upstreamPoolWait === undefined ? undefined : Math.trunc(info.upstreamPoolWait),
  ),
  COMMON_DURATION: commonDuration,
}
