import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { productAtLeast } from '../src/proxy/filters/local-rate-limit/exact.ts'
import { type BucketConfig, bucketConfig, TokenBucket } from '../src/proxy/filters/local-rate-limit/token-bucket.ts'
import type { Runtime } from '../src/runtime.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { make } from '../src/xds/messages.ts'

/** A clock that is set, to any double. */
function clock(start: number) {
  const state = { time: start }
  const runtime = { now: () => state.time } as unknown as Runtime
  return { state, runtime }
}

/** A finite double as a fraction, exactly. */
function rational(value: number): { top: bigint; bottom: bigint } {
  let bottom = 1n
  let rest = value
  while (!Number.isInteger(rest)) {
    rest *= 2
    bottom *= 2n
  }
  return { top: BigInt(rest), bottom }
}

/** `floor(max + tokens × (now − start) / interval)` without rounding, in whole numbers. */
function flowed(max: number, tokens: number, interval: number, start: number, now: number): bigint {
  const a = rational(now)
  const b = rational(start)
  const top = BigInt(tokens) * (a.top * b.bottom - b.top * a.bottom)
  return BigInt(max) + top / (a.bottom * b.bottom * BigInt(interval))
}

/** Units of time in a ms: what is random falls on this grid, which doubles hold exactly. */
const GRID = 1 << 20

/** A bucket as it is written in books, in whole numbers without rounding; its time is in units of the grid. */
class BookBucket {
  private readonly config: BucketConfig
  private readonly token: bigint
  private level: bigint

  constructor(config: BucketConfig) {
    this.config = config
    this.token = BigInt(config.interval) * BigInt(GRID)
    this.level = BigInt(config.max) * this.token
  }

  pass(units: number): void {
    const level = this.level + BigInt(this.config.tokens) * BigInt(units)
    const full = BigInt(this.config.max) * this.token
    this.level = level < full ? level : full
  }

  take(count: number): boolean {
    const cost = BigInt(count) * this.token
    if (this.level < cost) return false
    this.level -= cost
    return true
  }

  get remaining(): number {
    return Number(this.level / this.token)
  }
}

/** Units of time between two arrivals: none, a fraction of a ms, a few ms, a few seconds. */
const step = fc.oneof(
  fc.constant(0),
  fc.integer({ min: 1, max: GRID }),
  fc.integer({ min: 1, max: 50 }).map((ms) => ms * GRID),
  fc.integer({ min: 0, max: 5000 * 1024 }).map((part) => part * (GRID / 1024)),
)
const shape = fc.record({
  max: fc.integer({ min: 1, max: 200 }),
  tokens: fc.integer({ min: 1, max: 300 }),
  interval: fc.oneof(fc.integer({ min: 50, max: 1000 }), fc.integer({ min: 50, max: 90_000 })),
})

describe('the token bucket is exact', () => {
  test('products are compared as they are, not as doubles round them', () => {
    // 2⁵³ + 1 is no double: rounded, both of these are 2⁵³.
    expect([productAtLeast(94_906_267, 94_906_265, 94_906_266, 94_906_266), 94_906_267 * 94_906_265]).toEqual([
      false,
      94_906_266 * 94_906_266,
    ])
    const whole = fc.integer({ min: 0, max: 2 ** 40 })
    // Close to one another, as a bucket's are at the moment that a token is due.
    const near = fc.tuple(whole, whole, fc.integer({ min: -3, max: 3 }), fc.integer({ min: -3, max: 3 }))
    fc.assert(
      fc.property(near, ([a, b, da, db]) => {
        const [c, d] = [Math.max(0, a + da), Math.max(0, b + db)]
        return productAtLeast(a, b, c, d) === BigInt(a) * BigInt(b) >= BigInt(c) * BigInt(d)
      }),
      { numRuns: 2000 },
    )
  })

  test('whatever comes when, each answer is that of the book', () => {
    const arrivals = fc.array(fc.tuple(step, fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 3 })), {
      minLength: 10,
      maxLength: 80,
    })
    fc.assert(
      fc.property(shape, arrivals, fc.integer({ min: 0, max: 1 << 30 }), (config, bursts, start) => {
        const { state, runtime } = clock(start)
        const bucket = new TokenBucket(config, runtime)
        const book = new BookBucket(config)
        for (const [units, burst, count] of bursts) {
          state.time += units / GRID
          book.pass(units)
          if (bucket.remaining !== book.remaining) throw new Error(`${bucket.remaining} for ${book.remaining}`)
          for (let i = 0; i < burst; i++) {
            if (bucket.take(count) !== book.take(count)) throw new Error(`at ${state.time}`)
          }
        }
      }),
      { numRuns: 300 },
    )
  })

  test('over a minute under saturation it gives its size and what has flowed in, never one more', () => {
    const arrivals = fc.array(step, { minLength: 20, maxLength: 200 })
    const busy = shape.map((config) => ({ ...config, max: config.max + 1 }))
    fc.assert(
      fc.property(busy, arrivals, (config, steps) => {
        const { state, runtime } = clock(0)
        const bucket = new TokenBucket(config, runtime)
        // Asked so often that it is never full again.
        const patience = Math.floor(((config.max - 1) * config.interval * GRID) / config.tokens)
        let given = 0
        const drain = () => {
          while (bucket.take()) given++
          expect(BigInt(given)).toBe(flowed(config.max, config.tokens, config.interval, 0, state.time))
        }
        drain()
        for (let i = 0; state.time < 60_000 && i < 3000; i++) {
          state.time += Math.min(steps[i % steps.length]!, patience) / GRID
          drain()
        }
      }),
      { numRuns: 25 },
    )
  })

  test.each([
    ['one token an hour', { max: 1, tokens: 1, interval: 3_600_000 }, 3_600_000, 2000],
    ['a token in a third of a second', { max: 2, tokens: 3, interval: 1000 }, 1, 200_000],
    ['a million tokens every 50 ms', { max: 4_000_000, tokens: 1_000_000, interval: 50 }, 0.25, 200],
    ['a prime number of tokens in a prime number of ms', { max: 7, tokens: 104_729, interval: 7_919_003 }, 61, 200_000],
    ['the largest message there is', { max: 2 ** 32 - 1, tokens: 2 ** 32 - 1, interval: 50 }, 0.125, 200],
  ])('no drift over a long run: %s', (_what, config, ms, steps) => {
    for (const start of [0, 1e6, 2 ** 40]) {
      const { state, runtime } = clock(start)
      const bucket = new TokenBucket(config, runtime)
      let given = 0
      expect(bucket.take(config.max)).toBe(true)
      given += config.max
      for (let i = 0; i < steps; i++) {
        state.time += ms
        const there = bucket.remaining
        if (there > 0 && bucket.take(there)) given += there
        if (bucket.take()) throw new Error(`one more at ${state.time}`)
      }
      expect(BigInt(given)).toBe(flowed(config.max, config.tokens, config.interval, start, state.time))
    }
  })

  test('millions of takes, one by one, are as many as have flowed in', () => {
    const start = 12_345.678
    const { state, runtime } = clock(start)
    const bucket = new TokenBucket({ max: 100, tokens: 333, interval: 1000 }, runtime)
    let given = 0
    for (let i = 0; i < 3_000_000; i++) {
      if (bucket.take()) given++
      state.time += 1.7333984375
    }
    while (bucket.take()) given++
    expect(BigInt(given)).toBe(flowed(100, 333, 1000, start, state.time))
  })

  test('a token is there at the very ms that it is due, and not before', () => {
    const runtime = new TestRuntime(1)
    const bucket = new TokenBucket({ max: 1, tokens: 1, interval: 300_000 }, runtime)
    expect(bucket.take()).toBe(true)
    for (let i = 1; i <= 1000; i++) {
      runtime.advance(299_999)
      expect(bucket.take()).toBe(false)
      runtime.advance(1)
      expect(bucket.take()).toBe(true)
    }
  })

  test('a quiet hour saves nothing up', () => {
    const runtime = new TestRuntime(1)
    const bucket = new TokenBucket({ max: 5, tokens: 3, interval: 1000 }, runtime)
    runtime.advance(3_600_000)
    expect(bucket.remaining).toBe(5)
    expect(Array.from({ length: 7 }, () => bucket.take())).toEqual([true, true, true, true, true, false, false])
  })

  test('several tokens at once are taken whole or not at all, and given back as far as there is room', () => {
    const runtime = new TestRuntime(1)
    const bucket = new TokenBucket({ max: 5, tokens: 1, interval: 1000 }, runtime)
    expect([bucket.take(6), bucket.take(4), bucket.take(2), bucket.remaining]).toEqual([false, true, false, 1])
    expect(bucket.take(0)).toBe(false)
    bucket.giveBack(2)
    expect(bucket.remaining).toBe(3)
    bucket.giveBack(100)
    expect(bucket.remaining).toBe(5)
    runtime.advance(60_000)
    expect(bucket.remaining).toBe(5)
  })

  test('the time to the next token is told in seconds, rounded up', () => {
    const runtime = new TestRuntime(1)
    const bucket = new TokenBucket({ max: 2, tokens: 2, interval: 5000 }, runtime)
    expect(bucket.secondsToNext).toBe(0)
    bucket.take(2)
    expect(bucket.secondsToNext).toBe(3)
    runtime.advance(500)
    expect(bucket.secondsToNext).toBe(2)
    runtime.advance(1999)
    expect(bucket.secondsToNext).toBe(1)
    runtime.advance(1)
    expect(bucket.secondsToNext).toBe(0)
  })

  test('where products are too large for doubles it gives not one more either', () => {
    const n = 94_906_266
    const { state, runtime } = clock(0)
    const bucket = new TokenBucket({ max: n, tokens: n + 1, interval: n }, runtime)
    expect(bucket.take(n)).toBe(true)
    state.time = n - 1 // (n + 1) × (n - 1) is one less than n × n, and the same as a double
    expect([bucket.remaining, bucket.take(n)]).toEqual([n - 1, false])
    state.time = n
    expect(bucket.take(n)).toBe(true)
  })

  test('a token that is due is told, though its share of the rate adds up to less than one', () => {
    const { state, runtime } = clock(0)
    const bucket = new TokenBucket({ max: 2, tokens: 1, interval: 98 }, runtime)
    bucket.take(2)
    state.time = 98
    expect([98 * (1 / 98) < 1, bucket.remaining, bucket.take(), bucket.take()]).toEqual([true, 1, true, false])
  })

  test('the time to the next token is counted in whole ms before it is rounded', () => {
    const bucket = new TokenBucket({ max: 1, tokens: 3, interval: 3001 }, new TestRuntime(1))
    bucket.take()
    expect(bucket.secondsToNext).toBe(1)
  })

  test('no bucket fills slower than one token in a year', () => {
    const year = 365 * 24 * 3_600_000
    const { state, runtime } = clock(0)
    const bucket = new TokenBucket({ max: 1, tokens: 1, interval: 2 * year }, runtime)
    expect(bucket.take()).toBe(true)
    state.time = year - 1
    expect(bucket.take()).toBe(false)
    state.time = year
    expect(bucket.take()).toBe(true)
  })

  test('a fill is one token where none is said, and intervals are cut to whole ms', () => {
    const message = make('envoy.type.v3.TokenBucket', {
      maxTokens: 5,
      fillInterval: { seconds: 1n, nanos: 999_999 },
    })
    expect(bucketConfig(message)).toEqual({ max: 5, tokens: 1, interval: 1000 })
  })
})
