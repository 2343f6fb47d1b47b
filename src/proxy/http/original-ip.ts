import type { TypedExtensionConfig } from '#gen/envoy/config/core/v3/extension_pb.js'
import type { CustomHeaderConfig } from '#gen/envoy/extensions/http/original_ip_detection/custom_header/v3/custom_header_pb.js'
import type { XffConfig } from '#gen/envoy/extensions/http/original_ip_detection/xff/v3/xff_pb.js'
import { configTypeName, resolveTypedConfig } from '../../xds/typed-config.ts'
import { ConfigError } from '../context.ts'
import { bareIp, forwardedEntry, IpRanges } from './addresses.ts'
import { type HeaderName, headerName, type RequestHead } from './headers.ts'
import { H } from './names.ts'

/** What a detector makes of a request. */
export interface Detected {
  /** The client's address; undefined: the next detector is asked. */
  readonly ip: string | undefined
  /** The address may make the request an internal one. */
  readonly trusted: boolean
  /** Status to refuse the request with. */
  readonly reject: number | undefined
  /** The peer is appended to x-forwarded-for. */
  readonly append: boolean
}

/** Finds out where a request comes from (source/extensions/http/original_ip_detection); `peer` is the connection's. */
export type IpDetector = (head: RequestHead, peer: string) => Detected

/** Longest list of addresses that is read. */
const MOST_ENTRIES = 20
const FORBIDDEN = 403
const PACKAGE = 'envoy.extensions.http.original_ip_detection'

/** Compiles an entry of `original_ip_detection_extensions`. Throws ConfigError. */
export function compileIpDetector(extension: TypedExtensionConfig): IpDetector {
  const any = extension.typedConfig
  const type = any === undefined ? '' : configTypeName(any)
  if (any !== undefined && type === `${PACKAGE}.xff.v3.XffConfig`)
    return xff(resolveTypedConfig(any).message as XffConfig)
  if (any !== undefined && type === `${PACKAGE}.custom_header.v3.CustomHeaderConfig`) {
    return customHeader(resolveTypedConfig(any).message as CustomHeaderConfig)
  }
  throw new ConfigError([
    `original_ip_detection_extensions: Didn't find a registered implementation for '${extension.name}' with type URL: '${type}'`,
  ])
}

function xff(config: XffConfig): IpDetector {
  const append = config.skipXffAppend === false
  const cidrs = config.xffTrustedCidrs?.cidrs
  const hops = config.xffNumTrustedHops
  if (cidrs === undefined) {
    return (head) => {
      const list = head.get(H.xff)
      const ip = list === undefined ? undefined : bareIp(forwardedEntry(list, hops) ?? '')
      return { ip, trusted: ip !== undefined && !list!.includes(','), reject: undefined, append }
    }
  }
  if (hops > 0) throw new ConfigError(['Cannot set both xff_num_trusted_hops and xff_trusted_cidrs'])
  const trusted = IpRanges.of(cidrs)
  return (head, peer) => {
    if (!trusted.has(peer)) return { ip: undefined, trusted: false, reject: undefined, append: true }
    return { ...lastUntrusted(head.get(H.xff) ?? '', trusted), reject: undefined, append }
  }
}

/** The last address of a list that is not in the ranges; the first when all are. */
function lastUntrusted(list: string, ranges: IpRanges): { ip: string | undefined; trusted: boolean } {
  const entries = list.split(',')
  const trusted = entries.length === 1
  if (entries.length > MOST_ENTRIES) return { ip: undefined, trusted: false }
  let last: string | undefined
  for (const entry of entries.reverse()) {
    last = bareIp(entry.trim())
    if (last === undefined) return { ip: undefined, trusted: false }
    if (!ranges.has(last)) break
  }
  return { ip: last, trusted }
}

function customHeader(config: CustomHeaderConfig): IpDetector {
  const name: HeaderName = headerName(config.headerName.toLowerCase())
  const code = config.rejectWithStatus?.code as number | undefined
  const reject = code === undefined ? undefined : code >= 400 && code < 600 ? code : FORBIDDEN
  return (head) => {
    const ip = bareIp(head.get(name) ?? '')
    if (ip === undefined) return { ip, trusted: false, reject, append: false }
    return { ip, trusted: config.allowExtensionToSetAddressAsTrusted, reject: undefined, append: false }
  }
}
