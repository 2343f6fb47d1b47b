import { performance } from 'node:perf_hooks'
import type { Runtime, Timer } from './runtime.ts'
import { forkSeed, SeededRandom, uuidOf } from './seeded-random.ts'

/** Turns of the event loop without any event after which everything in this process counts as done. */
const QUIET_TURNS = 3
/** The most turns that are waited for it, for servers of other processes may always have something to say. */
const MAX_TURNS = 2000
/** Longest delay that `setTimeout` keeps. */
const MAX_DELAY_MS = 0x7fff_ffff

class Waiting implements Timer {
  readonly at: number
  readonly order: number
  fn: (() => void) | undefined

  constructor(at: number, order: number, fn: () => void) {
    this.at = at
    this.order = order
    this.fn = fn
  }

  /** It stays in the heap, and is passed over when its turn comes. */
  cancel(): void {
    this.fn = undefined
  }
}

/** Timers with the earliest first; of several at one time the one that was set first. */
class TimerHeap {
  private readonly heap: Waiting[] = []

  push(timer: Waiting): void {
    const { heap } = this
    let i = heap.push(timer) - 1
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!before(timer, heap[parent]!)) break
      heap[i] = heap[parent]!
      i = parent
    }
    heap[i] = timer
  }

  /** The first that is not cancelled. */
  first(): Waiting | undefined {
    while (this.heap.length > 0 && this.heap[0]!.fn === undefined) this.pop()
    return this.heap[0]
  }

  pop(): void {
    const { heap } = this
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
      if (!before(heap[child]!, last)) break
      heap[i] = heap[child]!
      i = child
    }
    heap[i] = last
  }
}

function before(a: Waiting, b: Waiting): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

/**
 * A clock that runs as the machine's does, and can be moved forward besides: timers that fall due on the way run in
 * the order of their times, each at its own time, with the input and output that they cause between them.
 */
class MovableClock {
  private offset = 0
  private order = 0
  /** Set while the clock is being moved: it stands between the steps. */
  private standing: number | undefined
  private readonly timers = new TimerHeap()
  private handle: NodeJS.Timeout | undefined
  private handleAt = Number.POSITIVE_INFINITY
  private moving: Promise<void> = Promise.resolve()

  now(): number {
    return this.standing ?? performance.now() + this.offset
  }

  wallNow(): number {
    return performance.timeOrigin + this.now()
  }

  after(ms: number, fn: () => void): Timer {
    const timer = new Waiting(this.now() + Math.max(0, ms), this.order++, fn)
    this.timers.push(timer)
    if (timer.at < this.handleAt) this.arm(timer.at)
    return timer
  }

  /** Moves the clock; one move begins when the one before is over. */
  advance(ms: number): Promise<void> {
    this.moving = this.moving.then(() => this.move(ms))
    return this.moving
  }

  private async move(ms: number): Promise<void> {
    const end = this.now() + ms
    // What was begun before the move belongs before it.
    await quiet()
    try {
      for (;;) {
        const due = this.timers.first()
        if (due === undefined || due.at > end) break
        this.standing = Math.max(this.now(), Math.min(due.at, end))
        this.run(this.standing)
        await quiet()
      }
      this.standing = end
    } finally {
      const now = this.now()
      this.offset = now - performance.now()
      this.standing = undefined
      this.arm(this.timers.first()?.at)
    }
  }

  /** Runs what is due, one after the other. */
  private run(now: number): void {
    for (;;) {
      const due = this.timers.first()
      if (due === undefined || due.at > now) return
      this.timers.pop()
      due.fn?.()
    }
  }

  private arm(at: number | undefined): void {
    clearTimeout(this.handle)
    this.handleAt = at ?? Number.POSITIVE_INFINITY
    // While the clock is being moved, `move` is what runs timers.
    if (at === undefined || this.standing !== undefined) return
    const ms = Math.min(MAX_DELAY_MS, Math.max(0, Math.ceil(at - this.now())))
    this.handle = setTimeout(() => {
      this.handleAt = Number.POSITIVE_INFINITY
      if (this.standing !== undefined) return
      try {
        this.run(this.now())
      } finally {
        this.arm(this.timers.first()?.at)
      }
    }, ms).unref()
  }
}

/**
 * Resolves once the event loop of this process has had nothing to do for a few turns: what was sent on loopback
 * sockets has arrived, was answered, and so on.
 */
async function quiet(): Promise<void> {
  let still = 0
  for (let turn = 0; turn < MAX_TURNS && still < QUIET_TURNS; turn++) {
    const { events, eventsWaiting } = performance.nodeTiming.uvMetricsInfo
    await new Promise((resolve) => setImmediate(resolve))
    const after = performance.nodeTiming.uvMetricsInfo
    still = after.events === events && eventsWaiting === after.eventsWaiting ? still + 1 : 0
  }
}

/**
 * A runtime for a whole mesh in a test: time flows as it does, and jumps when told to; chance follows a seed. Sockets
 * stay real, so a jump waits for what each timer sets off before the next one runs.
 */
export class MovableRuntime implements Runtime {
  private readonly clock: MovableClock
  private readonly seed: number
  private readonly chance: SeededRandom
  private readonly ids: SeededRandom

  /** `seed`: a whole number; its lower 32 bits count. */
  constructor(seed = 1, clock?: MovableRuntime) {
    this.clock = clock?.clock ?? new MovableClock()
    this.seed = seed
    this.chance = new SeededRandom(seed)
    this.ids = new SeededRandom(forkSeed(seed, 'ids'))
  }

  now(): number {
    return this.clock.now()
  }

  wallNow(): number {
    return this.clock.wallNow()
  }

  after(ms: number, fn: () => void): Timer {
    return this.clock.after(ms, fn)
  }

  random(): number {
    return this.randomU32() / 0x1_0000_0000
  }

  randomU32(): number {
    return this.chance.next()
  }

  uuid(): string {
    return uuidOf(() => this.ids.next())
  }

  fork(name: string): Runtime {
    return new MovableRuntime(forkSeed(this.seed, name), this)
  }

  /** Moves the clock of this runtime and its forks by `ms`; resolves when all that was due has happened. */
  advance(ms: number): Promise<void> {
    return this.clock.advance(ms)
  }
}
