import { isUtf8 } from 'node:buffer'

/**
 * A node of a JSON text. Numbers keep how they are written, since `1` and `1.0` are not the same to Envoy
 * (source/common/json/json_internal.cc).
 */
export type JsonNode = string | boolean | null | JsonNumber | readonly JsonNode[] | ReadonlyMap<string, JsonNode>

/** A number as it is written. */
export class JsonNumber {
  readonly value: number
  /** As std::to_string writes it. */
  readonly text: string

  constructor(source: string) {
    const whole = /^-?\d+$/.test(source) && BigInt.asIntN(64, BigInt(source)) === BigInt(source)
    this.value = whole ? Number(source) + 0 : Number(source)
    if (whole) this.text = String(BigInt(source))
    else this.text = Math.abs(this.value) < 1e21 ? this.value.toFixed(6) : `${BigInt(this.value)}.000000`
  }
}

const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g
const UINT64_END = 1n << 64n
const INT64_MAX = (1n << 63n) - 1n

/** Reads a JSON text; undefined: it is none, or has a number or a string that Envoy's reader does not take. */
export function readJsonBody(bytes: Buffer): JsonNode | undefined {
  if (!isUtf8(bytes)) return undefined
  const text = bytes.toString('utf8').replace(/^\ufeff/, '')
  try {
    JSON.parse(text)
    // Strings and numbers get a mark each, which tells them apart afterwards.
    return nodeOf(JSON.parse(text.replace(TOKENS, marked)))
  } catch {
    return undefined // no JSON
  }
}

function marked(token: string): string {
  if (token.startsWith('"')) {
    if (!/^[^\ud800-\udfff]*$/u.test(JSON.parse(token) as string)) throw new SyntaxError('half a surrogate pair')
    return `"s${token.slice(1)}`
  }
  if (!Number.isFinite(Number(token))) throw new RangeError(token)
  if (/^\d+$/.test(token) && BigInt(token) > INT64_MAX && BigInt(token) < UINT64_END) throw new RangeError(token)
  return `"n${token}"`
}

function nodeOf(value: unknown): JsonNode {
  if (typeof value === 'string') return value.startsWith('s') ? value.slice(1) : new JsonNumber(value.slice(1))
  if (typeof value === 'boolean' || value === null) return value
  if (Array.isArray(value)) return value.map(nodeOf)
  return new Map(Object.entries(value as object).map(([key, child]) => [key.slice(1), nodeOf(child)]))
}
