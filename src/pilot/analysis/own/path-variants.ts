import { quoteMeta } from '../../quote-meta.ts'

/** MeshConfig pathNormalization, from nothing to most. */
export type PathMode = 'NONE' | 'BASE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES'

const MODES: readonly PathMode[] = ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES']

/** The mode in force. */
export const pathMode = (stated: string | undefined): PathMode => MODES.find((mode) => mode === stated) ?? 'BASE'

/** A spelling of a path that reaches the application, and the mode that would undo it; undefined: none does. */
interface Variant {
  readonly path: string
  readonly undoneBy: PathMode | undefined
}

/** Other spellings of a path, as an application may read them. */
function variants(path: string): Variant[] {
  const rest = path.slice(1)
  const last = path.lastIndexOf('/')
  const letter = /[a-z]/.exec(rest)?.[0]
  const escaped = (text: string): string => (letter ? path.replace(letter, text) : path)
  const code = letter?.charCodeAt(0).toString(16) ?? ''
  return [
    { path: `/./${rest}`, undoneBy: 'BASE' },
    { path: escaped(`%${code}`), undoneBy: 'BASE' },
    { path: `/${path}`, undoneBy: 'MERGE_SLASHES' },
    {
      path: last > 0 ? `${path.slice(0, last)}%2F${path.slice(last + 1)}` : `/%2F${rest}`,
      undoneBy: 'DECODE_AND_MERGE_SLASHES',
    },
    { path: `${path}/`, undoneBy: undefined },
    { path: path.toUpperCase(), undoneBy: undefined },
    { path: `${path};a=b`, undoneBy: undefined },
    { path: `/;/${rest}`, undoneBy: undefined },
    { path: escaped(`%25${code}`), undoneBy: undefined },
    { path: `${path}%20`, undoneBy: undefined },
    // The first is normalized by a second hop, the second by none.
    { path: `/x/%2e%2e;${path}`, undoneBy: undefined },
    { path: `/x/..%3b${path}`, undoneBy: undefined },
  ]
}

/** What gets past some patterns that are meant to catch a path. */
export interface Gaps {
  /** What a more thorough normalization would catch, or another pattern: with `/admin` also `/admin/*`. */
  readonly mendable: string[]
  /** What only an application that ignores case or parameters takes for the path. */
  readonly spellings: string[]
  /** The mode that catches all of `mendable` but for a missing `/`; undefined: it is in force. */
  readonly remedy: PathMode | undefined
}

/** What gets past `patterns` of what one of them is meant to catch. */
export function gapsOf(pattern: string, patterns: readonly string[], mode: PathMode): Gaps {
  const example = exampleOf(pattern)
  if (example === undefined) return { mendable: [], spellings: [], remedy: undefined }
  const passing = variants(example).filter(
    ({ path, undoneBy }) =>
      path !== example &&
      (undoneBy === undefined || MODES.indexOf(mode) < MODES.indexOf(undoneBy)) &&
      !patterns.some((known) => matchesPath(path, known)),
  )
  const parent = pattern.endsWith('/*') || pattern.endsWith('/{**}') ? pattern.slice(0, pattern.lastIndexOf('/')) : ''
  if (parent.startsWith('/') && !parent.includes('{') && !patterns.some((known) => matchesPath(parent, known)))
    passing.unshift({ path: parent, undoneBy: undefined })
  const remedies = passing.flatMap(({ undoneBy }) => undoneBy ?? [])
  const isMendable = ({ path, undoneBy }: Variant) =>
    undoneBy !== undefined || path === `${example}/` || path === parent
  return {
    mendable: passing.filter(isMendable).map(({ path }) => path),
    spellings: passing.filter((variant) => !isMendable(variant)).map(({ path }) => path),
    remedy: MODES.findLast((known) => remedies.includes(known)),
  }
}

/** A path that a pattern is meant for; undefined for one that takes every path. */
function exampleOf(pattern: string): string | undefined {
  if (pattern === '*' || pattern === '/*' || pattern === '/{**}') return undefined
  const filled = pattern.replaceAll('{**}', 'x').replaceAll('{*}', 'x')
  if (filled.startsWith('*')) return filled[1] === '/' ? filled.slice(1) : `/x${filled.slice(1)}`
  if (filled.endsWith('/*')) return `${filled.slice(0, -1)}x`
  return filled.endsWith('*') ? filled.slice(0, -1) : filled
}

/** Whether a pattern of a policy takes a path. */
export function matchesPath(path: string, pattern: string): boolean {
  if (pattern.includes('{*}') || pattern.includes('{**}')) {
    const source = pattern
      .split(/(\{\*\*?\})/)
      .map((part) => (part === '{*}' ? '[^/]+' : part === '{**}' ? '.*' : quoteMeta(part)))
    return new RegExp(`^${source.join('')}$`).test(path)
  }
  if (pattern === '*') return true
  if (pattern.startsWith('*')) return path.endsWith(pattern.slice(1))
  if (pattern.endsWith('*')) return path.startsWith(pattern.slice(0, -1))
  return path === pattern
}

/** Why no request can have a path of this form, with the way to write it; undefined where one can. */
export function neverMatches(pattern: string, mode: PathMode): { why: string; remedy: string } | undefined {
  const at = (wanted: PathMode): boolean => MODES.indexOf(mode) >= MODES.indexOf(wanted)
  const template = pattern.includes('{*}') || pattern.includes('{**}')
  const fixed = template ? pattern.replaceAll(/\{\*\*?\}/g, '') : pattern
  const query = /[?#]/.exec(fixed)?.[0]
  if (query)
    return {
      why: `the path of a request ends before its ${query === '?' ? 'query' : 'fragment'}`,
      remedy: `Leave out "${query}" and what follows, or use a condition on request.headers[:path].`,
    }
  if (!/^(?:\/|\*|\{)/.test(fixed) && pattern !== '')
    return { why: 'paths begin with "/"', remedy: `Write /${pattern}.` }
  const written = 'Write it as it is after normalization.'
  if (at('BASE') && (/\/\.{1,2}(?:\/|$)/.test(fixed) || fixed.includes('\\')))
    return { why: 'normalization has resolved "." and ".." and turned "\\" into "/"', remedy: written }
  if (at('BASE') && [...fixed.matchAll(/%([0-9A-Fa-f]{2})/g)].some(([, hex = '']) => isUnreserved(hex)))
    return { why: 'normalization has decoded such escapes', remedy: written }
  if (at('BASE') && /["<>^`|]/.test(fixed) && !looksLikePattern(pattern))
    return { why: 'normalization has escaped such characters', remedy: `Write ${escapedForm(pattern)}.` }
  if (at('MERGE_SLASHES') && fixed.includes('//')) return { why: 'normalization has merged slashes', remedy: written }
  if (at('DECODE_AND_MERGE_SLASHES') && /%(?:2f|5c)/i.test(fixed))
    return { why: 'normalization has decoded escaped slashes', remedy: written }
  return undefined
}

const isUnreserved = (hex: string): boolean => /[A-Za-z0-9._~-]/.test(String.fromCharCode(Number.parseInt(hex, 16)))

const escapedForm = (pattern: string): string =>
  pattern.replace(/["<>^`|]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)

/** Whether a pattern looks as if it were more than text with a `*` at one end. */
export const looksLikePattern = (pattern: string): boolean =>
  !/\{\*\*?\}/.test(pattern) && (/.\*./.test(pattern) || /\.\*|\.\+|\[[^\]]+\]|\(.*\||\\[dws]|^\^|\$$/.test(pattern))
