import { type HeaderMap, HeaderName, type RequestHead } from '../http/headers.ts'
import { CONNECTION, HTTP2_SETTINGS, PROXY_CONNECTION, TE, UPGRADE } from './names.ts'

const maxTokens = 10
const maxTeLength = 256
/** Tokens of Connection that are options, not names of headers. */
const options = new Set(['close', 'http2-settings', 'keep-alive', 'upgrade'])
/** Names nobody may have removed: it would hide where a request came from. */
const guarded = new Set(['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto'])

/**
 * Removes the headers Connection names, and their names from it. False: the request must be refused
 * (Utility::sanitizeConnectionHeader in source/common/http/utility.cc).
 */
export function sanitizeConnection(head: RequestHead): boolean {
  const i = head.find(CONNECTION, 0)
  if (i < 0 || head.valueIs(i, 'keep-alive')) return true
  const value = head.valueAt(i)
  const tokens = value.split(',').filter((t) => t !== '')
  if (tokens.length >= maxTokens) return false
  const kept: string[] = []
  for (const raw of tokens) {
    const token = raw.trim()
    const name = token.toLowerCase()
    if (options.has(name)) {
      kept.push(token)
      continue
    }
    if (guarded.has(name) || name.startsWith(':')) return false
    if (name === 'connection' || name === '') continue
    if (name === 'host') {
      head.authority = ''
      head.hasAuthority = false
      continue
    }
    if (name === 'te') {
      const te = head.get(TE)
      if (te !== undefined && te.length >= maxTeLength) return false
      if (te !== undefined && head.hasToken(TE, 'trailers')) {
        head.set(TE, 'trailers')
        kept.push(token)
        continue
      }
    }
    // Not interned: the name is the client's.
    head.remove(new HeaderName(name))
  }
  if (kept.length === tokens.length) return true
  if (kept.length === 0) head.remove(CONNECTION)
  else head.set(CONNECTION, kept.join(','))
  return true
}

/** Whether the message asks for, or agrees to, another protocol on this connection (Utility::isUpgrade). */
export function isUpgrade(head: HeaderMap): boolean {
  return head.has(UPGRADE) && head.hasToken(CONNECTION, 'upgrade')
}

/** Takes an offer of HTTP/2 out of a request: it is ignored. False if it was none. */
export function removeH2cUpgrade(head: HeaderMap): boolean {
  if (head.get(UPGRADE)?.toLowerCase() !== 'h2c') return false
  head.remove(UPGRADE)
  head.remove(HTTP2_SETTINGS)
  const left = (head.get(CONNECTION) ?? '').split(',').filter((t) => !/^\s*(upgrade|http2-settings)\s*$/i.test(t))
  if (left.length === 0) head.remove(CONNECTION)
  else head.set(CONNECTION, left.join(','))
  return true
}

/** Takes the offers that `ignored` matches out of a request. True: none is left. (Utility::removeUpgrade) */
export function removeIgnoredUpgrades(
  head: HeaderMap,
  ignored: readonly { matches(protocol: string): boolean }[],
): boolean {
  const offers = (head.get(UPGRADE) ?? '').split(',').map((offer) => offer.trim())
  const left = offers.filter((offer) => !ignored.some((matcher) => matcher.matches(offer)))
  if (left.length === offers.length) return false
  if (left.length > 0) {
    head.set(UPGRADE, left.join(','))
    return false
  }
  head.remove(UPGRADE)
  const tokens = (head.get(CONNECTION) ?? '').split(',').filter((token) => !/^\s*upgrade\s*$/i.test(token))
  if (tokens.length === 0) head.remove(CONNECTION)
  else head.set(CONNECTION, tokens.join(','))
  return true
}

/** Whether the connection must be closed after this message (HeaderUtility::shouldCloseConnection). */
export function closesConnection(head: HeaderMap, version: number): boolean {
  if (version === 11 && !head.has(PROXY_CONNECTION)) {
    // Nearly every message has no such line, or just this one.
    const i = head.find(CONNECTION, 0)
    if (i < 0 || head.valueIs(i, 'keep-alive')) return false
  }
  if (version !== 11 && !head.hasToken(CONNECTION, 'keep-alive')) return true
  return head.hasToken(CONNECTION, 'close') || head.hasToken(PROXY_CONNECTION, 'close')
}
