import type { Spelling } from '../http1/spelling.ts'
import { copyBytes, latin1, writeValue } from './bytes.ts'
import type { HeaderName } from './header-name.ts'

export { HeaderName, headerName } from './header-name.ts'

/** Numbers kept per line: hash of the name, offset of the line, length of the name, length of the value. */
const stride = 4

/**
 * Header lines as bytes. All lines live in one buffer in canonical form (`name: value\r\n`, name in lower
 * case); an index says where each one is, in wire order. Lookups compare hashes and then bytes, changes
 * write new lines behind the old ones, and sending copies each unbroken run of lines at once: a map nobody
 * changed leaves with a single copy.
 *
 * The fields below the public ones belong to the codecs.
 */
export class HeaderMap {
  /**
   * Bytes of the header lines, as received (a line end counted once) or as sent last; 0 if neither. First line and
   * empty line are not counted: what Envoy's bytes meter calls header bytes.
   */
  wireSize = 0
  /** Lines, and whatever a subclass keeps beside them. */
  buf: Buffer
  /** Bytes of `buf` in use. */
  used = 0
  index: Int32Array
  /** Number of lines. */
  lines = 0
  /** Union of the `bit`s of all names; bits of removed lines may stay. */
  bits = 0
  /** Two lines the parser entered have the same hash: a name came twice. */
  repeated = false
  /** How the names were spelt when they came, where the codec was told to remember. */
  spelling: Spelling | undefined = undefined

  constructor(capacity = 512) {
    this.buf = Buffer.allocUnsafeSlow(capacity)
    this.index = new Int32Array(24 * stride)
  }

  /** Value of the first line of that name (latin1); undefined if there is none. */
  get(n: HeaderName): string | undefined {
    const i = this.find(n, 0)
    return i < 0 ? undefined : this.valueAt(i)
  }

  /** Values of all lines of that name, in wire order. */
  values(n: HeaderName): string[] {
    const out: string[] = []
    for (let i = this.find(n, 0); i >= 0; i = this.find(n, i + 1)) out.push(this.valueAt(i))
    return out
  }

  has(n: HeaderName): boolean {
    return this.find(n, 0) >= 0
  }

  /** Makes it the only line of that name: in the place of the first, or at the end. */
  set(n: HeaderName, value: string): void {
    const i = this.find(n, 0)
    if (i < 0) {
      this.add(n, value)
      return
    }
    for (let k = this.find(n, i + 1); k >= 0; k = this.find(n, k)) this.removeAt(k)
    this.writeLine(i, n, value)
  }

  /** Another line at the end. Control characters that would break the line are left out. */
  add(n: HeaderName, value: string): void {
    this.growIndex()
    this.writeLine(this.lines++, n, value)
    this.bits |= n.bit
  }

  /** Removes all lines of that name; false if there was none. */
  remove(n: HeaderName): boolean {
    let i = this.find(n, 0)
    if (i < 0) return false
    for (; i >= 0; i = this.find(n, i)) this.removeAt(i)
    return true
  }

  /** Lines in wire order. */
  forEach(fn: (name: string, value: string) => void): void {
    for (let i = 0; i < this.lines; i++) fn(this.nameAt(i), this.valueAt(i))
  }

  /** Number of lines. */
  get count(): number {
    return this.lines
  }

  /** Bytes of names and values, as Envoy's HeaderMap::byteSize counts them. */
  get byteSize(): number {
    return this.namesAndValues()
  }

  /** A copy that shares nothing with this one. */
  clone(): HeaderMap {
    const copy = new HeaderMap(this.used + 128)
    this.copyTo(copy)
    return copy
  }

  /** Whether any line of that name has `token` (lower case) in its comma-separated list. */
  hasToken(n: HeaderName, token: string): boolean {
    for (let i = this.find(n, 0); i >= 0; i = this.find(n, i + 1)) {
      for (const part of this.valueAt(i).split(',')) if (part.trim().toLowerCase() === token) return true
    }
    return false
  }

  /** Forgets all lines, keeps the buffer. */
  clear(): void {
    this.wireSize = 0
    this.used = 0
    this.lines = 0
    this.bits = 0
    this.repeated = false
    this.spelling = undefined
  }

  /** Index of the first line of that name at or after `from`; -1 if there is none. */
  find(n: HeaderName, from: number): number {
    if ((this.bits & n.bit) === 0) return -1
    const index = this.index
    const hash = n.hash
    for (let i = from; i < this.lines; i++) {
      if (index[i * stride] === hash && this.nameIs(i, n.bytes)) return i
    }
    return -1
  }

  hashAt(i: number): number {
    return this.index[i * stride]!
  }

  nameAt(i: number): string {
    const at = this.index[i * stride + 1]!
    return latin1(this.buf, at, at + this.index[i * stride + 2]!)
  }

  valueAt(i: number): string {
    const at = this.index[i * stride + 1]! + this.index[i * stride + 2]! + 2
    return latin1(this.buf, at, at + this.index[i * stride + 3]!)
  }

  /** The value as an unsigned 64-bit decimal number (rounded beyond 2^53); -1 if it is none. */
  unsignedAt(i: number): number {
    const length = this.index[i * stride + 3]!
    const at = this.index[i * stride + 1]! + this.index[i * stride + 2]! + 2
    if (length === 0) return -1
    let n = 0
    for (let k = at; k < at + length; k++) {
      const digit = this.buf[k]! - 48
      if (digit < 0 || digit > 9) return -1
      n = n * 10 + digit
    }
    return n < 2 ** 64 ? n : -1
  }

  /** Whether the value is this text, without making a string of it. */
  valueIs(i: number, text: string): boolean {
    if (this.index[i * stride + 3] !== text.length) return false
    const at = this.index[i * stride + 1]! + this.index[i * stride + 2]! + 2
    for (let k = 0; k < text.length; k++) if (this.buf[at + k] !== text.charCodeAt(k)) return false
    return true
  }

  removeAt(i: number): void {
    this.lines--
    const index = this.index
    const end = this.lines * stride
    // By hand: a native call costs more than moving a few dozen numbers.
    for (let k = i * stride; k < end; k++) index[k] = index[k + stride]!
  }

  /** Enters a line the parser has written to `buf`: `name: value\r\n` at `at`. */
  enter(hash: number, at: number, nameLength: number, valueLength: number): void {
    this.growIndex()
    const k = this.lines++ * stride
    this.index[k] = hash
    this.index[k + 1] = at
    this.index[k + 2] = nameLength
    this.index[k + 3] = valueLength
    const bit = 1 << (hash & 31)
    if ((this.bits & bit) !== 0 && !this.repeated) this.repeated = this.hasHash(hash)
    this.bits |= bit
  }

  /** Bytes of the names and values of all lines. */
  namesAndValues(): number {
    let sum = 0
    for (let i = 0; i < this.lines; i++) sum += this.index[i * stride + 2]! + this.index[i * stride + 3]!
    return sum
  }

  /** Bytes all lines take on the wire. */
  linesSize(): number {
    return this.namesAndValues() + 4 * this.lines
  }

  /** Copies all lines to `to` at `at`, one copy per unbroken run; returns the end. `to` must have room for `linesSize()`. */
  copyLines(to: Buffer, at: number): number {
    const index = this.index
    const end = this.lines * stride
    let k = 0
    let p = at
    while (k < end) {
      const start = index[k + 1]!
      let stop = start + index[k + 2]! + index[k + 3]! + 4
      k += stride
      while (k < end && index[k + 1] === stop) {
        stop += index[k + 2]! + index[k + 3]! + 4
        k += stride
      }
      p = copyBytes(this.buf, start, stop, to, p)
    }
    return p
  }

  /** Makes room for `more` bytes behind `used`. */
  ensure(more: number): void {
    if (this.used + more <= this.buf.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(this.buf.length * 2, this.used + more))
    grown.set(this.buf.subarray(0, this.used))
    this.buf = grown
  }

  protected copyTo(copy: HeaderMap): void {
    copy.ensure(this.used)
    copy.buf.set(this.buf.subarray(0, this.used))
    copy.used = this.used
    if (copy.index.length < this.index.length) copy.index = new Int32Array(this.index.length)
    copy.index.set(this.index)
    copy.lines = this.lines
    copy.bits = this.bits
    copy.wireSize = this.wireSize
    copy.spelling = this.spelling
  }

  private hasHash(hash: number): boolean {
    const end = (this.lines - 1) * stride
    for (let k = 0; k < end; k += stride) if (this.index[k] === hash) return true
    return false
  }

  private growIndex(): void {
    if ((this.lines + 1) * stride <= this.index.length) return
    const grown = new Int32Array(this.index.length * 2)
    grown.set(this.index)
    this.index = grown
  }

  private nameIs(i: number, bytes: Uint8Array): boolean {
    if (this.index[i * stride + 2] !== bytes.length) return false
    const at = this.index[i * stride + 1]!
    for (let k = 0; k < bytes.length; k++) if (this.buf[at + k] !== bytes[k]) return false
    return true
  }

  private writeLine(i: number, n: HeaderName, value: string): void {
    const name = n.bytes
    this.ensure(name.length + 3 * value.length + 4)
    const buf = this.buf
    const at = this.used
    let p = at
    for (let k = 0; k < name.length; k++) buf[p++] = name[k]!
    buf[p++] = 58
    buf[p++] = 32
    const from = p
    p = writeValue(value, buf, p)
    const k = i * stride
    this.index[k] = n.hash
    this.index[k + 1] = at
    this.index[k + 2] = name.length
    this.index[k + 3] = p - from
    buf[p++] = 13
    buf[p++] = 10
    this.used = p
  }
}

/**
 * The head of a request. `host` is no line of it but `authority`; the pseudo headers are fields. A head
 * that came from a connection is valid until its stream is complete: keep a `clone()` to keep it longer.
 */
export class RequestHead extends HeaderMap {
  method = 'GET'
  path = '/'
  /** `:authority`, which is HTTP/1's Host. */
  authority = ''
  /** False when the request named no host at all; `authority` is then empty. */
  hasAuthority = true
  /** Lower case; empty when the request did not say (HTTP/1 origin form): the connection manager sets it. */
  scheme = ''
  version: 10 | 11 | 20 = 11
  /** `:protocol` of an extended CONNECT; empty otherwise. */
  protocol = ''

  static create(method: string, path: string, authority: string): RequestHead {
    const head = new RequestHead()
    head.method = method
    head.path = path
    head.authority = authority
    return head
  }

  override get byteSize(): number {
    const pseudo = this.method.length + this.path.length + this.authority.length + this.scheme.length
    return this.namesAndValues() + pseudo + ':method:path:authority:scheme'.length
  }

  override clone(): RequestHead {
    const copy = new RequestHead(this.used + 128)
    this.copyTo(copy)
    copy.method = this.method
    copy.path = this.path
    copy.authority = this.authority
    copy.hasAuthority = this.hasAuthority
    copy.scheme = this.scheme
    copy.version = this.version
    copy.protocol = this.protocol
    return copy
  }
}

/** The head of a response. What an HTTP/1 upstream gave as reason phrase is dropped, as Envoy does. */
export class ResponseHead extends HeaderMap {
  status = 200
  /** Reason phrase that HTTP/1 clients get; empty: the one that belongs to the status. */
  reason = ''

  static create(status: number): ResponseHead {
    const head = new ResponseHead(256)
    head.status = status
    return head
  }

  /**
   * Gives the head back for reuse by a later response. Optional: whoever read it last (the connection
   * manager, after the log) may call it, once, when nobody will look at it again.
   */
  release(): void {
    if (free.length < freeLimit && this.buf.length <= 4096) free.push(this)
  }

  override get byteSize(): number {
    return this.namesAndValues() + ':status200'.length
  }

  override clone(): ResponseHead {
    const copy = new ResponseHead(this.used + 128)
    this.copyTo(copy)
    copy.status = this.status
    copy.reason = this.reason
    return copy
  }
}

const free: ResponseHead[] = []
const freeLimit = 256

/** An empty response head for a codec to fill: a released one if there is one. */
export function takeResponseHead(): ResponseHead {
  const head = free.pop()
  if (head === undefined) return new ResponseHead(1024)
  head.clear()
  head.status = 200
  head.reason = ''
  return head
}
