import { latin1 } from '../http/bytes.ts'
import type { RequestHead } from '../http/headers.ts'
import { CR, LF, SP, TAB, targetChar } from './chars.ts'
import {
  closesConnection,
  isUpgrade,
  removeH2cUpgrade,
  removeIgnoredUpgrades,
  sanitizeConnection,
} from './connection-header.ts'
import { type HeadParser, REFUSED } from './head-reader.ts'
import { joinRepeated, requestSingles } from './joined.ts'
import { BAD_SYNTAX, BAD_VALUE, INCOMPLETE, readLines, TOO_MANY } from './lines.ts'
import { knownMethod, maxMethodLength, startsMethod } from './methods.ts'
import { CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE } from './names.ts'
import type { Http1Settings } from './settings.ts'
import { rememberSpelling } from './spelling.ts'
import { isAuthorityValid, isTargetValid, parseAbsolute } from './target.ts'

/** Why a request was refused: the status and the response code details (envoy.http codec details). */
export interface Refusal {
  readonly status: number
  readonly details: string
}

const refusal = (status: number, details: string): Refusal => ({ status, details })

/** Refusals by the codec (source/common/http/http1/codec_impl.h Http1ResponseCodeDetailValues). */
export const refusals = {
  headersTooLarge: refusal(431, 'http1.headers_too_large'),
  tooManyHeaders: refusal(431, 'http1.too_many_headers'),
  trailersTooLarge: refusal(431, 'http1.trailers_too_large'),
  lowVersion: refusal(426, 'low_version'),
  transferEncoding: refusal(501, 'http1.invalid_transfer_encoding'),
  lengthAndChunked: refusal(400, 'http1.content_length_and_chunked_not_allowed'),
  bodyDisallowed: refusal(400, 'http1.body_disallowed'),
  codecError: refusal(400, 'http1.codec_error'),
  invalidCharacters: refusal(400, 'http1.invalid_characters'),
  invalidUrl: refusal(400, 'http1.invalid_url'),
  invalidScheme: refusal(400, 'http1.invalid_scheme'),
  invalidAuthority: refusal(400, 'http.invalid_authority'),
  httpsOnPlaintext: refusal(403, 'http1.https_url_on_plaintext_connection'),
  connectionHeader: refusal(400, 'http1.connection_header_rejected'),
  underscore: refusal(400, 'http1.unexpected_underscore'),
} as const satisfies Record<string, Refusal>

/**
 * Parses request heads, one after another, each into the head it is given. What it found out beside the
 * head stands in the fields below until the next one.
 */
export class RequestParser implements HeadParser<RequestHead> {
  readonly skipsLineEnds = true
  /** Set when `parse` answered REFUSED. */
  refusal: Refusal = refusals.codecError
  /** Value of content-length; -1 without. */
  contentLength = -1
  chunked = false
  /** The request asks to change the protocol (CONNECT or Upgrade): its body is raw bytes. */
  upgrade = false
  /** The connection must close after the response. */
  closes = false
  private readonly settings: Http1Settings
  private readonly isTls: boolean
  private readonly maxSize: number
  private lastPath = '/'
  private lastAuthority = ''
  private method = 'GET'
  /** The request line names no version: HTTP/0.9. */
  private unversioned = false

  constructor(settings: Http1Settings, isTls: boolean) {
    this.settings = settings
    this.isTls = isTls
    this.maxSize = settings.maxHeadersKb * 1024
  }

  /** Parses the head that starts at `pos`. Returns the position behind it, INCOMPLETE or REFUSED. */
  parse(src: Buffer, pos: number, end: number, head: RequestHead): number {
    let p = pos
    while (p < end && (src[p] === CR || src[p] === LF)) p++
    const start = p
    head.clear()
    p = this.requestLine(src, p, end, head)
    if (p < 0) return p === INCOMPLETE ? INCOMPLETE : this.refuseSyntax(src, start, end)
    const lines = p
    p = readLines(src, p, end, head, this.settings.maxHeadersCount)
    if (p === INCOMPLETE) return INCOMPLETE
    // Without a version it is refused as soon as the head is there, whatever else is wrong with it.
    if (this.unversioned && !this.settings.acceptHttp10) return this.refuse(refusals.lowVersion)
    if (p < 0) {
      if (p === BAD_VALUE) return this.refuse(refusals.invalidCharacters)
      return p === TOO_MANY ? this.refuse(refusals.tooManyHeaders) : this.refuseSyntax(src, start, end)
    }
    const { preserveCase } = this.settings
    if (preserveCase !== undefined) head.spelling = rememberSpelling(src, lines, p, preserveCase === 'proper')
    head.wireSize = p - lines - 2 - head.lines
    if (p - start > this.maxSize) return this.refuse(refusals.headersTooLarge)
    const refused = this.examine(head)
    return refused === undefined ? p : this.refuse(refused)
  }

  rejectFirst(byte: number): boolean {
    this.refusal = refusals.codecError
    return !startsMethod(byte)
  }

  rejectSize(): void {
    this.refusal = refusals.headersTooLarge
  }

  private refuse(why: Refusal): number {
    this.refusal = why
    return REFUSED
  }

  /** Envoy looks for control characters in the whole head before anything else but its first byte. */
  private refuseSyntax(src: Buffer, start: number, end: number): number {
    const controls = startsMethod(src[start] ?? 0) && hasControls(src, start, end)
    return this.refuse(controls ? refusals.invalidCharacters : refusals.codecError)
  }

  private requestLine(src: Buffer, pos: number, end: number, head: RequestHead): number {
    let p = this.readMethod(src, pos, end)
    if (p < 0) return p
    head.method = this.method
    while (p < end && isBlank(src[p]!)) p++
    const at = p
    const last = this.lastPath
    let k = 0
    while (p < end && k < last.length && src[p] === last.charCodeAt(k)) {
      p++
      k++
    }
    while (p < end && targetChar[src[p]!] !== 0) p++
    if (p === end) return INCOMPLETE
    const path = k === last.length && p - at === k ? last : latin1(src, at, p)
    head.path = path
    this.lastPath = path
    if (path.charCodeAt(0) !== 47 && !isTargetValid(path, this.method === 'CONNECT')) return BAD_SYNTAX
    return this.version(src, p, end, head)
  }

  private readMethod(src: Buffer, pos: number, end: number): number {
    if (end - pos > 4 && src[pos] === 71 && src[pos + 1] === 69 && src[pos + 2] === 84 && src[pos + 3] === SP) {
      this.method = 'GET'
      return pos + 4
    }
    let p = pos
    while (p < end && src[p]! > SP && p - pos <= maxMethodLength) p++
    if (p === end) return INCOMPLETE
    const known = isBlank(src[p]!) ? knownMethod(latin1(src, pos, p)) : undefined
    if (known === undefined) return BAD_SYNTAX
    this.method = known
    return p + 1
  }

  /** The rest of the request line: ` HTTP/1.1`, blanks around it; nothing at all is HTTP/0.9. */
  private version(src: Buffer, pos: number, end: number, head: RequestHead): number {
    if (end - pos > 10 && src[pos + 8] === 49 && src[pos + 9] === CR && src[pos + 10] === LF && isHttp1(src, pos)) {
      head.version = 11
      this.unversioned = false
      return pos + 11
    }
    let p = pos
    while (p < end && src[p] !== LF) p++
    if (p === end) return INCOMPLETE
    const text = latin1(src, pos, p)
    if (!/^(?:[ \t\r]+HTTP\/\d\.\d)?[ \t\r]*$/.test(text)) return BAD_SYNTAX
    head.version = text.includes('HTTP/1.1') ? 11 : 10
    this.unversioned = !text.includes('HTTP')
    return p + 1
  }

  /** Everything that can be wrong with a head that could be read, in Envoy's order. */
  private examine(head: RequestHead): Refusal | undefined {
    if (head.repeated) joinRepeated(head, requestSingles)
    const { settings, method } = this
    this.upgrade = false
    this.contentLength = -1
    this.chunked = false
    const length = head.find(CONTENT_LENGTH, 0)
    if (length >= 0) {
      this.contentLength = head.unsignedAt(length)
      if (this.contentLength < 0) return refusals.codecError
    }
    const encoding = head.get(TRANSFER_ENCODING)
    if (head.has(UPGRADE) && isUpgrade(head) && !removeH2cUpgrade(head)) {
      const { ignoredUpgrades } = settings
      this.upgrade = ignoredUpgrades.length === 0 || !removeIgnoredUpgrades(head, ignoredUpgrades)
    }
    if (method === 'CONNECT') {
      if (this.contentLength > 0) return refusals.bodyDisallowed
      if (length >= 0) head.remove(CONTENT_LENGTH)
      this.contentLength = -1
      this.upgrade = true
    }
    if (encoding !== undefined) {
      const isChunked = encoding.toLowerCase() === 'chunked'
      if (this.contentLength >= 0) {
        if (!isChunked || !settings.allowChunkedLength) return refusals.lengthAndChunked
        head.remove(CONTENT_LENGTH)
        this.contentLength = -1
      }
      if (!isChunked || method === 'CONNECT') return refusals.transferEncoding
      this.chunked = true
    }
    const target = this.target(head)
    if (head.version !== 11 && !settings.acceptHttp10) {
      if (target !== undefined && target !== refusals.invalidAuthority) return target
      return sanitizeConnection(head) ? refusals.lowVersion : refusals.connectionHeader
    }
    if (target !== undefined) return target
    if (!sanitizeConnection(head)) return refusals.connectionHeader
    this.closes = closesConnection(head, head.version)
    if (settings.underscores !== 'allow' && !this.checkUnderscores(head)) return refusals.underscore
    return undefined
  }

  /** Splits the target and the Host line into authority, scheme and path. */
  private target(head: RequestHead): Refusal | undefined {
    const path = head.path
    head.scheme = ''
    head.protocol = ''
    this.host(head)
    const origin = path.charCodeAt(0) === 47 || (path.charCodeAt(0) === 42 && head.method === 'OPTIONS')
    const isConnect = head.method === 'CONNECT'
    if ((!origin || isConnect) && (this.settings.allowAbsoluteUrl || isConnect)) {
      const absolute = parseAbsolute(path, isConnect)
      if (absolute === undefined) return refusals.invalidUrl
      head.authority = absolute.authority
      head.hasAuthority = true
      head.path = absolute.path
      head.scheme = absolute.scheme
      if (!isConnect && head.scheme !== 'http' && head.scheme !== 'https') return refusals.invalidScheme
      if (this.settings.refuseHttpsOnPlaintext && head.scheme === 'https' && !this.isTls) {
        return refusals.httpsOnPlaintext
      }
    }
    if (head.authority !== this.lastAuthority) {
      if (!isAuthorityValid(head.authority)) return refusals.invalidAuthority
      this.lastAuthority = head.authority
    }
    return undefined
  }

  private host(head: RequestHead): void {
    const i = head.find(HOST, 0)
    if (i < 0) {
      head.hasAuthority = head.version !== 11 && this.settings.defaultHostForHttp10 !== ''
      head.authority = head.hasAuthority ? this.settings.defaultHostForHttp10 : ''
      return
    }
    head.hasAuthority = true
    head.authority = head.valueIs(i, this.lastAuthority) ? this.lastAuthority : head.valueAt(i)
    head.removeAt(i)
  }

  private checkUnderscores(head: RequestHead): boolean {
    for (let i = head.lines - 1; i >= 0; i--) {
      if (!head.nameAt(i).includes('_')) continue
      if (this.settings.underscores === 'reject') return false
      head.removeAt(i)
    }
    return true
  }
}

/** What Envoy's parser takes for a blank within the request line. */
function isBlank(c: number): boolean {
  return c === SP || c === TAB || c === CR
}

/** Whether a head holds a control character other than tab and those of line ends. */
function hasControls(src: Buffer, start: number, end: number): boolean {
  let fresh = true
  for (let p = start; p < end; p++) {
    const c = src[p]!
    if (c === LF) {
      if (fresh) return false
      fresh = true
    } else if (c !== CR) {
      if ((c < SP && c !== TAB) || c === 127) return true
      fresh = false
    }
  }
  return false
}

/** ` HTTP/1.` at `p`. */
function isHttp1(src: Buffer, p: number): boolean {
  return (
    src[p] === SP &&
    src[p + 1] === 72 &&
    src[p + 2] === 84 &&
    src[p + 3] === 84 &&
    src[p + 4] === 80 &&
    src[p + 5] === 47 &&
    src[p + 6] === 49 &&
    src[p + 7] === 46
  )
}
