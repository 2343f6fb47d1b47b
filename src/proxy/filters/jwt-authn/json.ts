import { isUtf8 } from 'node:buffer'

/** A value of a `google.protobuf.Struct`. Objects have no prototype, so that no claim is inherited. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject

/** A `google.protobuf.Struct`. */
export interface JsonObject {
  readonly [name: string]: Json
}

/** How deep values may be nested. */
const MAX_DEPTH = 100

const OBJECT = 0x7b
const OBJECT_END = 0x7d
const ARRAY = 0x5b
const ARRAY_END = 0x5d
const COMMA = 0x2c
const COLON = 0x3a
const QUOTE = 0x22
const APOSTROPHE = 0x27
const BACKSLASH = 0x5c

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const WORD = /[A-Za-z_][A-Za-z0-9_]*/y
const ESCAPES: ReadonlyMap<number, number> = new Map(
  Object.entries({ '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', "'": "'" }).map(
    ([letter, meaning]) => [letter.charCodeAt(0), meaning.charCodeAt(0)],
  ),
)

class Malformed extends Error {}

/**
 * Reads JSON into a Struct as protobuf's C++ library does for Envoy, old leniencies included (protobuf
 * json/internal/lexer.cc with allow_legacy_syntax): apostrophes, bare words as names, a comma at the end; a name that
 * comes twice is an error, and so are nesting beyond 100, numbers beyond doubles and lone surrogates. Undefined when it is
 * none.
 */
export function parseStruct(bytes: Uint8Array): JsonObject | undefined {
  if (!isUtf8(bytes)) return undefined
  try {
    return new Reader(bytes).document()
  } catch (e) {
    if (e instanceof Malformed) return undefined
    throw e
  }
}

/** A reader of one text, byte by byte; `text` is the same with a character per byte. */
class Reader {
  private readonly text: string
  private at = 0
  private depth = 0

  constructor(bytes: Uint8Array) {
    this.text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
  }

  document(): JsonObject {
    // `null` stands for a Struct without fields.
    const value = this.peek() === 0x6e ? this.word('null', emptyObject()) : this.object()
    this.skipBlanks()
    if (this.at < this.text.length) this.fail()
    return value
  }

  private value(): Json {
    const c = this.peek()
    switch (c) {
      case OBJECT:
        return this.object()
      case ARRAY:
        return this.array()
      case QUOTE:
      case APOSTROPHE:
        return this.string()
      case 0x74:
        return this.word('true', true)
      case 0x66:
        return this.word('false', false)
      case 0x6e:
        return this.word('null', null)
      default:
        return this.number()
    }
  }

  private object(): JsonObject {
    this.expect(OBJECT)
    this.enter()
    const out = emptyObject()
    if (!this.take(OBJECT_END)) {
      let more = true
      do {
        if (!more) this.fail()
        const name = this.name()
        this.expect(COLON)
        if (Object.hasOwn(out, name)) this.fail()
        out[name] = this.value()
        more = this.take(COMMA)
      } while (!this.take(OBJECT_END))
    }
    this.depth--
    return out
  }

  private array(): readonly Json[] {
    this.expect(ARRAY)
    this.enter()
    const out: Json[] = []
    if (!this.take(ARRAY_END)) {
      let more = true
      do {
        if (!more) this.fail()
        out.push(this.value())
        more = this.take(COMMA)
      } while (!this.take(ARRAY_END))
    }
    this.depth--
    return out
  }

  private name(): string {
    const c = this.peek()
    if (c === QUOTE || c === APOSTROPHE) return this.string()
    const word = this.match(WORD)
    if (word === undefined || word === 'null' || word === 'true' || word === 'false') this.fail()
    return word
  }

  private number(): number {
    const digits = this.match(NUMBER)
    if (digits === undefined) this.fail()
    const value = Number(digits)
    const next = this.peek()
    if (!Number.isFinite(value) || (next !== COMMA && next !== OBJECT_END && next !== ARRAY_END)) this.fail()
    return value
  }

  private word<T>(word: string, value: T): T {
    if (!this.text.startsWith(word, this.at)) this.fail()
    this.at += word.length
    return value
  }

  /** A string in either kind of quotes. Control characters may stand in it as they are. */
  private string(): string {
    const { text } = this
    const quote = this.peek()
    let from = ++this.at
    let out = ''
    for (;;) {
      const c = text.charCodeAt(this.at)
      if (Number.isNaN(c)) this.fail()
      if (c === quote) break
      this.at++
      if (c === BACKSLASH) {
        out += utf8(text.slice(from, this.at - 1)) + this.escape()
        from = this.at
      }
    }
    out += utf8(text.slice(from, this.at++))
    return out
  }

  private escape(): string {
    const c = this.text.charCodeAt(this.at++)
    if (c !== 0x75 && c !== 0x55) {
      const plain = ESCAPES.get(c)
      if (plain === undefined) this.fail()
      return String.fromCharCode(plain)
    }
    const high = this.hex()
    if (high >= 0xdc00 && high <= 0xdfff) this.fail()
    if (high < 0xd800 || high > 0xdbff) return String.fromCharCode(high)
    this.skipBlanks()
    this.word('\\u', undefined)
    const low = this.hex()
    if (low < 0xdc00 || low > 0xdfff) this.fail()
    return String.fromCharCode(high, low)
  }

  private hex(): number {
    const digits = this.text.slice(this.at, this.at + 4)
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) this.fail()
    this.at += 4
    return Number.parseInt(digits, 16)
  }

  private enter(): void {
    if (++this.depth > MAX_DEPTH) this.fail()
  }

  private match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at
    const found = pattern.exec(this.text)?.[0]
    if (found !== undefined) this.at += found.length
    return found
  }

  /** The next byte that is no blank; NaN at the end. */
  private peek(): number {
    this.skipBlanks()
    return this.text.charCodeAt(this.at)
  }

  private take(byte: number): boolean {
    if (this.peek() !== byte) return false
    this.at++
    return true
  }

  private expect(byte: number): void {
    if (!this.take(byte)) this.fail()
  }

  private skipBlanks(): void {
    for (;;) {
      const c = this.text.charCodeAt(this.at)
      if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return
      this.at++
    }
  }

  private fail(): never {
    throw new Malformed()
  }
}

function emptyObject(): { [name: string]: Json } {
  return Object.create(null) as { [name: string]: Json }
}

/** Bytes in characters to the text they stand for. */
function utf8(bytes: string): string {
  for (let i = 0; i < bytes.length; i++) {
    if (bytes.charCodeAt(i) >= 0x80) return Buffer.from(bytes, 'latin1').toString('utf8')
  }
  return bytes
}
