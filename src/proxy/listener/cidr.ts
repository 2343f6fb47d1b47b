import net from 'node:net'

/** An IP address as numbers: IPv4 has one 32-bit word, IPv6 four. */
export type IpWords = readonly number[]

/** Parses an IPv4 or IPv6 address; undefined when it is neither. An IPv4-mapped IPv6 address is IPv4. */
export function parseIp(text: string): IpWords | undefined {
  const words = parseWrittenIp(text)
  if (words === undefined || words.length === 1) return words
  return words[0] === 0 && words[1] === 0 && words[2] === 0xffff ? [words[3]!] : words
}

/** The same, but an IPv4-mapped address that somebody has written, as in a header, stays one of IPv6. */
export function parseWrittenIp(text: string): IpWords | undefined {
  if (net.isIPv4(text)) return [v4Word(text)]
  if (!net.isIPv6(text)) return undefined
  const zone = text.indexOf('%')
  return v6Words(zone < 0 ? text : text.slice(0, zone))
}

function v4Word(text: string): number {
  let word = 0
  for (const part of text.split('.')) word = ((word << 8) | Number(part)) >>> 0
  return word
}

function v6Words(text: string): number[] {
  const dot = text.lastIndexOf(':')
  const tail = text.slice(dot + 1)
  const groups = (part: string) => (part === '' ? [] : part.split(':').map((g) => Number.parseInt(g, 16)))
  let plain = text
  if (tail.includes('.')) {
    const word = v4Word(tail)
    plain = `${text.slice(0, dot + 1)}${(word >>> 16).toString(16)}:${(word & 0xffff).toString(16)}`
  }
  const gap = plain.indexOf('::')
  const head = groups(gap < 0 ? plain : plain.slice(0, gap))
  const rest = gap < 0 ? [] : groups(plain.slice(gap + 2))
  const all = [...head, ...new Array<number>(8 - head.length - rest.length).fill(0), ...rest]
  const words: number[] = []
  for (let i = 0; i < 8; i += 2) words.push(((all[i]! << 16) | all[i + 1]!) >>> 0)
  return words
}

/** A block of addresses. */
export interface Cidr {
  readonly words: IpWords
  readonly bits: number
}

/** Parses `prefix/length`; undefined when the prefix is no address. A length past the address is cut to it. */
export function parseCidr(prefix: string, length: number): Cidr | undefined {
  const words = parseIp(prefix)
  if (!words) return undefined
  const bits = Math.min(length, words.length * 32)
  return { words: maskWords(words, bits), bits }
}

/** The first address of the block of that many bits that an address is in. */
export function maskWords(words: IpWords, bits: number): number[] {
  return words.map((w, i) => {
    const keep = Math.min(32, Math.max(0, bits - i * 32))
    return keep === 0 ? 0 : (w & (0xffff_ffff << (32 - keep))) >>> 0
  })
}

/** Whether a block holds an address; a block of the other family never does. */
export function inBlock(block: Cidr, ip: IpWords): boolean {
  if (block.words.length !== ip.length) return false
  for (let i = 0; i < ip.length; i++) {
    const keep = Math.min(32, Math.max(0, block.bits - i * 32))
    if (keep > 0 && (ip[i]! & (0xffff_ffff << (32 - keep))) >>> 0 !== block.words[i]) return false
  }
  return true
}

/**
 * Values by block, found by longest prefix. One map per prefix length, longest first: rules have few
 * different lengths, so this beats a bit trie in both size and speed.
 */
export class CidrMap<T> {
  private readonly levels: { words: number; bits: number; map: Map<string, T> }[] = []

  /** Adds a block; a block added before gives way. */
  set(cidr: Cidr, value: T): void {
    const words = cidr.words.length
    let level = this.levels.find((l) => l.words === words && l.bits === cidr.bits)
    if (!level) {
      level = { words, bits: cidr.bits, map: new Map() }
      this.levels.push(level)
      this.levels.sort((a, b) => b.bits - a.bits)
    }
    level.map.set(cidr.words.join('.'), value)
  }

  /** The value of the longest block that holds the address. */
  get(ip: IpWords): T | undefined {
    for (const level of this.levels) {
      if (level.words !== ip.length) continue
      const found = level.map.get(maskWords(ip, level.bits).join('.'))
      if (found !== undefined) return found
    }
    return undefined
  }

  /** The value set for this very block. */
  exact(cidr: Cidr): T | undefined {
    const level = this.levels.find((l) => l.words === cidr.words.length && l.bits === cidr.bits)
    return level?.map.get(cidr.words.join('.'))
  }

  get empty(): boolean {
    return this.levels.length === 0
  }
}
