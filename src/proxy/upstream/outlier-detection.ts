import type { Runtime, Timer } from '../../runtime.ts'
import type { Counter, Gauge } from '../observe/stats.ts'
import type { ClusterStats } from './cluster-stats.ts'
import { HostHealth } from './host.ts'
import type { OutlierSettings } from './outlier-config.ts'
import type { UpstreamHost } from './upstream-host.ts'

/** Why a host was found to be an outlier; the words of Envoy's statistics. */
export type EjectionType =
  | 'consecutive_5xx'
  | 'consecutive_gateway_failure'
  | 'consecutive_local_origin_failure'
  | 'success_rate'
  | 'local_origin_success_rate'
  | 'failure_percentage'
  | 'local_origin_failure_percentage'

/** One line of the outlier event log (source/common/upstream/outlier_detection_impl.cc EventLoggerImpl). */
export interface OutlierEvent {
  readonly action: 'EJECT' | 'UNEJECT'
  readonly type: EjectionType | undefined
  readonly host: UpstreamHost
  /** How often the host has been ejected, this time included. */
  readonly ejections: number
  readonly enforced: boolean
}

/** What the router and the TCP proxy report of one attempt. */
export type OutlierInput = number | 'connect-success' | 'connect-failed' | 'timeout' | 'local-reset'

class Bucket {
  total = 0
  success = 0
}

/** What is known of one host. */
class Monitor {
  consecutive5xx = 0
  consecutiveGateway = 0
  consecutiveLocal = 0
  /** The bucket that is written, and the full one of the interval before. */
  external = new Bucket()
  externalBefore = new Bucket()
  local = new Bucket()
  localBefore = new Bucket()
  ejections = 0
  backoff = 0
  jitter = 0
  ejectedAt: number | undefined
  unejectedAt: number | undefined
}

/**
 * Passive health checking: ejects hosts by what their traffic shows
 * (source/common/upstream/outlier_detection_impl.cc).
 */
export class OutlierDetector {
  private readonly settings: OutlierSettings
  private readonly runtime: Runtime
  private readonly changed: (host: UpstreamHost) => void
  private readonly log: (event: OutlierEvent) => void
  private readonly monitors = new Map<UpstreamHost, Monitor>()
  private readonly stats: ClusterStats
  private readonly active: Gauge
  private readonly overflow: Counter
  private readonly enforcedTotal: Counter
  private readonly deprecatedTotal: Counter
  private readonly deprecated5xx: Counter
  private timer: Timer | undefined
  /** Averages of the last interval, for `/clusters`; -1 when there were too few hosts. */
  readonly averages = { external: -1, externalThreshold: -1, local: -1, localThreshold: -1 }

  /** `changed`: a host was ejected or let back, and its health bit is set or cleared. */
  constructor(
    settings: OutlierSettings,
    runtime: Runtime,
    stats: ClusterStats,
    changed: (host: UpstreamHost) => void,
    log: (event: OutlierEvent) => void,
  ) {
    this.settings = settings
    this.runtime = runtime
    this.stats = stats
    this.changed = changed
    this.log = log
    this.active = stats.gauge('outlier_detection.ejections_active')
    this.overflow = stats.counter('outlier_detection.ejections_overflow')
    this.enforcedTotal = stats.counter('outlier_detection.ejections_enforced_total')
    this.deprecatedTotal = stats.counter('outlier_detection.ejections_total')
    this.deprecated5xx = stats.counter('outlier_detection.ejections_consecutive_5xx')
    for (const type of TYPES) {
      stats.counter(`outlier_detection.ejections_detected_${type}`)
      stats.counter(`outlier_detection.ejections_enforced_${type}`)
    }
    this.arm()
  }

  /** Starts and stops watching hosts. */
  setHosts(hosts: Iterable<UpstreamHost>): void {
    const present = new Set(hosts)
    for (const host of [...this.monitors.keys()]) {
      if (present.has(host)) continue
      if (isEjected(host)) this.active.dec()
      this.monitors.delete(host)
    }
    for (const host of present) if (!this.monitors.has(host)) this.monitors.set(host, new Monitor())
  }

  close(): void {
    this.timer?.cancel()
    for (const host of this.monitors.keys()) if (isEjected(host)) this.active.dec()
    this.monitors.clear()
  }

  report(host: UpstreamHost, result: OutlierInput): void {
    const m = this.monitors.get(host)
    if (m === undefined) return
    if (typeof result === 'number') {
      // Without split, an answer says nothing new of the connection: only codes count.
      this.putCode(host, m, result)
    } else if (this.settings.split) this.putLocal(host, m, result === 'connect-success')
    else if (result === 'timeout') this.putCode(host, m, 504)
    else if (result !== 'connect-success') this.putCode(host, m, 503)
  }

  private putCode(host: UpstreamHost, m: Monitor, code: number): void {
    m.external.total++
    if (code < 500) {
      m.external.success++
      m.consecutive5xx = 0
      m.consecutiveGateway = 0
      return
    }
    if (code === 502 || code === 503 || code === 504) {
      if (++m.consecutiveGateway === this.settings.consecutiveGatewayFailure) {
        this.detected(host, m, 'consecutive_gateway_failure')
        m.consecutiveGateway = 0
      }
    } else m.consecutiveGateway = 0
    if (++m.consecutive5xx === this.settings.consecutive5xx) {
      this.detected(host, m, 'consecutive_5xx')
      m.consecutive5xx = 0
    }
  }

  private putLocal(host: UpstreamHost, m: Monitor, success: boolean): void {
    m.local.total++
    if (success) {
      m.local.success++
      m.consecutiveLocal = 0
    } else if (++m.consecutiveLocal === this.settings.consecutiveLocalOriginFailure) {
      this.detected(host, m, 'consecutive_local_origin_failure')
      m.consecutiveLocal = 0
    }
  }

  private detected(host: UpstreamHost, m: Monitor, type: EjectionType): void {
    if (isEjected(host)) return
    this.stats.counter(`outlier_detection.ejections_detected_${type}`).inc()
    this.eject(host, m, type)
  }

  private eject(host: UpstreamHost, m: Monitor, type: EjectionType): void {
    const { settings, runtime } = this
    const share = (100 * (this.active.value + 1)) / this.monitors.size
    if (share > settings.maxEjectionPercent && !(settings.alwaysEjectOneHost && this.active.value === 0)) {
      this.overflow.inc()
      return
    }
    if (type === 'consecutive_5xx') this.deprecated5xx.inc()
    const enforced = runtime.randomU32() % 100 < this.enforcing(type)
    if (enforced) {
      this.active.inc()
      this.enforcedTotal.inc()
      this.deprecatedTotal.inc()
      this.stats.counter(`outlier_detection.ejections_enforced_${type}`).inc()
      host.health |= HostHealth.FAILED_OUTLIER_CHECK
      m.ejectedAt = runtime.now()
      m.ejections++
      m.jitter = settings.maxEjectionTimeJitter > 0 ? runtime.randomU32() % (settings.maxEjectionTimeJitter + 1) : 0
      if (m.backoff * settings.baseEjectionTime < settings.maxEjectionTime + settings.baseEjectionTime) m.backoff++
      this.changed(host)
    }
    this.log({ action: 'EJECT', type, host, ejections: m.ejections + (enforced ? 0 : 1), enforced })
  }

  private enforcing(type: EjectionType): number {
    const s = this.settings
    switch (type) {
      case 'consecutive_5xx':
        return s.enforcingConsecutive5xx
      case 'consecutive_gateway_failure':
        return s.enforcingConsecutiveGatewayFailure
      case 'consecutive_local_origin_failure':
        return s.enforcingConsecutiveLocalOriginFailure
      case 'success_rate':
        return s.enforcingSuccessRate
      case 'local_origin_success_rate':
        return s.enforcingLocalOriginSuccessRate
      case 'failure_percentage':
        return s.enforcingFailurePercentage
      case 'local_origin_failure_percentage':
        return s.enforcingFailurePercentageLocalOrigin
    }
  }

  private arm(): void {
    this.timer = this.runtime.after(this.settings.interval, () => {
      this.tick()
      this.arm()
    })
  }

  /** One interval: lets hosts back, looks at the rates of the interval, forgives those that behaved. */
  private tick(): void {
    const now = this.runtime.now()
    for (const [host, m] of this.monitors) {
      this.checkEjected(host, m, now)
      m.externalBefore = m.external
      m.external = new Bucket()
      m.localBefore = m.local
      m.local = new Bucket()
    }
    this.checkRates(false)
    this.checkRates(true)
    for (const [host, m] of this.monitors) {
      const calm = m.unejectedAt === undefined || now - m.unejectedAt >= this.settings.interval
      if (!isEjected(host) && calm && m.backoff > 0) m.backoff--
    }
  }

  private checkEjected(host: UpstreamHost, m: Monitor, now: number): void {
    if (!isEjected(host)) return
    const { baseEjectionTime, maxEjectionTime } = this.settings
    const time = Math.min(baseEjectionTime * m.backoff, maxEjectionTime) + m.jitter
    if (now - m.ejectedAt! >= time) this.uneject(host, m, now)
  }

  private uneject(host: UpstreamHost, m: Monitor, now: number): void {
    this.active.dec()
    host.health &= ~HostHealth.FAILED_OUTLIER_CHECK
    m.consecutive5xx = 0
    m.consecutiveGateway = 0
    m.consecutiveLocal = 0
    m.unejectedAt = now
    this.changed(host)
    this.log({ action: 'UNEJECT', type: undefined, host, ejections: m.ejections, enforced: true })
  }

  /** Ejects by success rate against the others' mean, then by failure percentage. */
  private checkRates(local: boolean): void {
    const s = this.settings
    const all: { host: UpstreamHost; m: Monitor; rate: number; total: number }[] = []
    for (const [host, m] of this.monitors) {
      const bucket = local ? m.localBefore : m.externalBefore
      const rate = bucket.total === 0 ? -1 : (100 * bucket.success) / bucket.total
      const shown = bucket.total >= Math.min(s.successRateRequestVolume, s.failurePercentageRequestVolume) ? rate : -1
      if (local) host.localOriginSuccessRate = shown
      else host.successRate = shown
      if (bucket.total > 0 && !isEjected(host)) all.push({ host, m, rate, total: bucket.total })
    }
    const judged = all.filter((h) => h.total >= s.successRateRequestVolume)
    let mean = -1
    let threshold = -1
    if (judged.length > 0 && judged.length >= s.successRateMinimumHosts) {
      mean = judged.reduce((n, h) => n + h.rate, 0) / judged.length
      const variance = judged.reduce((n, h) => n + (h.rate - mean) ** 2, 0) / judged.length
      threshold = mean - (Math.sqrt(variance) * s.successRateStdevFactor) / 1000
      for (const { host, m, rate } of judged)
        if (rate < threshold) this.detected(host, m, local ? 'local_origin_success_rate' : 'success_rate')
    }
    if (local) Object.assign(this.averages, { local: mean, localThreshold: threshold })
    else Object.assign(this.averages, { external: mean, externalThreshold: threshold })
    const counted = all.filter((h) => h.total >= s.failurePercentageRequestVolume)
    if (counted.length === 0 || counted.length < s.failurePercentageMinimumHosts) return
    for (const { host, m, rate } of counted)
      if (100 - rate >= s.failurePercentageThreshold)
        this.detected(host, m, local ? 'local_origin_failure_percentage' : 'failure_percentage')
  }
}

const TYPES: readonly EjectionType[] = [
  'consecutive_5xx',
  'consecutive_gateway_failure',
  'consecutive_local_origin_failure',
  'success_rate',
  'local_origin_success_rate',
  'failure_percentage',
  'local_origin_failure_percentage',
]

function isEjected(host: UpstreamHost): boolean {
  return (host.health & HostHealth.FAILED_OUTLIER_CHECK) !== 0
}
