/** What keys are known by. */
export type JwksId = string

/** Key sets as they were fetched, by source; '' where they could not be. What nobody asked for yet is absent. */
export type JwksKeys = ReadonlyMap<JwksId, string>

/** No keys. */
export const NO_KEYS: JwksKeys = new Map()

/** Keys are known by issuer and URL, as in istiod's cache. */
export const jwksId = (issuer: string, jwksUri: string): JwksId => `${issuer}\n${jwksUri}`

/** Why a text is no JWK set; undefined for one that is. Single keys are not looked at (jwks_resolver.go validateJWKSFormat). */
export function jwksFault(text: string): string | undefined {
  const parsed = parsedJson(text)
  if (!parsed) return 'the answer is no JSON'
  const { value } = parsed
  const keys = typeof value === 'object' && value !== null ? (value as { keys?: unknown }).keys : undefined
  if (keys === undefined || keys === null) return 'the answer has no "keys"'
  return Array.isArray(keys) ? undefined : 'the "keys" of the answer are no list'
}

/** Whether two texts hold the same keys, in whatever order (jwks_resolver.go compareJWKSResponse). */
export function sameKeys(a: string, b: string): boolean {
  if (a === b) return true
  const [one, other] = [canonicalKeys(a), canonicalKeys(b)]
  return one !== undefined && one === other
}

function canonicalKeys(text: string): string | undefined {
  const keys = (parsedJson(text)?.value as { keys?: unknown } | null | undefined)?.keys
  return Array.isArray(keys) ? JSON.stringify(keys.map((key) => JSON.stringify(sorted(key))).sort()) : undefined
}

/** With the fields of objects in one order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, field]) => [name, sorted(field)])
}

function parsedJson(text: string): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) }
  } catch {
    return undefined
  }
}
