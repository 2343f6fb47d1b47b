import { randomBytes, randomUUID } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import type { Runtime, Timer } from './runtime.ts'
import { SeededRandom } from './seeded-random.ts'

/** How many random words are drawn from the kernel at once: one call per request would show in profiles. */
const POOL_WORDS = 1024

/** The machine's own clock and random source. */
export class SystemRuntime implements Runtime {
  private pool = new Uint32Array(0)
  private next = 0

  now(): number {
    return performance.now()
  }

  wallNow(): number {
    return Date.now()
  }

  after(ms: number, fn: () => void): Timer {
    return new SystemTimer(ms, fn)
  }

  random(): number {
    return this.randomU32() / 0x1_0000_0000
  }

  randomU32(): number {
    if (this.next >= this.pool.length) {
      const bytes = randomBytes(POOL_WORDS * 4)
      this.pool = new Uint32Array(bytes.buffer, bytes.byteOffset, POOL_WORDS)
      this.next = 0
    }
    return this.pool[this.next++]!
  }

  uuid(): string {
    return randomUUID()
  }
}

/** Longest delay that `setTimeout` keeps; a longer one would fire at once. */
const MAX_DELAY_MS = 0x7fff_ffff

class SystemTimer implements Timer {
  private handle: NodeJS.Timeout

  constructor(ms: number, fn: () => void) {
    this.handle = this.arm(ms, fn)
  }

  cancel(): void {
    clearTimeout(this.handle)
  }

  private arm(ms: number, fn: () => void): NodeJS.Timeout {
    if (ms <= MAX_DELAY_MS) return setTimeout(fn, ms).unref()
    return setTimeout(() => {
      this.handle = this.arm(ms - MAX_DELAY_MS, fn)
    }, MAX_DELAY_MS).unref()
  }
}

/** The machine's clock with chance that follows a seed, so that splits and faults come out the same in each run. */
export class SeededRuntime extends SystemRuntime {
  private readonly chance: SeededRandom

  constructor(seed: number) {
    super()
    this.chance = new SeededRandom(seed)
  }

  override random(): number {
    return this.randomU32() / 0x1_0000_0000
  }

  override randomU32(): number {
    return this.chance.next()
  }
}
