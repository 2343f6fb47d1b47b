import type { Runtime, Timer } from '../../../runtime.ts'
import { HostHealth } from '../host.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import type { HealthEvents } from './event-log.ts'
import type { HealthStats } from './health-stats.ts'
import type { FailureType, HealthCheckSettings, Probe, ProbeReport } from './settings.ts'

/** What a check did to a host: nothing yet, because a threshold is not reached; or a change. */
export type Transition = 'unchanged' | 'changed' | 'pending'

/** What sessions need of their checker. */
export interface SessionOwner {
  readonly runtime: Runtime
  readonly settings: HealthCheckSettings
  readonly stats: HealthStats
  readonly events: HealthEvents
  /** The cluster has ever had a connection: hosts are then asked at the usual pace. */
  readonly hasTraffic: boolean
  /** A check of a host is over. */
  checked(host: UpstreamHost, transition: Transition, passed: boolean): void
}

/**
 * The checks of one host: when to ask, and what answers mean
 * (source/extensions/health_checkers/common/health_checker_base_impl.cc ActiveHealthCheckSession).
 */
export class HealthSession implements ProbeReport {
  readonly host: UpstreamHost
  /** Not checked yet. */
  first = true
  private readonly owner: SessionOwner
  private readonly probe: Probe
  private passes = 0
  private failures = 0
  private intervalTimer: Timer | undefined
  private timeoutTimer: Timer | undefined
  private closed = false

  constructor(owner: SessionOwner, host: UpstreamHost, probe: (report: ProbeReport) => Probe) {
    this.owner = owner
    this.host = host
    this.probe = probe(this)
    if (!this.has(HostHealth.FAILED_ACTIVE_HC)) owner.stats.healthy.inc()
    if (this.has(HostHealth.DEGRADED_ACTIVE_HC)) owner.stats.degraded.inc()
  }

  /** Asks for the first time, now or within the initial jitter. */
  start(): void {
    const { initialJitter } = this.owner.settings
    if (initialJitter === 0) this.ask()
    else this.arm(jittered(0, initialJitter, this.owner))
  }

  /** The host is gone, or its cluster. */
  close(): void {
    this.closed = true
    this.intervalTimer?.cancel()
    this.timeoutTimer?.cancel()
    const healthy = !this.has(HostHealth.FAILED_ACTIVE_HC)
    if (healthy) this.owner.stats.healthy.dec()
    if (this.has(HostHealth.DEGRADED_ACTIVE_HC)) this.owner.stats.degraded.dec()
    this.probe.close()
    // Whoever waits for this host's first check waits in vain.
    if (this.first) {
      this.first = false
      this.owner.checked(this.host, 'unchanged', healthy)
    }
  }

  passed(degraded: boolean): void {
    if (this.closed) return
    const { host, owner } = this
    const { events, stats, settings } = owner
    this.failures = 0
    let transition: Transition = 'unchanged'
    if (this.has(HostHealth.FAILED_ACTIVE_HC)) {
      // The very first answer is believed at once.
      if (this.first || ++this.passes === settings.healthyThreshold) {
        host.health &= ~(
          HostHealth.ACTIVE_HC_TIMEOUT |
          HostHealth.EXCLUDED_VIA_IMMEDIATE_HC_FAIL |
          HostHealth.FAILED_ACTIVE_HC
        )
        stats.healthy.inc()
        transition = 'changed'
        events.addHealthy(host, this.first)
      } else transition = 'pending'
    }
    if (transition !== 'changed' && settings.alwaysLogSuccess) events.success(host)
    transition = this.clearPending(transition)
    if (degraded !== this.has(HostHealth.DEGRADED_ACTIVE_HC)) {
      if (degraded) {
        host.health |= HostHealth.DEGRADED_ACTIVE_HC
        stats.degraded.inc()
        events.degraded(host)
      } else {
        events.noLongerDegraded(host)
        host.health &= ~HostHealth.DEGRADED_ACTIVE_HC
      }
      if (transition === 'unchanged') transition = 'changed'
    }
    stats.success.inc()
    this.first = false
    owner.checked(host, transition, true)
    this.next(true, transition)
  }

  failed(type: FailureType, retriable: boolean, status: number): void {
    if (this.closed) return
    const transition = this.setUnhealthy(type, retriable, status)
    this.next(false, transition)
  }

  /** The host is unhealthy for another reason than a check of ours (`PASSIVE`): its answer to a request said so. */
  setUnhealthy(type: FailureType, retriable: boolean, status: number): Transition {
    const { host, owner } = this
    const { events, stats, settings } = owner
    const network = type === 'NETWORK' || type === 'NETWORK_TIMEOUT'
    this.passes = 0
    let transition: Transition = 'unchanged'
    if (!this.has(HostHealth.FAILED_ACTIVE_HC)) {
      if ((!network && !retriable) || ++this.failures === settings.unhealthyThreshold) {
        host.health |= HostHealth.FAILED_ACTIVE_HC
        stats.healthy.dec()
        transition = 'changed'
        events.ejectUnhealthy(host, type, status)
      } else transition = 'pending'
    }
    if (type === 'NETWORK_TIMEOUT' && this.has(HostHealth.FAILED_ACTIVE_HC)) host.health |= HostHealth.ACTIVE_HC_TIMEOUT
    else host.health &= ~HostHealth.ACTIVE_HC_TIMEOUT
    transition = this.clearPending(transition)
    if (this.first || settings.alwaysLogFailures) events.failure(host, type, this.first, status)
    stats.failure.inc()
    if (network) stats.networkFailure.inc()
    else if (type === 'PASSIVE') stats.passiveFailure.inc()
    this.first = false
    owner.checked(host, transition, false)
    return transition
  }

  /** A host that waited for its first check changes by having had it. */
  private clearPending(transition: Transition): Transition {
    if (!this.has(HostHealth.PENDING_ACTIVE_HC)) return transition
    this.host.health &= ~HostHealth.PENDING_ACTIVE_HC
    return 'changed'
  }

  private has(bit: number): boolean {
    return (this.host.health & bit) !== 0
  }

  private ask(): void {
    this.timeoutTimer = this.owner.runtime.after(this.owner.settings.timeout, () => {
      this.probe.timedOut()
      this.failed('NETWORK_TIMEOUT', false, 0)
    })
    this.owner.stats.attempt.inc()
    this.probe.start()
  }

  private next(passed: boolean, transition: Transition): void {
    if (this.closed) return
    this.timeoutTimer?.cancel()
    this.arm(intervalAfter(passed, transition, this.owner))
  }

  private arm(ms: number): void {
    this.intervalTimer?.cancel()
    this.intervalTimer = this.owner.runtime.after(ms, () => this.ask())
  }
}

function intervalAfter(passed: boolean, transition: Transition, owner: SessionOwner): number {
  const { settings } = owner
  const pending = transition === 'pending'
  let base: number
  if (!owner.hasTraffic) base = passed && !pending ? settings.noTrafficHealthyInterval : settings.noTrafficInterval
  else if (passed) base = pending ? settings.healthyEdgeInterval : settings.interval
  else base = pending ? settings.unhealthyEdgeInterval : settings.unhealthyInterval
  return jittered(base, settings.intervalJitter, owner)
}

function jittered(base: number, jitter: number, { runtime, settings }: SessionOwner): number {
  const share = Math.floor((settings.intervalJitterPercent * base) / 100)
  let ms = base
  if (share > 0) ms += runtime.randomU32() % share
  if (jitter > 0) ms += runtime.randomU32() % jitter
  return Math.max(1, ms)
}
