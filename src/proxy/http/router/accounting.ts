import type { Cluster } from '../../upstream/cluster.ts'
import type { Host } from '../../upstream/host.ts'
import type { Exchange } from '../exchange.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../headers.ts'
import { httpStatusOf } from '../local-replies.ts'
import { H } from '../names.ts'
import type { RouteStats } from './route-stats.ts'
import type { RouterSettings } from './router-settings.ts'
import type { UpstreamRequest } from './upstream-request.ts'

/** Whom a request's responses are counted for. */
export interface Counted {
  readonly settings: RouterSettings
  readonly exchange: Exchange
  readonly watching: readonly RouteStats[]
  /** `x-envoy-upstream-alt-stat-name`: the cluster counts under this name a second time; '' for none. */
  readonly altStat: string
  readonly grpc: boolean
}

/** The counter families of a status under a prefix (source/common/http/codes.cc). */
function chargeUnder(cluster: Cluster, prefix: string, status: number, codes: boolean): void {
  const { stats } = cluster
  stats.counter(`${prefix}upstream_rq_completed`).inc()
  if (!codes) return
  const known = status >= 100 && status < 600
  if (known) stats.counter(`${prefix}upstream_rq_${Math.floor(status / 100)}xx`).inc()
  stats.counter(`${prefix}upstream_rq_${known ? status : 'unknown'}`).inc()
}

/** The prefix of counters between zones: this proxy's and the host's; '' when either is unknown. */
function zonePrefix(settings: RouterSettings, host: Host | undefined): string {
  const to = host?.locality.zone ?? ''
  return settings.zone === '' || to === '' ? '' : `zone.${settings.zone}.${to}.`
}

/** Counts a status for the cluster and all that watch the request (router.cc chargeUpstreamCode). */
function charge(counted: Counted, cluster: Cluster, host: Host | undefined, status: number, canary: boolean): void {
  const { settings, exchange, watching, altStat } = counted
  const { internal } = exchange
  if (!settings.dynamicStats || exchange.info.healthCheck) return
  const side = internal ? 'internal.' : 'external.'
  if (counted.grpc && settings.suppressGrpcCodes) {
    chargeUnder(cluster, '', status, false)
    chargeUnder(cluster, side, status, true)
    if (canary) chargeUnder(cluster, 'canary.', status, true)
  } else cluster.stats.chargeResponse(status, internal, canary)
  for (let i = 0; i < watching.length; i++) watching[i]!.charge(status)
  const zone = zonePrefix(settings, host)
  if (zone !== '') chargeUnder(cluster, zone, status, true)
  if (altStat === '') return
  chargeUnder(cluster, `${altStat}.`, status, true)
  chargeUnder(cluster, `${altStat}.${side}`, status, true)
  if (canary) chargeUnder(cluster, `${altStat}.canary.`, status, true)
  if (zone !== '') chargeUnder(cluster, `${altStat}.${zone}`, status, true)
}

/** Counts an upstream's response that goes to the client. */
export function accountResponse(counted: Counted, request: UpstreamRequest, head: ResponseHead, end: boolean): void {
  const { cluster, host } = request
  request.canary = host.canary || head.get(H.upstreamCanary) === 'true'
  charge(counted, cluster, host, head.status, request.canary)
  if (head.status >= 500 && head.status < 600) {
    if (counted.settings.dynamicStats) host.stats.rqError.inc()
  } else if (!counted.grpc) host.stats.rqSuccess.inc()
  else if (end) accountGrpc(request, head)
  else request.statusPending = true
}

/** A gRPC response is over: its status says what it was; without one it failed. */
export function accountGrpc(request: UpstreamRequest, trailers: HeaderMap | undefined): void {
  request.statusPending = false
  const status = trailers?.get(H.grpcStatus)
  const code = status === undefined || !/^\d+$/.test(status) ? 500 : httpStatusOf(Number(status))
  const { stats } = request.host
  if (code >= 500) stats.rqError.inc()
  else stats.rqSuccess.inc()
}

/** Counts an interim response. */
export function accountInterim(counted: Counted, request: UpstreamRequest, status: number): void {
  charge(counted, request.cluster, request.host, status, request.host.canary)
}

/** Counts a response that is thrown away for a retry. */
export function accountRetried(counted: Counted, request: UpstreamRequest, status: number): void {
  request.host.stats.rqError.inc()
  if (counted.grpc && counted.settings.suppressGrpcCodes) chargeUnder(request.cluster, 'retry.', status, false)
  else request.cluster.stats.chargeRetriedResponse(status)
}

/** Counts an answer that the router made in an upstream's place. */
export function accountFailure(counted: Counted, cluster: Cluster, host: Host | undefined, status: number): void {
  charge(counted, cluster, host, status, false)
  host?.stats.rqError.inc()
}

/** Records how long a response took from the end of the request, ms. */
export function accountTime(counted: Counted, request: UpstreamRequest, ms: number): void {
  const { settings, exchange, watching, altStat } = counted
  if (!settings.dynamicStats || exchange.info.healthCheck) return
  const { stats } = request.cluster
  stats.recordRequestTime(ms, exchange.internal, request.canary)
  for (let i = 0; i < watching.length; i++) watching[i]!.record(ms)
  const zone = zonePrefix(settings, request.host)
  if (zone !== '') stats.histogram(`${zone}upstream_rq_time`).record(ms)
  if (altStat === '') return
  const side = exchange.internal ? 'internal.' : 'external.'
  for (const part of ['', side, ...(request.canary ? ['canary.'] : []), ...(zone !== '' ? [zone] : [])]) {
    stats.histogram(`${altStat}.${part}upstream_rq_time`).record(ms)
  }
}

/** Takes the alternative name out of a request; '' when it has none. */
export function takeAltStat(head: RequestHead): string {
  const name = head.get(H.upstreamAltStatName)
  if (name === undefined) return ''
  head.remove(H.upstreamAltStatName)
  return name
}
