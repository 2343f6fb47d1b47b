/** A timer that can be cancelled; cancelling twice is harmless. */
export interface Timer {
  cancel(): void
}

/**
 * Time and chance, injected everywhere, so that a test can move the clock and fix the seed. Nothing in
 * `proxy` or `pilot` calls `Date.now`, `setTimeout` or `Math.random` itself.
 */
export interface Runtime {
  /** Monotonic time in milliseconds, with fractions. */
  now(): number
  /** Wall-clock time in milliseconds since the epoch. */
  wallNow(): number
  /** Runs `fn` once after `ms` milliseconds. Timers do not keep the process alive by themselves. */
  after(ms: number, fn: () => void): Timer
  /** Uniform in [0, 1). */
  random(): number
  /** Uniform unsigned 32-bit integer. */
  randomU32(): number
  /** A version-4 UUID, lower case. */
  uuid(): string
  /**
   * The same clock with a stream of chance of its own: under a seed one that follows from the seed and the name, so that
   * what others draw does not matter; without a seed the same chance.
   */
  fork(name: string): Runtime
}
