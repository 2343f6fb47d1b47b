/** What normalising a path gives: the new path, or why the request cannot go on. */
export type NormalizedPath = { path: string } | 'reject' | { redirect: string }

/** Settings of a connection manager about paths (HCU maybeNormalizePath). */
export interface PathSettings {
  readonly normalize: boolean
  readonly mergeSlashes: boolean
  readonly escapedSlashes: 'keep' | 'reject' | 'redirect' | 'forward'
  /** A `#fragment` is stripped instead of refused (Istio's runtime setting). */
  readonly stripFragment: boolean
}

const NEEDS_WORK = /[#%\\"<>`{}^|]|\/\/|\/\./
const UNSAFE = /["<>`{}^|]/g
const ESCAPED_SLASH = /%2[fF]|%5[cC]/

/**
 * Normalises a path in Envoy's order: fragment, escaped slashes, dot segments, merged slashes; the query is never
 * changed. Undefined: as it came.
 */
export function normalizePath(path: string, settings: PathSettings): NormalizedPath | undefined {
  if (!NEEDS_WORK.test(path)) return undefined
  const hash = path.indexOf('#')
  if (hash >= 0) {
    if (!settings.stripFragment) return 'reject'
    path = path.slice(0, hash)
  }
  const question = path.indexOf('?')
  const query = question < 0 ? '' : path.slice(question)
  let only = question < 0 ? path : path.slice(0, question)
  let redirect = false
  if (settings.escapedSlashes !== 'keep' && ESCAPED_SLASH.test(only)) {
    if (settings.escapedSlashes === 'reject') return 'reject'
    only = unescapeSlashes(only)
    redirect = settings.escapedSlashes === 'redirect'
  }
  if (settings.normalize) {
    const normalized = canonicalPath(only)
    if (normalized === undefined) return 'reject'
    only = normalized
  }
  // What stands between the first and the last slash is joined, so that a path of slashes keeps both.
  if (settings.mergeSlashes && only.includes('//')) only = /^\/+$/.test(only) ? '//' : only.replace(/\/{2,}/g, '/')
  return redirect ? { redirect: only + query } : { path: only + query }
}

/**
 * Dot segments resolved, backslashes turned, escaped unreserved characters decoded, characters that no URL holds escaped, as the URL
 * library that Envoy uses does it (source/common/http/path_utility.cc). A literal `..;x` after a `/` counts as `..`.
 * Undefined for `%00`.
 */
function canonicalPath(path: string): string | undefined {
  const out: string[] = []
  const parts = path.replace(/\\/g, '/').slice(1).split('/')
  let at = 1
  for (let i = 0; i < parts.length; i++) {
    const part = decodeUnreserved(parts[i]!)
    const parameters = parts[i]!.startsWith('..;') && path[at - 1] === '/'
    at += parts[i]!.length + 1
    if (part === '.' || part === '..' || parameters) {
      // What is behind such a `;` is skipped unread.
      if (part !== '.') out.pop()
      if (i === parts.length - 1) out.push('')
    } else if (part.includes('%00')) return undefined
    else out.push(part)
  }
  return `/${out.join('/').replace(UNSAFE, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)}`
}

/** The path with its escaped slashes and backslashes as themselves; the query as it is. */
export function unescapeSlashes(path: string): string {
  const end = path.includes('?') ? path.indexOf('?') : path.length
  return (
    path
      .slice(0, end)
      .replace(/%2[fF]/g, '/')
      .replace(/%5[cC]/g, '\\') + path.slice(end)
  )
}

/** Escaped letters, digits and `-._~` as themselves. */
function decodeUnreserved(part: string): string {
  if (!part.includes('%')) return part
  return part.replace(/%([2-7][0-9a-fA-F])/g, (escaped, hex: string) => {
    const char = String.fromCharCode(Number.parseInt(hex, 16))
    return /[A-Za-z0-9._~-]/.test(char) ? char : escaped
  })
}
