import type { HealthCheck } from '#gen/envoy/extensions/filters/http/health_check/v3/health_check_pb.js'
import type { Runtime } from '../../runtime.ts'
import type { ProxyContext } from '../context.ts'
import { ConfigError } from '../context.ts'
import { durationMs } from '../http/config.ts'
import type { FilterSlot } from '../http/filter-slot.ts'
import { headerName, type RequestHead, type ResponseHead } from '../http/headers.ts'
import { H } from '../http/names.ts'
import { compileHeaderMatchers, type HeaderMatcher, matchAll } from '../http/router/header-matcher.ts'
import type { Counter } from '../observe/stats.ts'
import { DataStatus, HeadersStatus, type HttpFilter, type HttpFilterKind, TrailersStatus } from './filter.ts'

const CHECKED_CLUSTER = headerName('x-envoy-upstream-healthchecked-cluster')
const DEGRADED = headerName('x-envoy-degraded')

interface Verdict {
  readonly status: number
  readonly details: string
  readonly degraded: boolean
}

/** The last answer of the application, used until the cache time is over. */
class Cache {
  status = 200
  degraded = false
  private fresh = false
  private readonly runtime: Runtime
  private readonly time: number
  private clearedAt: number

  constructor(runtime: Runtime, time: number) {
    this.runtime = runtime
    this.time = time
    this.clearedAt = runtime.now()
  }

  /** Envoy clears it by a timer that runs all the time, not by the age of the answer. */
  get usable(): boolean {
    const periods = Math.floor((this.runtime.now() - this.clearedAt) / this.time)
    if (periods > 0) {
      this.fresh = false
      this.clearedAt += periods * this.time
    }
    return this.fresh
  }

  keep(status: number, degraded: boolean): void {
    void this.usable
    this.status = status
    this.degraded = degraded
    this.fresh = true
  }
}

class HealthCheckStats {
  readonly cachedResponse: Counter
  readonly degraded: Counter
  readonly failed: Counter
  readonly clusterEmpty: Counter
  readonly clusterNotFound: Counter
  readonly clusterUnhealthy: Counter
  readonly ok: Counter
  readonly requestTotal: Counter

  constructor(proxy: ProxyContext, statPrefix: string) {
    const counter = (name: string) => proxy.stats.counter(`${statPrefix}health_check.${name}`)
    this.cachedResponse = counter('cached_response')
    this.degraded = counter('degraded')
    this.failed = counter('failed')
    this.clusterEmpty = counter('failed_cluster_empty')
    this.clusterNotFound = counter('failed_cluster_not_found')
    this.clusterUnhealthy = counter('failed_cluster_unhealthy')
    this.ok = counter('ok')
    this.requestTotal = counter('request_total')
  }
}

interface Settings {
  readonly proxy: ProxyContext
  readonly passThrough: boolean
  readonly headers: readonly HeaderMatcher[]
  readonly cache: Cache | undefined
  /** Percent of hosts that must be usable, by cluster. */
  readonly clusters: readonly (readonly [name: string, percent: number])[]
  readonly stats: HealthCheckStats
}

/** Answers health checks of this proxy itself, or remembers what the application answered. */
class HealthCheckFilter implements HttpFilter {
  private readonly settings: Settings
  private isCheck = false
  private handling = false

  constructor(settings: Settings) {
    this.settings = settings
  }

  decodeHeaders(head: RequestHead, end: boolean, slot: FilterSlot): HeadersStatus {
    const { settings } = this
    if (matchAll(settings.headers, head)) {
      this.isCheck = true
      slot.info.healthCheck = true
      slot.info.traceSampled = false
      this.handling = !settings.passThrough || this.failing || settings.cache?.usable === true
    }
    if (!this.handling) return HeadersStatus.CONTINUE
    if (end) this.answer(slot)
    return HeadersStatus.STOP
  }

  decodeData(_chunk: Uint8Array, end: boolean, slot: FilterSlot): DataStatus {
    if (!this.handling) return DataStatus.CONTINUE
    if (end) this.answer(slot)
    return DataStatus.STOP_NO_BUFFER
  }

  decodeTrailers(_trailers: unknown, slot: FilterSlot): TrailersStatus {
    if (!this.handling) return TrailersStatus.CONTINUE
    this.answer(slot)
    return TrailersStatus.STOP
  }

  encodeHeaders(head: ResponseHead): HeadersStatus {
    const { settings } = this
    if (this.isCheck) {
      settings.cache?.keep(head.status, head.has(DEGRADED))
      head.set(CHECKED_CLUSTER, settings.proxy.node.cluster)
    }
    if (this.failing) head.set(H.immediateHealthCheckFail, 'true')
    return HeadersStatus.CONTINUE
  }

  /** `/healthcheck/fail` was called. */
  private get failing(): boolean {
    return this.settings.proxy.healthCheckFailed?.() === true
  }

  private answer(slot: FilterSlot): void {
    const { stats } = this.settings
    stats.requestTotal.inc()
    const { status, details, degraded } = this.verdict()
    const good = status >= 200 && status < 300
    if (good) stats.ok.inc()
    else stats.failed.inc()
    if (degraded) stats.degraded.inc()
    slot.sendLocalReply({ status, body: '', details, flag: good ? undefined : 'LH' }, (head) => {
      if (degraded) head.set(DEGRADED, '')
    })
  }

  private verdict(): Verdict {
    const { cache, clusters, stats } = this.settings
    if (this.failing) return { status: 503, details: 'health_check_failed', degraded: false }
    if (cache !== undefined) {
      stats.cachedResponse.inc()
      return { status: cache.status, details: 'health_check_cached', degraded: cache.degraded }
    }
    for (const [name, percent] of clusters) {
      const refused = this.refusal(name, percent)
      if (refused !== undefined) return { status: 503, details: refused, degraded: false }
    }
    const details = clusters.length > 0 ? 'health_check_ok_cluster_healthy' : 'health_check_ok'
    return { status: 200, details, degraded: false }
  }

  private refusal(name: string, percent: number): string | undefined {
    const { proxy, stats } = this.settings
    const cluster = proxy.clusters.get(name)
    if (cluster === undefined) {
      stats.clusterNotFound.inc()
      return 'health_check_failed_no_cluster_found'
    }
    const gauge = (what: string) => cluster.stats.gauge(`membership_${what}`).value
    const total = gauge('total')
    if (total === 0) {
      if (percent === 0) return undefined
      stats.clusterEmpty.inc()
      return 'health_check_failed_cluster_empty'
    }
    if (100 * (gauge('healthy') + gauge('degraded')) >= total * percent) return undefined
    stats.clusterUnhealthy.inc()
    return 'health_check_failed_cluster_unhealthy'
  }
}

/** `envoy.filters.http.health_check` (source/extensions/filters/http/health_check). */
export const healthCheckFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.health_check.v3.HealthCheck',
  name: 'envoy.filters.http.health_check',
  build(config, context) {
    const c = config as HealthCheck
    const passThrough = c.passThroughMode
    if (passThrough === undefined) throw new ConfigError(['pass_through_mode: value is required'])
    const cacheTime = durationMs(c.cacheTime) ?? 0
    if (!passThrough && cacheTime > 0)
      throw new ConfigError(['cache_time_ms must not be set when path_through_mode is disabled'])
    const { proxy } = context
    const settings: Settings = {
      proxy,
      passThrough,
      headers: compileHeaderMatchers(c.headers, 'headers'),
      cache: cacheTime > 0 ? new Cache(proxy.runtime, cacheTime) : undefined,
      // In the order of their names: the proto's map has none.
      clusters: passThrough
        ? []
        : Object.entries(c.clusterMinHealthyPercentages)
            .map(([name, percent]) => [name, Math.floor(percent.value)] as const)
            .sort(([a], [b]) => (a < b ? -1 : 1)),
      stats: new HealthCheckStats(proxy, context.statPrefix),
    }
    return { create: () => new HealthCheckFilter(settings) }
  },
}
