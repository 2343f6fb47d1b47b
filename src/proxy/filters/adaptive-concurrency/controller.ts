import type { Runtime, Timer } from '../../../runtime.ts'
import type { Counter, Gauge, StatsStore } from '../../observe/stats.ts'
import type { GradientSettings } from './config.ts'
import { LatencySamples } from './samples.ts'

/** After so many intervals at the least limit the least latency is measured again. */
const STUCK = 5

/**
 * Finds out how many requests may be under way at once, from how long they take
 * (source/extensions/filters/http/adaptive_concurrency/controller/gradient_controller.cc): at intervals few are let
 * through, to learn the least latency; in between the limit follows the ratio of that to the latency of now.
 */
export class GradientController {
  private readonly settings: GradientSettings
  private readonly runtime: Runtime
  private readonly blocked: Counter
  private readonly burst: Gauge
  private readonly limitShown: Gauge
  private readonly gradient: Gauge
  private readonly measuring: Gauge
  private readonly minRttShown: Gauge
  private readonly sampleRttShown: Gauge
  private readonly samples = new LatencySamples()
  private outstanding = 0
  private limit: number
  /** The limit to return to; 0: the least latency is not being measured. */
  private deferred = 0
  /** Microseconds. */
  private minRtt = 0
  /** Requests from before then do not count. */
  private epoch = Number.NEGATIVE_INFINITY
  private timesAtLeast = 0
  private minRttTimer: Timer | undefined
  private sampleTimer: Timer | undefined
  private closed = false

  /** `prefix`: before the names of the metrics. */
  constructor(settings: GradientSettings, runtime: Runtime, stats: StatsStore, prefix: string) {
    this.settings = settings
    this.runtime = runtime
    this.limit = settings.minConcurrency
    this.blocked = stats.counter(`${prefix}rq_blocked`)
    this.burst = stats.gauge(`${prefix}burst_queue_size`)
    this.limitShown = stats.gauge(`${prefix}concurrency_limit`)
    this.gradient = stats.gauge(`${prefix}gradient`)
    this.measuring = stats.gauge(`${prefix}min_rtt_calculation_active`)
    this.minRttShown = stats.gauge(`${prefix}min_rtt_msecs`)
    this.sampleRttShown = stats.gauge(`${prefix}sample_rtt_msecs`)
    if (settings.fixedMinRtt > 0) {
      this.minRtt = settings.fixedMinRtt * 1000
      this.minRttShown.set(settings.fixedMinRtt)
      this.setLimit(settings.minLimit)
    } else this.measureMinRtt()
    this.awaitSamples()
  }

  /** Whether one more request may go; if so, its end has to be told. */
  admit(): boolean {
    if (this.outstanding < this.limit) {
      this.outstanding++
      return true
    }
    this.blocked.inc()
    return false
  }

  /** A request that began then has been answered. */
  answered(started: number): void {
    this.outstanding--
    if (started < this.epoch) return
    this.samples.add(Math.floor((this.runtime.now() - started) * 1000))
    if (this.deferred > 0 && this.samples.count >= this.settings.requestCount) this.minRttMeasured()
  }

  /** A request ended without an answer. */
  cancelled(): void {
    this.outstanding--
  }

  close(): void {
    this.closed = true
    this.minRttTimer?.cancel()
    this.sampleTimer?.cancel()
  }

  private measureMinRtt(): void {
    if (this.deferred > 0) return
    this.measuring.set(1)
    this.deferred = this.limit
    this.setLimit(this.settings.minConcurrency)
    this.samples.clear()
    this.epoch = this.runtime.now()
  }

  private minRttMeasured(): void {
    const { settings } = this
    this.minRtt = this.summarize()
    this.minRttShown.set(Math.floor(this.minRtt / 1000))
    this.setLimit(this.deferred)
    this.deferred = 0
    this.measuring.set(0)
    const jitter = Math.ceil(settings.minRttInterval * settings.jitter)
    this.awaitMinRtt(settings.minRttInterval + (jitter > 0 ? this.runtime.randomU32() % jitter : 0))
    this.awaitSamples()
  }

  private awaitMinRtt(ms: number): void {
    this.minRttTimer?.cancel()
    if (!this.closed) this.minRttTimer = this.runtime.after(ms, () => this.measureMinRtt())
  }

  private awaitSamples(): void {
    this.sampleTimer?.cancel()
    if (!this.closed) this.sampleTimer = this.runtime.after(this.settings.sampleInterval, () => this.takeSamples())
  }

  private takeSamples(): void {
    if (this.deferred > 0) return // begins again once the least latency is known
    if (this.samples.count > 0) {
      const rtt = this.summarize()
      this.sampleRttShown.set(Math.floor(rtt / 1000))
      this.setLimit(this.newLimit(rtt))
    }
    this.awaitSamples()
  }

  private summarize(): number {
    const micros = Math.floor(this.samples.quantile(this.settings.percentile))
    this.samples.clear()
    return micros
  }

  private newLimit(rtt: number): number {
    const { settings, minRtt } = this
    // Two latencies of less than a microsecond have no ratio, which std::min takes for its upper bound.
    const gradient = rtt === 0 ? 2 : Math.max(0.5, Math.min(2, (minRtt * (1 + settings.buffer)) / rtt))
    this.gradient.set(Math.floor(gradient * 1000))
    const limit = this.limit * gradient
    const headroom = Math.sqrt(limit)
    this.burst.set(Math.floor(headroom))
    return Math.max(settings.minLimit, Math.min(settings.maxLimit, Math.floor(limit + headroom)))
  }

  private setLimit(limit: number): void {
    const { minLimit, fixedMinRtt } = this.settings
    const stays = this.deferred === 0 && this.limit === minLimit && limit === minLimit
    this.limit = limit
    this.limitShown.set(limit)
    this.timesAtLeast = stays ? this.timesAtLeast + 1 : 0
    // The least latency was perhaps measured badly. The limit is low enough to measure it again.
    if (this.timesAtLeast >= STUCK && fixedMinRtt <= 0) this.awaitMinRtt(0)
  }
}
