import type { Cluster } from '../../upstream/cluster.ts'
import type { Host } from '../../upstream/host.ts'
import type { Exchange } from '../exchange.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../headers.ts'
import { httpStatusOf } from '../local-replies.ts'
import { H } from '../names.ts'
import { ResponseCounters } from './response-counters.ts'
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

const families = new WeakMap<Cluster['stats'], Map<string, ResponseCounters>>()

/** The counters of a cluster's responses under a prefix, beside those that it has anyway. */
function under(cluster: Cluster, prefix: string): ResponseCounters {
  const { stats } = cluster
  let known = families.get(stats)
  if (known === undefined) {
    known = new Map()
    families.set(stats, known)
  }
  let family = known.get(prefix)
  if (family === undefined) {
    family = new ResponseCounters((name) => stats.counter(`${prefix}upstream_rq_${name}`))
    known.set(prefix, family)
  }
  return family
}

const zonePrefixes = new WeakMap<Host, string>()

/** The prefix of counters between zones: this proxy's and the host's; '' when either is unknown. */
function zonePrefix(settings: RouterSettings, host: Host | undefined): string {
  if (settings.zone === '' || host === undefined) return ''
  let prefix = zonePrefixes.get(host)
  if (prefix === undefined) {
    const to = host.locality.zone
    prefix = to === '' ? '' : `zone.${settings.zone}.${to}.`
    zonePrefixes.set(host, prefix)
  }
  return prefix
}

/** Counts a status for the cluster and all that watch the request (router.cc chargeUpstreamCode). */
function charge(counted: Counted, cluster: Cluster, host: Host | undefined, status: number, canary: boolean): void {
  const { settings, exchange, watching, altStat } = counted
  const { internal } = exchange
  if (!settings.dynamicStats || exchange.info.healthCheck) return
  const side = internal ? 'internal.' : 'external.'
  if (counted.grpc && settings.suppressGrpcCodes) {
    under(cluster, '').chargeCompleted()
    under(cluster, side).charge(status)
    if (canary) under(cluster, 'canary.').charge(status)
  } else cluster.stats.chargeResponse(status, internal, canary)
  for (let i = 0; i < watching.length; i++) watching[i]!.charge(status)
  const zone = zonePrefix(settings, host)
  if (zone !== '') under(cluster, zone).charge(status)
  if (altStat === '') return
  under(cluster, `${altStat}.`).charge(status)
  under(cluster, `${altStat}.${side}`).charge(status)
  if (canary) under(cluster, `${altStat}.canary.`).charge(status)
  if (zone !== '') under(cluster, `${altStat}.${zone}`).charge(status)
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
  if (counted.grpc && counted.settings.suppressGrpcCodes) under(request.cluster, 'retry.').chargeCompleted()
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
