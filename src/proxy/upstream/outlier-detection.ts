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
  /** How often the host has been ejected, this time included when it is. */
  readonly ejections: number
  /** Whether an ejection is carried out; always false of its end, as Envoy logs it. */
  readonly enforced: boolean
  /** ms since it was let back (of an ejection) or ejected (of its end); undefined when it never was. */
  readonly sinceLast: number | undefined
  /** Success rates in per cent when one of them was the reason. */
  readonly rates: { readonly host: number; readonly average: number; readonly threshold: number } | undefined
}

/**
 * What the router and the TCP proxy report of one attempt: the status, or a word. `alternate-timeout`: the client wanted
 * a timeout told as a 204, and so it counts, unless errors are split.
 */
export type OutlierInput =
  | number
  | 'connect-success'
  | 'connect-failed'
  | 'timeout'
  | 'alternate-timeout'
  | 'local-reset'

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
  private readonly deprecatedSuccessRate: Counter
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
    this.deprecatedSuccessRate = stats.counter('outlier_detection.ejections_success_rate')
    stats.counter('outlier_detection.ejections_detected_degradation')
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
    else if (result === 'alternate-timeout') this.putCode(host, m, 204)
    else if (result !== 'connect-success') this.putCode(host, m, 503)
  }

  /** An active health check of an ejected host passed: it need not wait for the end of its time. */
  passedHealthCheck(host: UpstreamHost): void {
    const m = this.monitors.get(host)
    if (m !== undefined && isEjected(host) && this.settings.unejectOnHealthCheck)
      this.uneject(host, m, this.runtime.now())
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
        this.detectedConsecutive(host, m, 'consecutive_gateway_failure')
        m.consecutiveGateway = 0
      }
    } else m.consecutiveGateway = 0
    if (++m.consecutive5xx === this.settings.consecutive5xx) {
      this.detectedConsecutive(host, m, 'consecutive_5xx')
      m.consecutive5xx = 0
    }
  }

  private putLocal(host: UpstreamHost, m: Monitor, success: boolean): void {
    m.local.total++
    if (success) {
      m.local.success++
      m.consecutiveLocal = 0
    } else if (++m.consecutiveLocal === this.settings.consecutiveLocalOriginFailure) {
      this.detectedConsecutive(host, m, 'consecutive_local_origin_failure')
      m.consecutiveLocal = 0
    }
  }

  private detectedConsecutive(host: UpstreamHost, m: Monitor, type: EjectionType): void {
    if (isEjected(host)) return
    this.detected(host, m, type)
    if (type === 'consecutive_5xx') this.deprecated5xx.inc()
  }

  private detected(host: UpstreamHost, m: Monitor, type: EjectionType): void {
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
    if (type === 'consecutive_5xx' || type === 'success_rate') this.deprecatedTotal.inc()
    const enforced = runtime.randomU32() % 100 < this.enforcing(type)
    if (enforced) {
      this.active.inc()
      this.enforcedTotal.inc()
      this.stats.counter(`outlier_detection.ejections_enforced_${type}`).inc()
      host.health |= HostHealth.FAILED_OUTLIER_CHECK
      m.ejectedAt = runtime.now()
      m.ejections++
      m.jitter = settings.maxEjectionTimeJitter > 0 ? runtime.randomU32() % (settings.maxEjectionTimeJitter + 1) : 0
      if (m.backoff * settings.baseEjectionTime < settings.maxEjectionTime + settings.baseEjectionTime) m.backoff++
      this.changed(host)
    }
    const sinceLast = m.unejectedAt === undefined ? undefined : runtime.now() - m.unejectedAt
    this.log({
      action: 'EJECT',
      type,
      host,
      ejections: m.ejections,
      enforced,
      sinceLast,
      rates: this.rates(host, type),
    })
  }

  private rates(host: UpstreamHost, type: EjectionType): OutlierEvent['rates'] {
    const { external, externalThreshold, local, localThreshold } = this.averages
    switch (type) {
      case 'success_rate':
      case 'failure_percentage':
        return { host: host.successRate, average: external, threshold: externalThreshold }
      case 'local_origin_success_rate':
      case 'local_origin_failure_percentage':
        return { host: host.localOriginSuccessRate, average: local, threshold: localThreshold }
      default:
        return undefined
    }
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
      host.successRate = -1
      host.localOriginSuccessRate = -1
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
    const sinceLast = m.ejectedAt === undefined ? undefined : now - m.ejectedAt
    const { ejections } = m
    this.log({ action: 'UNEJECT', type: undefined, host, ejections, enforced: false, sinceLast, rates: undefined })
  }

  /** Ejects by success rate against the others' mean, then by failure percentage. */
  private checkRates(local: boolean): void {
    const s = this.settings
    const all = this.judge(local)
    const judged = all.filter((h) => h.total >= s.successRateRequestVolume)
    const enough = judged.length > 0 && judged.length >= s.successRateMinimumHosts
    const { mean, threshold } = enough ? expected(judged, s.successRateStdevFactor) : { mean: -1, threshold: -1 }
    // Before anything is ejected: the event log tells them.
    if (local) Object.assign(this.averages, { local: mean, localThreshold: threshold })
    else Object.assign(this.averages, { external: mean, externalThreshold: threshold })
    if (enough) {
      for (const { host, m, rate } of judged) {
        if (rate >= threshold) continue
        this.deprecatedSuccessRate.inc()
        this.detected(host, m, local ? 'local_origin_success_rate' : 'success_rate')
      }
    }
    const counted = all.filter((h) => h.total >= s.failurePercentageRequestVolume)
    if (counted.length === 0 || counted.length < s.failurePercentageMinimumHosts) return
    // As in Envoy, a host that the success rate has just ejected is ejected once more, and counts twice as active.
    for (const { host, m, rate } of counted)
      if (100 - rate >= s.failurePercentageThreshold)
        this.detected(host, m, local ? 'local_origin_failure_percentage' : 'failure_percentage')
  }

  /** The hosts that are not ejected and had traffic in the last interval. None when they are too few for any verdict. */
  private judge(local: boolean): { host: UpstreamHost; m: Monitor; rate: number; total: number }[] {
    const s = this.settings
    const { size } = this.monitors
    const judged: { host: UpstreamHost; m: Monitor; rate: number; total: number }[] = []
    if (size < s.successRateMinimumHosts && size < s.failurePercentageMinimumHosts) return judged
    for (const [host, m] of this.monitors) {
      const { total, success } = local ? m.localBefore : m.externalBefore
      if (total === 0 || isEjected(host)) continue
      const rate = (100 * success) / total
      if (total >= Math.min(s.successRateRequestVolume, s.failurePercentageRequestVolume)) {
        if (local) host.localOriginSuccessRate = rate
        else host.successRate = rate
      }
      judged.push({ host, m, rate, total })
    }
    return judged
  }
}

/** The mean of the success rates, and how low one may be: so many thousandths of a standard deviation below it. */
function expected(judged: readonly { readonly rate: number }[], factor: number): { mean: number; threshold: number } {
  const mean = judged.reduce((n, h) => n + h.rate, 0) / judged.length
  const variance = judged.reduce((n, h) => n + (h.rate - mean) ** 2, 0) / judged.length
  return { mean, threshold: mean - (Math.sqrt(variance) * factor) / 1000 }
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
