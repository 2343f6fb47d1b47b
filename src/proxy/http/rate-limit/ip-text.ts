import { type IpWords, maskWords, parseWrittenIp } from '../../listener/cidr.ts'

/** An address as the C library writes it: an IPv6 one in its shortest form. Text that is no address stays. */
export function canonicalIp(text: string): string {
  if (!text.includes(':')) return text
  const words = parseWrittenIp(text)
  return words === undefined ? text : ipText(words)
}

/** The block that an address is in, `10.1.0.0/16`; undefined for text that is no address. Lengths in bits. */
export function maskedIp(text: string, v4Bits: number, v6Bits: number): string | undefined {
  const words = parseWrittenIp(text)
  if (words === undefined) return undefined
  const bits = words.length === 1 ? v4Bits : v6Bits
  return `${ipText(maskWords(words, bits))}/${bits}`
}

const v4Text = (word: number): string => `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`

function ipText(words: IpWords): string {
  if (words.length === 1) return v4Text(words[0]!)
  const [a, b, c, d] = words as [number, number, number, number]
  // IPv4-mapped and IPv4-compatible addresses keep their dots.
  if (a === 0 && b === 0 && c === 0xffff) return `::ffff:${v4Text(d)}`
  if (a === 0 && b === 0 && c === 0 && d > 0xffff) return `::${v4Text(d)}`
  const groups = words.flatMap((word) => [word >>> 16, word & 0xffff])
  const { start, length } = longestZeros(groups)
  const hex = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':')
  if (length < 2) return hex(groups)
  return `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`
}

function longestZeros(groups: readonly number[]): { start: number; length: number } {
  const best = { start: 0, length: 0 }
  let run = 0
  groups.forEach((group, i) => {
    run = group === 0 ? run + 1 : 0
    if (run > best.length) {
      best.start = i - run + 1
      best.length = run
    }
  })
  return best
}
