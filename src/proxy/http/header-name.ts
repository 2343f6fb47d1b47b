/** A header name as maps look it up: lower case, with its hash and bytes. Made by `headerName`. */
export class HeaderName {
  /** Lower case. */
  readonly name: string
  /** 32-bit hash of the lower-case bytes; the parser computes the same in passing. */
  readonly hash: number
  /** The bit of the name in the 32-bit filter each map keeps of its names. */
  readonly bit: number
  readonly bytes: Uint8Array

  constructor(name: string) {
    this.name = name
    this.bytes = Buffer.from(name, 'latin1')
    this.hash = hashBytes(this.bytes, 0, this.bytes.length)
    this.bit = 1 << (this.hash & 31)
  }
}

/** The hash of a lower-case name. The codec's inner loop repeats this step byte by byte. */
export function hashBytes(bytes: Uint8Array, start: number, end: number): number {
  let h = 0
  for (let i = start; i < end; i++) h = (Math.imul(h, 31) + bytes[i]!) | 0
  return h
}

const interned = new Map<string, HeaderName>()

/** Names made while the process runs (from requests or changing config) must not grow the table without bound. */
const internLimit = 10_000

/** The interned name; any case is taken. Call it when a module or a config is loaded, not per request for constant names. */
export function headerName(name: string): HeaderName {
  const known = interned.get(name)
  if (known !== undefined) return known
  const lower = name.toLowerCase()
  let made = interned.get(lower)
  if (made === undefined) {
    made = new HeaderName(lower)
    if (interned.size < internLimit) interned.set(lower, made)
  }
  return made
}
