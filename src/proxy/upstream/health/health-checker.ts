import type { Runtime } from '../../../runtime.ts'
import type { LogFiles } from '../../context.ts'
import type { ClusterStats } from '../cluster-stats.ts'
import { HostHealth } from '../host.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import { HealthEvents } from './event-log.ts'
import { HealthStats } from './health-stats.ts'
import { HealthSession, type SessionOwner, type Transition } from './session.ts'
import type { HealthCheckSettings, Probe, ProbeReport } from './settings.ts'

/** What a checker needs of its cluster. */
export interface HealthCheckerOwner {
  readonly name: string
  readonly runtime: Runtime
  readonly stats: ClusterStats
  /** A check is over; `changed`: the host's health flags are others now. */
  onHealthChecked(host: UpstreamHost, changed: boolean, passed: boolean): void
}

/** Makes the probe of a host. */
export type ProbeFactory = (host: UpstreamHost, stats: HealthStats, report: ProbeReport) => Probe

/** Active health checks of one cluster (source/extensions/health_checkers/common/health_checker_base_impl.cc). */
export class HealthChecker implements SessionOwner {
  readonly runtime: Runtime
  readonly settings: HealthCheckSettings
  readonly stats: HealthStats
  readonly events: HealthEvents
  private readonly owner: HealthCheckerOwner
  private readonly probe: ProbeFactory
  private readonly sessions = new Map<UpstreamHost, HealthSession>()

  constructor(
    settings: HealthCheckSettings,
    owner: HealthCheckerOwner,
    logs: LogFiles | undefined,
    probe: ProbeFactory,
  ) {
    this.settings = settings
    this.owner = owner
    this.runtime = owner.runtime
    this.stats = new HealthStats(owner.stats)
    this.events = new HealthEvents(owner.name, settings.check.type, settings.logPaths, logs, owner.runtime)
    this.probe = probe
  }

  get hasTraffic(): boolean {
    return this.owner.stats.cxTotal.value > 0
  }

  /** Every host has been checked once. */
  get firstRoundDone(): boolean {
    for (const session of this.sessions.values()) if (session.first) return false
    return true
  }

  /** Starts and stops checking hosts. */
  setHosts(hosts: readonly UpstreamHost[]): void {
    const present = new Set(hosts)
    for (const [host, session] of [...this.sessions]) {
      if (present.has(host) && host.check?.disabled !== true) continue
      this.sessions.delete(host)
      session.close()
    }
    for (const host of hosts) {
      if (host.check?.disabled === true || this.sessions.has(host)) continue
      const session = new HealthSession(this, host, (report) => this.probe(host, this.stats, report))
      this.sessions.set(host, session)
      session.start()
    }
  }

  /** The host's answer to a request told to take it out at once (x-envoy-immediate-health-check-fail). */
  failNow(host: UpstreamHost): void {
    const session = this.sessions.get(host)
    if (session === undefined) return
    host.health |= HostHealth.EXCLUDED_VIA_IMMEDIATE_HC_FAIL
    session.setUnhealthy('PASSIVE', false, 0)
  }

  checked(host: UpstreamHost, transition: Transition, passed: boolean): void {
    this.owner.onHealthChecked(host, transition === 'changed', passed)
  }

  close(): void {
    const sessions = [...this.sessions.values()]
    this.sessions.clear()
    for (const session of sessions) session.close()
  }
}
