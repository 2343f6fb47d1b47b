import type { Runtime } from '../../runtime.ts'
import type { ResponseHead } from '../http/headers.ts'

/** How names are written: as they are kept, or `X-Request-Id` (header_key_format.proper_case_words). */
export type HeaderCase = 'lower' | 'proper'

/** What both sides of the codec are told (envoy/http/codec.h Http1Settings). */
export interface Http1Limits {
  /** Bytes of a message head as it came, first line and line ends included, in KiB. Default 60, for responses 80. */
  readonly maxHeadersKb: number
  /** Lines of a message head, Host included. Default 100. */
  readonly maxHeadersCount: number
  /** Keep trailers of chunked bodies; else they are dropped. Default false. */
  readonly enableTrailers: boolean
  /** Take `content-length` beside `transfer-encoding: chunked`, and ignore it. Default false: 400. */
  readonly allowChunkedLength: boolean
  readonly headerCase: HeaderCase
  /** Remember how names were spelt, so that the other side spells them alike; names of the proxy's own are then as it says. */
  readonly preserveCase?: HeaderCase | undefined
  /** Bytes that may wait for a slow peer before `sendData` answers false. Default 1 MiB; 0 is no limit. */
  readonly bufferLimit: number
}

/** What a server connection is told. */
export interface Http1Settings extends Http1Limits {
  readonly runtime: Runtime
  /** Take HTTP/1.0 (and any version that is not 1.1); else 426. Default false. */
  readonly acceptHttp10: boolean
  /** Authority of HTTP/1.0 requests that have none. Default ''. */
  readonly defaultHostForHttp10: string
  /** Take `GET http://host/path`; else the whole target stays the path. Default true. */
  readonly allowAbsoluteUrl: boolean
  /** Refuse `https://` targets on a plaintext connection with 403. Default false. */
  readonly refuseHttpsOnPlaintext: boolean
  /** What to do with names that have an underscore. Default 'allow'. */
  readonly underscores: 'allow' | 'reject' | 'drop'
  /** Upgrade offers that are taken out of requests, by protocol name. Default none. */
  readonly ignoredUpgrades: readonly { matches(protocol: string): boolean }[]
  /** How long a connection closed after a response waits for the peer to close, ms. Default 1000; 0 does not wait. */
  readonly delayedCloseMs: number
  /**
   * Adds what every response of this listener has (date, server, via) to a reply of the codec's own.
   * `connection: close` is added behind it.
   */
  readonly decorate: (head: ResponseHead) => void
}

/** What a client connection is told. */
export type Http1ClientSettings = Http1Limits

/** Envoy's defaults. `decorate` does nothing. */
export function http1Settings(runtime: Runtime, changes: Partial<Http1Settings> = {}): Http1Settings {
  return {
    ...http1ClientSettings(),
    maxHeadersKb: 60,
    runtime,
    acceptHttp10: false,
    defaultHostForHttp10: '',
    allowAbsoluteUrl: true,
    refuseHttpsOnPlaintext: false,
    underscores: 'allow',
    ignoredUpgrades: [],
    delayedCloseMs: 1000,
    decorate: () => {},
    ...changes,
  }
}

/** Envoy's defaults for the upstream side. */
export function http1ClientSettings(changes: Partial<Http1ClientSettings> = {}): Http1ClientSettings {
  return {
    maxHeadersKb: 80,
    maxHeadersCount: 100,
    enableTrailers: false,
    allowChunkedLength: false,
    headerCase: 'lower',
    bufferLimit: 1024 * 1024,
    ...changes,
  }
}
