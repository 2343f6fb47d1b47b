import type { Runtime } from '../../../runtime.ts'

/** ms of history that one sample covers. */
const GRANULARITY = 1000

interface Sample {
  readonly at: number
  requests: number
  successes: number
}

/** What became of requests within a sliding window (source/extensions/filters/http/admission_control/thread_local_controller.cc). */
export class SuccessWindow {
  /** Whole seconds. */
  private readonly window: number
  private readonly runtime: Runtime
  private readonly samples: Sample[] = []
  private totalRequests = 0
  private totalSuccesses = 0

  constructor(runtime: Runtime, seconds: number) {
    this.runtime = runtime
    this.window = seconds
  }

  record(success: boolean): void {
    const sample = this.current()
    sample.requests++
    this.totalRequests++
    if (!success) return
    sample.successes++
    this.totalSuccesses++
  }

  /** Requests and successes within the window. */
  counts(): { readonly requests: number; readonly successes: number } {
    this.current()
    return { requests: this.totalRequests, successes: this.totalSuccesses }
  }

  /** Whole requests a second, over the window at least. */
  averageRps(): number {
    const oldest = this.samples[0]
    if (oldest === undefined || this.totalRequests === 0) return 0
    const age = Math.floor((this.runtime.now() - oldest.at) / 1000)
    return Math.floor(this.totalRequests / Math.max(this.window, age))
  }

  /** The sample of now; what is older than the window is forgotten. */
  private current(): Sample {
    const now = this.runtime.now()
    const { samples } = this
    while (samples.length > 0 && now - samples[0]!.at >= this.window * 1000) {
      const gone = samples.shift()!
      this.totalRequests -= gone.requests
      this.totalSuccesses -= gone.successes
    }
    const newest = samples.at(-1)
    if (newest !== undefined && now - newest.at < GRANULARITY) return newest
    const sample: Sample = { at: now, requests: 0, successes: 0 }
    samples.push(sample)
    return sample
  }
}
