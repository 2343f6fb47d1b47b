import type { Runtime } from '../../runtime.ts'

/** Whether replies should tell their clients to go (source/server/drain_manager_impl.cc). */
export class DrainState {
  private readonly runtime: Runtime
  private readonly drainTime: number
  private since: number | undefined
  /** `/healthcheck/fail` was called: every reply closes its connection, and `/ready` says DRAINING. */
  failed = false

  /** `drainTime` in ms. */
  constructor(runtime: Runtime, drainTime: number) {
    this.runtime = runtime
    this.drainTime = drainTime
  }

  /** Starts to drain; false when it was draining already. */
  start(): boolean {
    if (this.since !== undefined) return false
    this.since = this.runtime.now()
    return true
  }

  /** Answers yes ever more often while the drain time passes, so that not all clients come back at once. */
  draining(): boolean {
    if (this.failed) return true
    if (this.since === undefined) return false
    const elapsed = this.runtime.now() - this.since
    return this.drainTime === 0 || this.runtime.random() * this.drainTime < elapsed
  }
}
