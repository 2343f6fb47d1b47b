import { latin1 } from '../http/bytes.ts'
import type { ResponseHead } from '../http/headers.ts'
import { CR, LF, SP, valueChar } from './chars.ts'
import { closesConnection } from './connection-header.ts'
import { type HeadParser, REFUSED } from './head-reader.ts'
import { joinRepeated, responseSingles } from './joined.ts'
import { INCOMPLETE, readLines } from './lines.ts'
import { CONTENT_LENGTH, TRANSFER_ENCODING } from './names.ts'
import type { Http1ClientSettings } from './settings.ts'
import { rememberSpelling } from './spelling.ts'

/** The parser's answer for a response without content-length. */
export const NO_LENGTH = -1

/**
 * Parses response heads. What it found out beside the head stands in the fields until the next one. All
 * refusals are one to Envoy: a protocol error (ClientConnectionImpl in source/common/http/http1/codec_impl.cc).
 */
export class ResponseParser implements HeadParser<ResponseHead> {
  readonly skipsLineEnds = false
  contentLength = NO_LENGTH
  chunked = false
  /** The upstream will take no further request on this connection. */
  closes = false
  private readonly settings: Http1ClientSettings
  private readonly maxSize: number
  private version: 10 | 11 = 11

  constructor(settings: Http1ClientSettings) {
    this.settings = settings
    this.maxSize = settings.maxHeadersKb * 1024
  }

  parse(src: Buffer, pos: number, end: number, head: ResponseHead): number {
    head.clear()
    let p = this.statusLine(src, pos, end, head)
    if (p < 0) return p
    const lines = p
    p = readLines(src, p, end, head, this.settings.maxHeadersCount)
    if (p < 0) return p === INCOMPLETE ? INCOMPLETE : REFUSED
    const { preserveCase } = this.settings
    if (preserveCase !== undefined) head.spelling = rememberSpelling(src, lines, p, preserveCase === 'proper')
    head.wireSize = p - lines - 2 - head.lines
    if (p - pos > this.maxSize) return REFUSED
    return this.examine(head) ? p : REFUSED
  }

  rejectFirst(byte: number): boolean {
    return byte !== 72
  }

  rejectSize(): void {}

  /** `HTTP/1.1 200 OK`; the reason may be missing, and is dropped anyway. */
  private statusLine(src: Buffer, pos: number, end: number, head: ResponseHead): number {
    // Fast: `HTTP/1.1 ` and three digits, the first not 0.
    if (end - pos < 14) return this.oddStatusLine(src, pos, end, head)
    const a = src[pos + 9]! - 48
    const b = src[pos + 10]! - 48
    const c = src[pos + 11]! - 48
    const after = src[pos + 12]!
    if (
      a < 1 ||
      a > 9 ||
      b < 0 ||
      b > 9 ||
      c < 0 ||
      c > 9 ||
      (after !== SP && after !== CR) ||
      src[pos + 8] !== SP ||
      src[pos + 7] !== 49 ||
      src[pos + 6] !== 46 ||
      src[pos + 5] !== 49 ||
      src[pos + 4] !== 47 ||
      src[pos + 3] !== 80 ||
      src[pos + 2] !== 84 ||
      src[pos + 1] !== 84 ||
      src[pos] !== 72
    ) {
      return this.oddStatusLine(src, pos, end, head)
    }
    head.status = a * 100 + b * 10 + c
    this.version = 11
    let p = pos + 12
    for (; p < end; p++) {
      const r = src[p]!
      if (valueChar[r] !== 0 || r === CR) continue
      return r === LF ? p + 1 : REFUSED
    }
    return INCOMPLETE
  }

  private oddStatusLine(src: Buffer, pos: number, end: number, head: ResponseHead): number {
    let p = pos
    while (p < end && src[p] !== LF) p++
    if (p === end) return INCOMPLETE
    const match = /^HTTP\/(\d\.\d)[ \t]+([1-9]\d{2,3})(?:[ \t\r][\t\r -~\x80-\xff]*)?$/.exec(latin1(src, pos, p))
    if (match === null) return REFUSED
    this.version = match[1] === '1.1' ? 11 : 10
    head.status = Number(match[2])
    return p + 1
  }

  private examine(head: ResponseHead): boolean {
    if (head.repeated) joinRepeated(head, responseSingles)
    this.contentLength = NO_LENGTH
    this.chunked = false
    const length = head.find(CONTENT_LENGTH, 0)
    if (length >= 0) {
      this.contentLength = head.unsignedAt(length)
      if (this.contentLength < 0) return false
    }
    const encoding = head.get(TRANSFER_ENCODING)
    if (encoding !== undefined) {
      if (encoding.toLowerCase() !== 'chunked') return false
      this.chunked = true
      if (length >= 0) {
        if (!this.settings.allowChunkedLength) return false
        head.remove(CONTENT_LENGTH)
        this.contentLength = NO_LENGTH
      }
    }
    if (head.status < 200 || head.status === 204) {
      if (this.chunked || this.contentLength > 0) return false
      if (length >= 0) head.remove(CONTENT_LENGTH)
    }
    this.closes = closesConnection(head, this.version)
    return true
  }
}
