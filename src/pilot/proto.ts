import type { JsonObject } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import { parseDuration } from '../api/duration.ts'
import { packed } from '../xds/messages.ts'

/** A Duration as messages take it. */
export interface DurationInit {
  seconds: bigint
  nanos: number
}

/** No time at all: where Envoy reads it as «no timeout». */
export const ZERO: DurationInit = { seconds: 0n, nanos: 0 }

/** A Duration of so many milliseconds. */
export function millis(ms: number): DurationInit {
  const nanos = Math.round(ms * 1e6)
  const seconds = Math.trunc(nanos / 1e9)
  return { seconds: BigInt(seconds), nanos: nanos - seconds * 1e9 }
}

/** A Duration from Go's notation; undefined stays undefined. */
export function duration(text: string): DurationInit
export function duration(text: string | undefined): DurationInit | undefined
export function duration(text: string | undefined): DurationInit | undefined {
  return text === undefined ? undefined : millis(parseDuration(text))
}

/** Whole seconds of a duration in Go's notation. */
export const seconds = (text: string): number => Math.trunc(parseDuration(text) / 1000)

/** Makes a value at its first use, once. */
export function lazy<T>(make: () => T): () => T {
  let value: T | undefined
  return () => {
    value ??= make()
    return value
  }
}

/** A TypedStruct: how istiod configures filters whose types it does not link (protoconv.TypedStructWithFields). */
export function typedStruct(typeUrl: string, value: JsonObject): Any {
  return packed('udpa.type.v1.TypedStruct', { typeUrl, value })
}

/** A socket address. */
export const socketAddress = (address: string, port: number) =>
  ({
    address: { case: 'socketAddress', value: { address, portSpecifier: { case: 'portValue', value: port } } },
  }) as const

/** A socket address, or the path of a unix socket when there is no port. */
export const addressOf = (bind: string, port: number) =>
  port === 0
    ? ({ address: { case: 'pipe', value: { path: bind.replace(/^unix:\/\//, '') } } } as const)
    : socketAddress(bind, port)

/** Where resources come from: the same aggregated stream. */
export const ADS = {
  configSourceSpecifier: { case: 'ads', value: {} },
  resourceApiVersion: 2,
} as const

/** The same, waited for without end. */
export const ADS_WAITING = { ...ADS, initialFetchTimeout: ZERO } as const

/** A cidr of an address or a prefix; undefined for neither. */
export function cidr(text: string): { addressPrefix: string; prefixLen: number } | undefined {
  const [addressPrefix = '', bits] = text.split('/')
  if (addressPrefix === '') return undefined
  return { addressPrefix, prefixLen: bits === undefined ? (addressPrefix.includes(':') ? 128 : 32) : Number(bits) }
}
