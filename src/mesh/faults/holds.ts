import type { Runtime, Timer } from '../../runtime.ts'

/** Requests and connections that a fault keeps waiting: until their time is over, or until the fault is taken back. */
export class Holds {
  readonly #runtime: Runtime
  readonly #waiting = new Map<() => void, Timer | undefined>()

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /** Calls `go` after `ms` (never by itself when undefined), or at `release`; returns the way to give up. */
  hold(ms: number | undefined, go: () => void): () => void {
    const done = () => {
      this.#waiting.delete(done)
      go()
    }
    this.#waiting.set(done, ms === undefined ? undefined : this.#runtime.after(ms, done))
    return () => {
      this.#waiting.get(done)?.cancel()
      this.#waiting.delete(done)
    }
  }

  /** Everything that waits goes on. */
  release(): void {
    for (const [done, timer] of [...this.#waiting]) {
      timer?.cancel()
      done()
    }
  }
}
