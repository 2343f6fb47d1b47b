import type { Cluster } from '../../upstream/cluster.ts'
import type { Host } from '../../upstream/host.ts'
import type { ResponseHead } from '../headers.ts'
import { H } from '../names.ts'
import type { UpstreamRequest } from './upstream-request.ts'

/** Counts an upstream's response that goes to the client; `effective` is its status, gRPC's translated. */
export function accountResponse(
  request: UpstreamRequest,
  head: ResponseHead,
  effective: number,
  internal: boolean,
): void {
  const { cluster, host } = request
  const canary = host.canary || head.get(H.upstreamCanary) === 'true'
  cluster.stats.chargeResponse(head.status, internal, canary)
  if (effective >= 500) host.stats.rqError.inc()
  else host.stats.rqSuccess.inc()
}

/** Counts an answer that the router made in an upstream's place. */
export function accountFailure(cluster: Cluster, host: Host | undefined, status: number, internal: boolean): void {
  cluster.stats.chargeResponse(status, internal, false)
  host?.stats.rqError.inc()
}
