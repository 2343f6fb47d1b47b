import type { StatefulSession } from '#gen/envoy/extensions/filters/http/stateful_session/v3/stateful_session_pb.js'
import type { CookieBasedSessionState } from '#gen/envoy/extensions/http/stateful_session/cookie/v3/cookie_pb.js'
import type { HeaderBasedSessionState } from '#gen/envoy/extensions/http/stateful_session/header/v3/header_pb.js'
import { typeNameOf, unpack } from '../../xds/messages.ts'
import { ConfigError } from '../context.ts'
import { durationMs } from '../http/config.ts'
import { headerName, type RequestHead, type ResponseHead } from '../http/headers.ts'
import { H } from '../http/names.ts'
import { cookieValue } from '../http/router/hash-policy.ts'

/** How a session is carried by requests and responses (source/extensions/http/stateful_session). */
export interface SessionState {
  /** Whether the request may be part of a session. */
  covers(head: RequestHead): boolean
  /** The address of the host that the request names. `now`: wall clock, ms; Envoy counts from when its machine started. */
  read(head: RequestHead, now: number): string | undefined
  /** Names the host that answered. */
  write(head: ResponseHead, address: string, now: number): void
}

const COOKIE = 'envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState'
const HEADER = 'envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState'
const TYPES: Readonly<Record<string, typeof COOKIE | typeof HEADER>> = {
  'envoy.http.stateful_session.cookie': COOKIE,
  'envoy.http.stateful_session.header': HEADER,
}

/** Compiles the session state; undefined: there is none, and the filter does nothing. Throws ConfigError. */
export function compileSessionState(config: StatefulSession): SessionState | undefined {
  if (config.sessionState === undefined) return undefined
  // As in Envoy, the name decides what it is.
  const { name, typedConfig } = config.sessionState
  const type = TYPES[name]
  if (type === undefined)
    throw new ConfigError([`session_state: Didn't find a registered implementation for name: '${name}'`])
  if (typedConfig === undefined || typeNameOf(typedConfig.typeUrl) !== type)
    throw new ConfigError([`session_state: Unable to unpack as ${type}`])
  return type === COOKIE ? compileCookie(unpack(typedConfig, COOKIE)!) : compileHeader(unpack(typedConfig, HEADER)!)
}

function compileCookie({ cookie }: CookieBasedSessionState): SessionState {
  if (cookie === undefined) throw new ConfigError(['session_state: cookie: value is required'])
  if (cookie.name === '')
    throw new ConfigError(['session_state: Cookie key cannot be empty for cookie based stateful sessions'])
  const ttl = Math.floor((durationMs(cookie.ttl) ?? 0) / 1000)
  let tail = ttl === 0 ? '' : `; Max-Age=${ttl}`
  if (cookie.path !== '') tail += `; Path=${cookie.path}`
  for (const { name, value } of cookie.attributes) tail += value === '' ? `; ${name}` : `; ${name}=${value}`
  return new CookieState(cookie.name, cookie.path, ttl, tail)
}

function compileHeader({ name }: HeaderBasedSessionState): SessionState {
  if (name === '')
    throw new ConfigError(['session_state: Header name cannot be empty for header based stateful sessions'])
  return new HeaderState(name)
}

/** A cookie with the address, and the time until which it counts, as a small protobuf message in base64. */
class CookieState implements SessionState {
  private readonly name: string
  private readonly path: string
  /** Seconds; 0: for as long as the client keeps it. */
  private readonly ttl: number
  private readonly tail: string

  constructor(name: string, path: string, ttl: number, tail: string) {
    this.name = name
    this.path = path
    this.ttl = ttl
    this.tail = tail
  }

  covers({ path }: RequestHead): boolean {
    if (this.path === '' || this.path === '/') return true
    if (!path.startsWith(this.path)) return false
    if (this.path.endsWith('/') || path.length === this.path.length) return true
    return '/?#'.includes(path[this.path.length]!)
  }

  read(head: RequestHead, now: number): string | undefined {
    const value = cookieValue(head, this.name)
    if (value === undefined || value === '') return undefined
    const bytes = fromBase64(value)
    const cookie = parseCookie(bytes)
    // What is no message is the address itself, as older versions wrote it.
    if (cookie === undefined) return bytes.length === 0 ? undefined : bytes.toString('utf8')
    if (cookie.expires !== 0 && Math.floor(now / 1000) > cookie.expires) return undefined
    return cookie.address === '' ? undefined : cookie.address
  }

  write(head: ResponseHead, address: string, now: number): void {
    const expires = this.ttl === 0 ? 0 : Math.floor(now / 1000) + this.ttl
    head.add(H.setCookie, `${this.name}="${encodeCookie(address, expires).toString('base64')}"${this.tail}; HttpOnly`)
  }
}

/** A header with the address in base64, both ways. */
class HeaderState implements SessionState {
  private readonly name: ReturnType<typeof headerName>

  constructor(name: string) {
    this.name = headerName(name.toLowerCase())
  }

  covers(): boolean {
    return true
  }

  read(head: RequestHead): string | undefined {
    const value = head.get(this.name)
    const bytes = value === undefined ? undefined : fromBase64(value)
    return bytes === undefined || bytes.length === 0 ? undefined : bytes.toString('utf8')
  }

  write(head: ResponseHead, address: string): void {
    head.set(this.name, Buffer.from(address).toString('base64'))
  }
}

/** Nothing where the text is no base64, with its padding. */
function fromBase64(text: string): Buffer {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return Buffer.alloc(0)
  return Buffer.from(text, 'base64')
}

/** message Cookie { string address = 1; int64 expires = 2; } */
function encodeCookie(address: string, expires: number): Buffer {
  const text = Buffer.from(address)
  const time = expires === 0 ? [] : [0x10, ...varint(expires)]
  return Buffer.concat([Buffer.from([0x0a, ...varint(text.length)]), text, Buffer.from(time)])
}

function varint(n: number): number[] {
  const out: number[] = []
  for (let left = n; ; left = Math.floor(left / 128)) {
    if (left < 128) return [...out, left]
    out.push((left % 128) | 0x80)
  }
}

interface CookieMessage {
  address: string
  expires: number
}

/** Undefined where the bytes are no such message. */
function parseCookie(bytes: Buffer): CookieMessage | undefined {
  const cookie: CookieMessage = { address: '', expires: 0 }
  let at = 0
  const number = (): number | undefined => {
    let value = 0
    for (let scale = 1; at < bytes.length; scale *= 128) {
      const byte = bytes[at++]!
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
    return undefined
  }
  while (at < bytes.length) {
    const tag = number()
    if (tag === undefined || tag < 8) return undefined
    const field = Math.floor(tag / 8)
    const wire = tag % 8
    if (wire === 0) {
      const value = number()
      if (value === undefined) return undefined
      if (field === 2) cookie.expires = value
      continue
    }
    const length = wire === 2 ? number() : wire === 1 ? 8 : wire === 5 ? 4 : undefined
    if (length === undefined || at + length > bytes.length) return undefined
    if (wire === 2 && field === 1) cookie.address = bytes.toString('utf8', at, at + length)
    at += length
  }
  return cookie
}
