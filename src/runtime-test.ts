import type { Runtime, Timer } from './runtime.ts'
import { forkSeed, SeededRandom, uuidOf } from './seeded-random.ts'

interface Waiting extends Timer {
  readonly at: number
  readonly order: number
  readonly fn: () => void
  cancelled: boolean
}

/**
 * A runtime whose clock stands still until it is moved, and whose chance follows a seed: the same seed
 * gives the same numbers. Timers run inside `advance`, in the order of their times.
 */
export class TestRuntime implements Runtime {
  private time = 0
  private wall: number
  private readonly seed: number
  private readonly chance: SeededRandom
  private order = 0
  private timers: Waiting[] = []

  /** `seed`: 32 bits; `wallStart`: ms since the epoch at which the wall clock starts. */
  constructor(seed = 1, wallStart = Date.UTC(2024, 0, 1)) {
    this.seed = seed
    this.chance = new SeededRandom(seed)
    this.wall = wallStart
  }

  now(): number {
    return this.time
  }

  wallNow(): number {
    return this.wall + this.time
  }

  after(ms: number, fn: () => void): Timer {
    const timer: Waiting = {
      at: this.time + Math.max(0, ms),
      order: this.order++,
      fn,
      cancelled: false,
      cancel() {
        this.cancelled = true
      },
    }
    this.timers.push(timer)
    return timer
  }

  random(): number {
    return this.randomU32() / 0x1_0000_0000
  }

  randomU32(): number {
    return this.chance.next()
  }

  uuid(): string {
    return uuidOf(() => this.randomU32())
  }

  fork(name: string): Runtime {
    const chance = new TestRuntime(forkSeed(this.seed, name))
    return {
      now: () => this.now(),
      wallNow: () => this.wallNow(),
      after: (ms, fn) => this.after(ms, fn),
      random: () => chance.random(),
      randomU32: () => chance.randomU32(),
      uuid: () => chance.uuid(),
      fork: (further) => this.fork(`${name}/${further}`),
    }
  }

  /** Moves both clocks by `ms`, running every timer that falls due on the way at its own time. */
  advance(ms: number): void {
    const end = this.time + ms
    for (;;) {
      const due = this.nextDue(end)
      if (!due) break
      this.time = Math.max(this.time, due.at)
      due.fn()
    }
    this.time = end
  }

  private nextDue(end: number): Waiting | undefined {
    this.timers = this.timers.filter((t) => !t.cancelled)
    let first: Waiting | undefined
    for (const t of this.timers) {
      if (t.at <= end && (!first || t.at < first.at || (t.at === first.at && t.order < first.order))) first = t
    }
    if (first) first.cancelled = true
    return first
  }
}
