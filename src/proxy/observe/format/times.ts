import type { Runtime } from '../../../runtime.ts'
import type { CertificateInfo } from '../../listener/connection.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { toByteString } from './bytes.ts'
import { checkDateFormat, dateFormatter } from './date-format.ts'
import { type OperatorSpec, type OperatorTable, textOperator } from './operator.ts'

type WallClock = (info: StreamInfo, runtime: Runtime) => number | undefined

function timeOperator(time: WallClock, local = false): OperatorSpec {
  return {
    params: 'optional',
    length: false,
    make: (param, _max, runtime) => {
      checkDateFormat(param)
      const format = dateFormatter(toByteString(param), local)
      return textOperator((info) => {
        const ms = time(info, runtime)
        return ms === undefined ? undefined : format(ms)
      })
    },
  }
}

const from = (cert: CertificateInfo | undefined): number | undefined => cert?.validFrom.getTime()
const until = (cert: CertificateInfo | undefined): number | undefined => cert?.validTo.getTime()

/** Points in time (source/common/formatter/stream_info_formatter.cc SystemTimeFormatter). */
export const times: OperatorTable = {
  START_TIME: timeOperator((info) => info.startWall),
  START_TIME_LOCAL: timeOperator((info) => info.startWall, true),
  EMIT_TIME: timeOperator((_info, runtime) => runtime.wallNow()),
  EMIT_TIME_LOCAL: timeOperator((_info, runtime) => runtime.wallNow(), true),
  DOWNSTREAM_PEER_CERT_V_START: timeOperator((info) => from(info.downstream.tls?.peer)),
  DOWNSTREAM_PEER_CERT_V_END: timeOperator((info) => until(info.downstream.tls?.peer)),
  UPSTREAM_PEER_CERT_V_START: timeOperator((info) => from(info.upstream?.tls?.peer)),
  UPSTREAM_PEER_CERT_V_END: timeOperator((info) => until(info.upstream?.tls?.peer)),
}
