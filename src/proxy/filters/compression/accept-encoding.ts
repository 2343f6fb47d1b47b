import { after, before } from './header-values.ts'

/** How an `accept-encoding` was answered; the counters go by it. */
export type HeaderStat = 'notValid' | 'identity' | 'wildcard' | 'compressor'

/** The encoding for a response body, which all compressor filters of a chain go by. */
export interface Decision {
  readonly encoding: string
  readonly stat: HeaderStat
}

/** An encoding that some filter of the chain can make. */
export interface Candidate {
  /** Its place among the encodings on offer: the wildcard takes the first. */
  readonly order: number
  readonly chooseFirst: boolean
}

const NOT_VALID: Decision = { encoding: 'identity', stat: 'notValid' }
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i

/** One entry of the list: the coding and how much it is wanted. Undefined when its `q` is no number. */
function parseEntry(token: string): { readonly coding: string; readonly q: number } | undefined {
  const coding = before(token, ';')
  const params = after(token, ';')
  const value = params === undefined ? undefined : after(params, '=')
  if (params === undefined || value === undefined || before(params, '=').toLowerCase() !== 'q') return { coding, q: 1 }
  const text = value.trim()
  return NUMBER.test(text) ? { coding, q: Math.fround(Number(text)) } : undefined
}

/**
 * Chooses the encoding for a response (source/extensions/filters/http/compressor/compressor_filter.cc chooseEncoding).
 * `allowed` holds the encodings on offer, and is changed.
 */
export function chooseEncoding(acceptEncoding: string, allowed: Map<string, Candidate>): Decision {
  const wanted: { readonly coding: string; readonly q: number }[] = []
  for (const token of acceptEncoding.split(',')) {
    const entry = token === '' ? undefined : parseEntry(token)
    if (entry === undefined) continue
    wanted.push(entry)
    if (entry.q === 0) allowed.delete(entry.coding)
  }
  if (wanted.length === 0 || allowed.size === 0) return NOT_VALID
  let choice = { coding: 'identity', q: 0 }
  for (const entry of wanted) {
    const { coding, q } = entry
    if (!allowed.has(coding) && coding !== 'identity' && coding !== '*') continue
    if (q > choice.q || (q === choice.q && allowed.get(coding)?.chooseFirst)) choice = entry
  }
  if (choice.q === 0) return NOT_VALID
  if (choice.coding === 'identity') return { encoding: 'identity', stat: 'identity' }
  if (choice.coding === '*') return { encoding: firstOf(allowed), stat: 'wildcard' }
  return { encoding: choice.coding, stat: 'compressor' }
}

/** The encoding that was offered first. */
function firstOf(allowed: ReadonlyMap<string, Candidate>): string {
  let first = ''
  let order = Number.POSITIVE_INFINITY
  for (const [name, candidate] of allowed) if (candidate.order < order) [first, order] = [name, candidate.order]
  return first
}
