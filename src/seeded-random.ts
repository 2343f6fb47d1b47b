/** SplitMix32: every seed, 0 too, gives a full-period sequence of 32-bit words. */
export class SeededRandom {
  private state: number

  constructor(seed: number) {
    this.state = seed >>> 0
  }

  next(): number {
    this.state = (this.state + 0x9e37_79b9) >>> 0
    let z = this.state
    z = Math.imul(z ^ (z >>> 16), 0x85eb_ca6b)
    z = Math.imul(z ^ (z >>> 13), 0xc2b2_ae35)
    return (z ^ (z >>> 16)) >>> 0
  }
}

/** A seed that follows from another and a name (FNV-1a over the name, begun at the seed). */
export function forkSeed(seed: number, name: string): number {
  let hash = (0x811c_9dc5 ^ seed) >>> 0
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x0100_0193) >>> 0
  return hash
}

/** A version-4 UUID, lower case, of the words that `next` gives. */
export function uuidOf(next: () => number): string {
  const word = () => next().toString(16).padStart(8, '0')
  const hex = word() + word() + word() + word()
  const variant = '89ab'[Number.parseInt(hex[16]!, 16) & 3]
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`
}
