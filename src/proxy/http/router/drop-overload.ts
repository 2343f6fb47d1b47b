import type { Runtime } from '../../../runtime.ts'
import type { Cluster } from '../../upstream/cluster.ts'
import { type HeaderName, headerName } from '../headers.ts'
import type { LocalReply } from '../local-replies.ts'

/** What a request gets that the control plane told to refuse, and the header that says so. */
export interface Dropped {
  readonly reply: LocalReply
  readonly header: HeaderName
}

const ALL: Dropped = {
  reply: {
    status: 503,
    body: 'unconditional drop overload',
    details: 'unconditional_drop_overload',
    flag: 'UDO',
  },
  header: headerName('x-envoy-unconditional-drop-overload'),
}
const SOME: Dropped = {
  reply: { status: 503, body: 'drop overload', details: 'drop_overload', flag: 'DO' },
  header: headerName('x-envoy-drop-overload'),
}

/** Whether this request is one of those that `drop_overloads` refuses (source/common/router/router.cc checkDropOverload). */
export function dropped(cluster: Cluster, runtime: Runtime): Dropped | undefined {
  const ratio = cluster.dropOverload
  if (ratio === undefined) return undefined
  if (ratio >= 1) return ALL
  return runtime.random() < ratio ? SOME : undefined
}
