/** Left edge and width of the bin of a value: two significant digits (openhistogram's log-linear bins). */
function binOf(value: number): { readonly left: number; readonly width: number } {
  if (value <= 0) return { left: 0, width: 0 }
  const width = 10 ** (Math.floor(Math.log10(value)) - 1)
  return { left: Math.floor(value / width) * width, width }
}

interface Bin {
  readonly left: number
  readonly width: number
  count: number
}

/** Latencies in whole microseconds, as coarsely as Envoy's histogram keeps them. */
export class LatencySamples {
  count = 0
  private readonly bins = new Map<number, Bin>()

  add(micros: number): void {
    this.count++
    const { left, width } = binOf(micros)
    const known = this.bins.get(left)
    if (known === undefined) this.bins.set(left, { left, width, count: 1 })
    else known.count++
  }

  /** The quantile (0 to 1), taken within its bin by proportion; 0 if there is no sample. */
  quantile(q: number): number {
    const wanted = q * this.count
    const bins = [...this.bins.values()].sort((a, b) => a.left - b.left)
    let below = 0
    for (const [i, { left, width, count }] of bins.entries()) {
      if (below + count >= wanted || i === bins.length - 1) return left + ((wanted - below) / count) * width
      below += count
    }
    return 0
  }

  clear(): void {
    this.count = 0
    this.bins.clear()
  }
}
