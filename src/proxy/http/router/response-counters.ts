import type { Counter as StatsCounter } from '../../observe/stats.ts'

type Counter = Pick<StatsCounter, 'inc'>

/** Counters of responses by status, under one prefix: all of them, their class, their code (source/common/http/codes.cc). */
export class ResponseCounters {
  private readonly counter: (name: string) => Counter
  private readonly byStatus = new Map<number, readonly Counter[]>()
  private completed: Counter | undefined

  /** `counter` gives the one of a name such as `completed`, `2xx`, `200`; each is asked for once. */
  constructor(counter: (name: string) => Counter) {
    this.counter = counter
  }

  /** Counts a response, or an answer in its place. */
  charge(status: number): void {
    let counters = this.byStatus.get(status)
    if (counters === undefined) {
      const known = status >= 100 && status < 600 ? [`${Math.floor(status / 100)}xx`, String(status)] : ['unknown']
      counters = ['completed', ...known].map(this.counter)
      this.byStatus.set(status, counters)
    }
    for (let i = 0; i < counters.length; i++) counters[i]!.inc()
  }

  /** Counts one whose status is not told. */
  chargeCompleted(): void {
    this.completed ??= this.counter('completed')
    this.completed.inc()
  }
}
