import type { OutgoingHttpHeaders } from 'node:http2'
import { HeaderMap, headerName, RequestHead, type ResponseHead } from '../http/headers.ts'
import { H } from '../http/names.ts'
import { joinRepeated, requestSingles, responseSingles } from '../http1/joined.ts'
import { isAuthorityValid } from '../http1/target.ts'

/** What a server takes of a request's head. */
export interface RequestLimits {
  /** Lines, pseudo headers included. */
  readonly maxCount: number
  /** Bytes of names and values. */
  readonly maxBytes: number
  readonly underscores: 'allow' | 'reject' | 'drop'
}

/** Fields of a connection, which have no place in HTTP/2 (RFC 9113 §8.2.2). */
const HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade', 'http2-settings'])

/** Names that `node:http2` takes only once: further values are joined to the first. */
const ONCE = new Set(
  [
    'access-control-allow-credentials access-control-max-age access-control-request-method age authorization',
    'content-encoding content-language content-length content-location content-md5 content-range content-type date dnt',
    'etag expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location',
    'max-forwards proxy-authorization range referer retry-after tk upgrade-insecure-requests user-agent',
    'x-content-type-options',
  ].flatMap((names) => names.split(' ')),
)

/** Why a request's head is refused. */
export type HeadRefusal = 'too many' | 'too large' | 'underscore' | 'malformed'

/**
 * A request's head from its lines, names and values in turn (source/common/http/http2/codec_impl.cc saveHeader): cookies
 * joined, `host` used only where there is no `:authority`, and an extended CONNECT turned into the upgrade request that
 * HTTP/1 would have sent. `dropped` is called for each line left out because of its underscore.
 */
export function readRequestHead(
  raw: readonly string[],
  limits: RequestLimits,
  dropped: () => void,
): RequestHead | HeadRefusal {
  const head = new RequestHead(1024)
  head.version = 20
  head.path = ''
  head.hasAuthority = false
  let cookies = ''
  let host: string | undefined
  let count = 0
  let bytes = 0
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!
    const value = trimmed(raw[i + 1]!)
    if (name === 'cookie') {
      cookies = cookies === '' ? value : `${cookies}; ${value}`
      continue
    }
    if (limits.underscores !== 'allow' && name.includes('_')) {
      if (limits.underscores === 'reject') return 'underscore'
      dropped()
      continue
    }
    bytes += name.length + value.length
    if (++count > limits.maxCount) return 'too many'
    if (bytes > limits.maxBytes) return 'too large'
    if (name.charCodeAt(0) === 0x3a) setPseudo(head, name, value)
    else if (name === 'host') host ??= value
    else head.add(headerName(name), value)
  }
  if (!head.hasAuthority && host !== undefined) {
    head.authority = host
    head.hasAuthority = true
  }
  if (head.authority.includes('@') || !isAuthorityValid(head.authority)) return 'malformed'
  if (cookies !== '') head.add(H.cookie, cookies)
  joinRepeated(head, requestSingles)
  if (head.method === 'CONNECT' && head.protocol !== '' && head.protocol !== 'bytestream') {
    head.method = 'GET'
    head.add(H.upgrade, head.protocol)
    head.add(H.connection, 'upgrade')
  }
  return head
}

function setPseudo(head: RequestHead, name: string, value: string): void {
  switch (name) {
    case ':method':
      head.method = value
      return
    case ':path':
      head.path = value
      return
    case ':scheme':
      head.scheme = value
      return
    case ':authority':
      head.authority = value
      head.hasAuthority = true
      return
    case ':protocol':
      head.protocol = value
      return
    default:
  }
}

/** The lines of a response into its head. */
export function readResponseLines(raw: readonly string[], head: ResponseHead): ResponseHead {
  readLines(raw, head)
  joinRepeated(head, responseSingles)
  return head
}

/** Trailers from their lines. */
export function readTrailers(raw: readonly string[]): HeaderMap {
  const trailers = new HeaderMap(128)
  readLines(raw, trailers)
  return trailers
}

function readLines(raw: readonly string[], to: HeaderMap): void {
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!
    if (name.charCodeAt(0) !== 0x3a) to.add(headerName(name), trimmed(raw[i + 1]!))
  }
}

/** Blanks around a value are no part of it. */
function trimmed(value: string): string {
  if (value === '') return value
  const first = value.charCodeAt(0)
  const last = value.charCodeAt(value.length - 1)
  return first === 0x20 || first === 0x09 || last === 0x20 || last === 0x09
    ? value.replace(/^[ \t]+|[ \t]+$/g, '')
    : value
}

/** Lines for `node:http2` to send: those of a connection are left out, repeated ones become lists. */
export function writeLines(from: HeaderMap, to: OutgoingHttpHeaders): OutgoingHttpHeaders {
  from.forEach((name, value) => {
    if (HOP.has(name) || (name === 'te' && value !== 'trailers')) return
    const before = to[name]
    if (before === undefined) to[name] = value
    else if (ONCE.has(name)) to[name] = `${before},${value}`
    else if (Array.isArray(before)) before.push(value)
    else to[name] = [String(before), value]
  })
  return to
}

/** An empty set of lines; a plain object would take `__proto__` for something else. */
export function noLines(): OutgoingHttpHeaders {
  return Object.create(null)
}
