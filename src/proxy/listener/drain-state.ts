import type { Runtime } from '../../runtime.ts'

/** Envoy's `--drain-strategy`: who drains sends its clients away little by little, or each with its next reply. */
export type DrainStrategy = 'gradual' | 'immediate'

/** Whether replies should tell their clients to go (source/server/drain_manager_impl.cc). */
export class DrainState {
  private readonly runtime: Runtime
  private readonly drainTime: number
  private readonly strategy: DrainStrategy
  private since: number | undefined
  /** `/healthcheck/fail` was called: every reply closes its connection, and `/ready` says DRAINING. */
  failed = false

  /** `drainTime` in ms. */
  constructor(runtime: Runtime, drainTime: number, strategy: DrainStrategy) {
    this.runtime = runtime
    this.drainTime = drainTime
    this.strategy = strategy
  }

  /** Starts to drain; false when it was draining already. */
  start(): boolean {
    if (this.since !== undefined) return false
    this.since = this.runtime.now()
    return true
  }

  /** Gradually means: yes ever more often while the drain time passes, so that not all clients come back at once. */
  draining(): boolean {
    if (this.failed) return true
    if (this.since === undefined) return false
    if (this.strategy === 'immediate' || this.drainTime === 0) return true
    return this.runtime.random() * this.drainTime < this.runtime.now() - this.since
  }
}
