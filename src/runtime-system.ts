import { randomBytes } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import type { Runtime, Timer } from './runtime.ts'
import { forkSeed, SeededRandom } from './seeded-random.ts'

/** How many random words are drawn from the kernel at once: a call per request, or per hundred, shows in profiles. */
const POOL_WORDS = 16 * 1024

/** Two hex digits of each byte. */
const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

let held = false
let heldNow = -1
let heldWall = -1

/**
 * Until `releaseClock`, the system's clock stands still from the moment it is next read. For one turn of the event loop:
 * a request reads the clock a dozen times, and what happens within a turn happens at one time (as with Envoy's
 * approximateMonotonicTime).
 */
export function holdClock(): void {
  held = true
  heldNow = -1
  heldWall = -1
}

/** The clock runs again. */
export function releaseClock(): void {
  held = false
}

/** The machine's own clock and random source. */
export class SystemRuntime implements Runtime {
  private pool = new Uint32Array(0)
  private next = 0

  now(): number {
    if (!held) return performance.now()
    if (heldNow < 0) heldNow = performance.now()
    return heldNow
  }

  wallNow(): number {
    if (!held) return Date.now()
    if (heldWall < 0) heldWall = Date.now()
    return heldWall
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
    const a = this.randomU32()
    const b = this.randomU32()
    const c = this.randomU32()
    const d = this.randomU32()
    return `${hex(a)}-${HEX[b >>> 24]}${HEX[(b >>> 16) & 255]}-${HEX[0x40 | ((b >>> 8) & 15)]}${HEX[b & 255]}-${
      HEX[0x80 | ((c >>> 24) & 63)]
    }${HEX[(c >>> 16) & 255]}-${HEX[(c >>> 8) & 255]}${HEX[c & 255]}${hex(d)}`
  }

  fork(_name: string): Runtime {
    return this
  }
}

function hex(word: number): string {
  return `${HEX[word >>> 24]}${HEX[(word >>> 16) & 255]}${HEX[(word >>> 8) & 255]}${HEX[word & 255]}`
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

/**
 * The machine's clock with chance that follows a seed, so that splits and faults come out the same in each run. Ids
 * have a stream of their own: how many are made depends on more than the requests.
 */
export class SeededRuntime extends SystemRuntime {
  readonly seed: number
  private readonly chance: SeededRandom
  private readonly ids: SeededRandom
  private makingId = false

  /** `seed`: a whole number; its lower 32 bits count. */
  constructor(seed: number) {
    super()
    this.seed = seed
    this.chance = new SeededRandom(seed)
    this.ids = new SeededRandom(forkSeed(seed, 'ids'))
  }

  override random(): number {
    return this.randomU32() / 0x1_0000_0000
  }

  override randomU32(): number {
    return this.makingId ? this.ids.next() : this.chance.next()
  }

  override uuid(): string {
    this.makingId = true
    const id = super.uuid()
    this.makingId = false
    return id
  }

  override fork(name: string): Runtime {
    return new SeededRuntime(forkSeed(this.seed, name))
  }
}
