import type { Runtime, Timer } from '../../runtime.ts'
import type { EnvoyFilters } from './patches.ts'

/** How long proxies are given to ask for what patches apply to, ms. */
const PATIENCE = 1000

/** Says, once for each set of EnvoyFilters, what of them has no effect: values that cannot be read or merged, and patches that match nothing. */
export class PatchReport {
  readonly #runtime: Runtime
  readonly #log: (line: string) => void
  #filters: EnvoyFilters | undefined
  #timer: Timer | undefined

  constructor(runtime: Runtime, log: (line: string) => void) {
    this.#runtime = runtime
    this.#log = log
  }

  /** Resources were made with these. */
  served(filters: EnvoyFilters): void {
    if (filters === this.#filters) return
    this.#filters = filters
    this.#timer?.cancel()
    for (const problem of filters.problems) this.#log(problem)
    if (filters.patches.length === 0) return
    this.#timer = this.#runtime.after(PATIENCE, () => {
      for (const patch of filters.patches) {
        if (patch.failure !== undefined)
          this.#log(`${patch.place}: ${patch.failure}: it has no effect there, nor have the patches after it`)
        else if (patch.hits === 0) this.#log(`${patch.place}: matches nothing that any connected proxy has`)
      }
    })
  }

  /** Ends what still waits. */
  close(): void {
    this.#timer?.cancel()
  }
}
