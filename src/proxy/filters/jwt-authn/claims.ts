import type { Json, JsonObject } from './json.ts'
import { protoJson } from './json-text.ts'

/** The claim at a path of names (source/common/jwt/struct_utils.cc GetValue); undefined: there is none. */
export function claimAt(payload: JsonObject, path: readonly string[]): Json | undefined {
  let value: Json = payload
  for (const name of path) {
    if (!isObject(value) || !Object.hasOwn(value, name)) return undefined
    value = value[name]!
  }
  return value
}

/** True for what is a Struct, and neither a list nor null. */
export function isObject(value: Json): value is JsonObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}

/** The text of a claim in a header, a character per byte; '' for one that has none (authenticator.cc addJWTClaimToHeader). */
export function claimText(value: Json): string {
  switch (typeof value) {
    case 'string':
      return Buffer.from(value, 'utf8').toString('latin1')
    case 'number':
      return numberText(value)
    case 'boolean':
      return String(value)
    default:
      return value === null ? '' : Buffer.from(protoJson(value), 'utf8').toString('base64')
  }
}

/** Whole numbers as such, others as C's `%f` does: six places, halves to even. */
export function numberText(value: number): string {
  if (value >= 0 && value < 2 ** 64 && Number.isInteger(value)) return BigInt(value).toString()
  // Only multiples of 1/128 can lie half-way between two numbers of six places.
  const parts = value * 128
  if (!Number.isInteger(parts)) return value.toFixed(6)
  const scaled = BigInt(Math.abs(parts)) * 78_125n
  const rest = scaled % 10n
  let whole = scaled / 10n
  if (rest > 5n || (rest === 5n && (whole & 1n) === 1n)) whole++
  const digits = whole.toString().padStart(7, '0')
  return `${value < 0 ? '-' : ''}${digits.slice(0, -6)}.${digits.slice(-6)}`
}

/** The claims that are texts of words as lists of them (authenticator.cc setPayloadMetadata). */
export function withLists(payload: JsonObject, claims: readonly string[]): JsonObject {
  const out = Object.assign(Object.create(null), payload) as { [name: string]: Json }
  for (const claim of claims) {
    const text = Object.hasOwn(payload, claim) ? payload[claim] : undefined
    if (typeof text !== 'string') continue
    const words = text.split(' ').filter((word) => word !== '')
    const before = out[claim]
    if (words.length > 0) out[claim] = Array.isArray(before) ? [...before, ...words] : words
  }
  return out
}
