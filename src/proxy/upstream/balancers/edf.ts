/**
 * Earliest deadline first: weighted round robin with floating-point weights, O(log n) per pick
 * (source/common/upstream/edf_scheduler.h). Each entry's deadline is the current time plus 1/weight; equal
 * deadlines go in the order of insertion.
 */
export class EdfScheduler<T> {
  private time = 0
  private order = 0
  private readonly deadlines: number[] = []
  private readonly orders: number[] = []
  private readonly entries: T[] = []

  get size(): number {
    return this.entries.length
  }

  /** `weight` must be above 0. */
  add(weight: number, entry: T): void {
    this.push(this.time + 1 / weight, this.order++, entry)
  }

  /** Takes the entry with the earliest deadline and adds it again with the weight it has now. */
  pickAndAdd(weightOf: (entry: T) => number): T | undefined {
    if (this.entries.length === 0) return undefined
    const entry = this.entries[0]!
    this.time = this.deadlines[0]!
    // Replacing the root and sifting down is the pop and push of a binary heap in one.
    this.deadlines[0] = this.time + 1 / weightOf(entry)
    this.orders[0] = this.order++
    this.sink(0)
    return entry
  }

  /**
   * A scheduler as it would be after `picks` picks, computed without making most of them: so that many
   * proxies with one config do not start at the same host.
   */
  static withPicks<T>(entries: readonly T[], weightOf: (entry: T) => number, seed: number): EdfScheduler<T> {
    const scheduler = new EdfScheduler<T>()
    const picks = seed % MAX_PICKS
    // The small addition keeps weights from being exact multiples of each other, where floor() would lie.
    const weights = entries.map((e) => weightOf(e) + 1e-13)
    const sum = weights.reduce((a, b) => a + b, 0)
    let done = 0
    let latest = 0
    for (let i = 0; i < entries.length; i++) {
      const weight = weights[i]!
      let share = Math.floor((weight * picks) / sum)
      if (share > 0 && share / weight >= picks / sum) share--
      scheduler.push((share + 1) / weight, i, entries[i]!)
      latest = Math.max(latest, share / weight)
      done += share
    }
    scheduler.time = latest
    scheduler.order = entries.length
    if (entries.length > 0) for (; done < picks; done++) scheduler.pickAndAdd(weightOf)
    return scheduler
  }

  private before(a: number, b: number): boolean {
    const difference = this.deadlines[a]! - this.deadlines[b]!
    return difference < 0 || (difference === 0 && this.orders[a]! < this.orders[b]!)
  }

  private swap(a: number, b: number): void {
    const deadline = this.deadlines[a]!
    const order = this.orders[a]!
    const entry = this.entries[a]!
    this.deadlines[a] = this.deadlines[b]!
    this.orders[a] = this.orders[b]!
    this.entries[a] = this.entries[b]!
    this.deadlines[b] = deadline
    this.orders[b] = order
    this.entries[b] = entry
  }

  private push(deadline: number, order: number, entry: T): void {
    let i = this.entries.length
    this.deadlines.push(deadline)
    this.orders.push(order)
    this.entries.push(entry)
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!this.before(i, parent)) return
      this.swap(i, parent)
      i = parent
    }
  }

  private sink(i: number): void {
    const n = this.entries.length
    for (;;) {
      let first = i
      const left = 2 * i + 1
      if (left < n && this.before(left, first)) first = left
      if (left + 1 < n && this.before(left + 1, first)) first = left + 1
      if (first === i) return
      this.swap(i, first)
      i = first
    }
  }
}

/** Envoy's bound on virtual picks: UINT32_MAX / 10. */
const MAX_PICKS = 429496729
