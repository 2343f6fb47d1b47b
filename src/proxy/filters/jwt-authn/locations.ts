import type { JwtProvider } from '#gen/envoy/extensions/filters/http/jwt_authn/v3/config_pb.js'
import { type HeaderName, headerName, type RequestHead } from '../../http/headers.ts'
import { cookieValue } from '../../http/router/hash-policy.ts'
import { decodedQuery, withQuery } from '../header-mutation-query.ts'

/** Where tokens are looked for. Several providers may share a place: then each one's issuers may use it. */
export interface Location {
  /** Issuers whose tokens may be here; undefined: any. */
  readonly issuers: ReadonlySet<string> | undefined
  /** Takes the token out of the request. */
  remove(head: RequestHead): void
}

/** A token, a character per byte, and where it was found. */
export interface FoundToken {
  readonly text: string
  readonly location: Location
}

/** Characters that a token may begin with. */
const TOKEN_START = /[A-Za-z0-9\-_.]/g

abstract class Place implements Location {
  issuers: Set<string> | undefined = new Set()

  /** No issuer stands for all of them. */
  allow(issuer: string): void {
    if (issuer === '') this.issuers = undefined
    else this.issuers?.add(issuer)
  }

  abstract remove(head: RequestHead): void
}

class HeaderPlace extends Place {
  readonly name: HeaderName
  private readonly prefix: string

  constructor(name: string, prefix: string) {
    super()
    this.name = headerName(name)
    this.prefix = prefix
  }

  /** The token in a header's value: what follows the prefix, wherever that is. */
  token(value: string): string | undefined {
    if (this.prefix === '') return value
    const at = value.indexOf(this.prefix)
    if (at < 0) return undefined
    TOKEN_START.lastIndex = at + this.prefix.length
    const start = TOKEN_START.exec(value)
    return start === null ? value : value.slice(start.index)
  }

  remove(head: RequestHead): void {
    head.remove(this.name)
  }
}

class ParamPlace extends Place {
  readonly name: string

  constructor(name: string) {
    super()
    this.name = name
  }

  remove(head: RequestHead): void {
    const query = decodedQuery(head.path)
    query.delete(this.name)
    head.path = withQuery(head.path, query)
  }
}

/** Envoy does not take tokens out of cookies. */
class CookiePlace extends Place {
  remove(): void {}
}

/** Finds the tokens of one provider or of several (source/extensions/filters/http/jwt_authn/extractor.cc). */
export class Extractor {
  private readonly headers: readonly HeaderPlace[]
  private readonly params: readonly ParamPlace[]
  private readonly cookies: readonly (readonly [string, CookiePlace])[]
  /** Headers that only the filter may set. */
  readonly ownHeaders: readonly HeaderName[]

  constructor(providers: readonly JwtProvider[]) {
    const headers = new Map<string, HeaderPlace>()
    const params = new Map<string, ParamPlace>()
    const cookies = new Map<string, CookiePlace>()
    for (const { issuer, fromHeaders, fromParams, fromCookies } of providers) {
      const byDefault = fromHeaders.length + fromParams.length + fromCookies.length === 0
      const fromHeadersToo = byDefault ? [{ name: 'authorization', valuePrefix: 'Bearer ' }] : fromHeaders
      for (const { name, valuePrefix } of fromHeadersToo) {
        const prefix = Buffer.from(valuePrefix, 'utf8').toString('latin1')
        const lower = name.toLowerCase()
        placeOf(headers, lower + prefix, () => new HeaderPlace(lower, prefix)).allow(issuer)
      }
      for (const name of byDefault ? ['access_token'] : fromParams) {
        const bytes = Buffer.from(name, 'utf8').toString('latin1')
        placeOf(params, bytes, () => new ParamPlace(bytes)).allow(issuer)
      }
      for (const name of fromCookies) placeOf(cookies, name, () => new CookiePlace()).allow(issuer)
    }
    this.headers = sorted(headers).map(([, place]) => place)
    this.params = sorted(params).map(([, place]) => place)
    this.cookies = sorted(cookies)
    this.ownHeaders = ownHeaders(providers)
  }

  /** The tokens of a request, in the order of places; the last one is to be looked at first. */
  extract(head: RequestHead): FoundToken[] {
    const found: FoundToken[] = []
    for (const location of this.headers) {
      for (let i = head.find(location.name, 0); i >= 0; i = head.find(location.name, i + 1)) {
        const text = location.token(head.valueAt(i))
        if (text !== undefined) found.push({ text, location })
      }
    }
    if (this.params.length > 0 && head.path.includes('?')) {
      const query = decodedQuery(head.path)
      for (const location of this.params) {
        const text = query.get(location.name)?.[0]
        if (text !== undefined) found.push({ text, location })
      }
    }
    for (const [name, location] of this.cookies) {
      const text = cookieValue(head, name)
      if (text !== undefined) found.push({ text, location })
    }
    return found
  }

  /** Takes out what a client put where the filter alone may write. */
  sanitize(head: RequestHead): void {
    for (const name of this.ownHeaders) head.remove(name)
  }
}

/** The headers that payloads and claims of these providers go to. */
export function ownHeaders(providers: readonly JwtProvider[]): HeaderName[] {
  const names = providers.flatMap(({ forwardPayloadHeader, claimToHeaders }) => [
    ...(forwardPayloadHeader === '' ? [] : [forwardPayloadHeader]),
    ...claimToHeaders.map((claim) => claim.headerName),
  ])
  return [...new Set(names.map(headerName))]
}

function placeOf<T>(places: Map<string, T>, key: string, make: () => T): T {
  let place = places.get(key)
  if (place === undefined) {
    place = make()
    places.set(key, place)
  }
  return place
}

function sorted<T>(places: ReadonlyMap<string, T>): (readonly [string, T])[] {
  return [...places].sort(([a], [b]) => (a < b ? -1 : 1))
}
