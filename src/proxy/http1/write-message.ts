import { copyBytes, writeValue } from '../http/bytes.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../http/headers.ts'
import type { ByteOutput } from './byte-output.ts'
import { CR, LF, SP } from './chars.ts'
import { statusLine } from './reasons.ts'
import type { HeaderCase } from './settings.ts'
import { respell } from './spelling.ts'

/** How the codec frames a body; the last line it adds to a head. */
export const Framing = { NONE: 0, EMPTY: 1, CHUNKED: 2 } as const

const framingLines: Readonly<Record<HeaderCase, readonly Buffer[]>> = {
  lower: ['\r\n', 'content-length: 0\r\n\r\n', 'transfer-encoding: chunked\r\n\r\n'].map((t) => Buffer.from(t)),
  proper: ['\r\n', 'Content-Length: 0\r\n\r\n', 'Transfer-Encoding: chunked\r\n\r\n'].map((t) => Buffer.from(t)),
}
const hostNames: Readonly<Record<HeaderCase, Buffer>> = { lower: Buffer.from('host: '), proper: Buffer.from('Host: ') }
const version = Buffer.from(' HTTP/1.1\r\n')
const methodBytes = new Map<string, Buffer>()

/** Writes a request head. `host` comes first, then the lines, then the framing. */
export function writeRequestHead(out: ByteOutput, head: RequestHead, framing: number, headerCase: HeaderCase): void {
  const { spelling } = head
  const style = spelling === undefined ? headerCase : 'lower'
  const room = head.method.length + 3 * (head.path.length + head.authority.length) + head.linesSize() + 80
  const chunk = out.reserve(room)
  const to = chunk.buf
  const start = chunk.end
  let p = copyBytes(bytesOfMethod(head.method), 0, head.method.length, to, start)
  to[p++] = SP
  // CONNECT names its target by authority alone.
  p = writeValue(head.method === 'CONNECT' && head.path === '' ? head.authority : head.path, to, p)
  p = copyBytes(version, 0, version.length, to, p)
  const lines = p
  if (head.hasAuthority) {
    p = copyBytes(hostNames[style], 0, 6, to, p)
    p = writeValue(head.authority, to, p)
    to[p++] = CR
    to[p++] = LF
  }
  p = copyLines(head, to, p, style)
  const last = framingLines[style][framing]!
  p = copyBytes(last, 0, last.length, to, p)
  if (spelling !== undefined) respell(to, lines, p, spelling)
  chunk.end = p
  head.wireSize = p - lines - 2
  out.commit(p - start)
}

/** A status line whose reason phrase is not the usual one. */
const ownLine = (head: ResponseHead, version: 10 | 11): Buffer =>
  Buffer.from(`HTTP/1.${version - 10} ${head.status} ${head.reason.replace(/[\r\n\0]/g, '')}\r\n`, 'latin1')

/** Writes a response head. */
export function writeResponseHead(
  out: ByteOutput,
  head: ResponseHead,
  httpVersion: 10 | 11,
  framing: number,
  headerCase: HeaderCase,
): void {
  const { spelling } = head
  const style = spelling === undefined ? headerCase : 'lower'
  const line = head.reason === '' ? statusLine(head.status, httpVersion) : ownLine(head, httpVersion)
  const chunk = out.reserve(line.length + head.linesSize() + 40)
  const start = chunk.end
  let p = copyBytes(line, 0, line.length, chunk.buf, start)
  p = copyLines(head, chunk.buf, p, style)
  const last = framingLines[style][framing]!
  p = copyBytes(last, 0, last.length, chunk.buf, p)
  if (spelling !== undefined) respell(chunk.buf, start + line.length, p, spelling)
  chunk.end = p
  head.wireSize = p - start - line.length - 2
  out.commit(p - start)
}

/** The most body bytes put into one buffer. */
const maxPiece = 64 * 1024

/** Writes part of a body, as a chunk if `chunked`; `end`: and what ends a chunked body. False above the high-water mark. */
export function writeBody(out: ByteOutput, bytes: Uint8Array, chunked: boolean, end: boolean): boolean {
  let room = true
  let at = 0
  while (at < bytes.length) {
    const n = Math.min(bytes.length - at, maxPiece)
    const chunk = out.reserve(n + 24)
    const to = chunk.buf
    const start = chunk.end
    let p = start
    if (chunked) p = writeSize(n, to, p)
    to.set(n === bytes.length ? bytes : bytes.subarray(at, at + n), p)
    p += n
    if (chunked) {
      to[p++] = CR
      to[p++] = LF
    }
    at += n
    if (chunked && end && at === bytes.length) p = writeLastChunk(to, p)
    chunk.end = p
    room = out.commit(p - start)
  }
  if (chunked && end && bytes.length === 0) {
    const chunk = out.reserve(8)
    const start = chunk.end
    chunk.end = writeLastChunk(chunk.buf, start)
    room = out.commit(chunk.end - start)
  }
  return room
}

/** Ends a chunked body with trailers. */
export function writeTrailers(out: ByteOutput, trailers: HeaderMap, style: HeaderCase): void {
  const chunk = out.reserve(trailers.linesSize() + 8)
  const start = chunk.end
  let p = start
  chunk.buf[p++] = 48
  chunk.buf[p++] = CR
  chunk.buf[p++] = LF
  p = copyLines(trailers, chunk.buf, p, style)
  chunk.buf[p++] = CR
  chunk.buf[p++] = LF
  chunk.end = p
  out.commit(p - start)
}

function copyLines(head: HeaderMap, to: Buffer, at: number, style: HeaderCase): number {
  const end = head.copyLines(to, at)
  if (style === 'proper') capitalise(to, at, end)
  return end
}

/** Upper case for the first letter of each word of each name. */
function capitalise(to: Buffer, at: number, end: number): void {
  let first = true
  let inName = true
  for (let p = at; p < end; p++) {
    const c = to[p]!
    if (c === LF) {
      inName = true
      first = true
    } else if (inName && c === 58) {
      inName = false
    } else if (inName) {
      if (first && c >= 97 && c <= 122) to[p] = c - 32
      first = c === 45
    }
  }
}

function writeSize(n: number, to: Buffer, at: number): number {
  let digits = 1
  for (let rest = n >>> 4; rest > 0; rest >>>= 4) digits++
  for (let k = digits - 1, rest = n; k >= 0; k--, rest >>>= 4) {
    const d = rest & 15
    to[at + k] = d < 10 ? 48 + d : 87 + d
  }
  to[at + digits] = CR
  to[at + digits + 1] = LF
  return at + digits + 2
}

function writeLastChunk(to: Buffer, at: number): number {
  to[at] = 48
  to[at + 1] = CR
  to[at + 2] = LF
  to[at + 3] = CR
  to[at + 4] = LF
  return at + 5
}

function bytesOfMethod(method: string): Buffer {
  let bytes = methodBytes.get(method)
  if (bytes === undefined) {
    bytes = Buffer.from(method, 'latin1')
    if (methodBytes.size < 100) methodBytes.set(method, bytes)
  }
  return bytes
}
