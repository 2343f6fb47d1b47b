import { type Address, formatAddress } from '../../listener/connection.ts'
import type { StreamInfo } from '../../stream-info.ts'
import type { Host } from '../../upstream/host.ts'
import { type OperatorTable, plainNumber, plainText } from './operator.ts'

type Where = (info: StreamInfo) => Address | undefined

const downstreamLocal: Where = (info) => info.downstream.local
const downstreamDirectLocal: Where = (info) => info.downstream.directLocal ?? info.downstream.local
/** The client: whom `x-forwarded-for` names when it is believed, which has no port, else the peer (HCM decodeHeaders setDownstreamRemoteAddress). */
const downstreamRemote: Where = (info) => {
  const { remote } = info.downstream
  const ip = info.trustedClientIp
  return ip === '' || ip === remote.ip ? remote : { ip, port: 0 }
}
const downstreamDirectRemote: Where = (info) => info.downstream.directRemote
const upstreamLocal: Where = (info) => info.upstream?.local
const upstreamRemote: Where = (info) => info.upstream?.remote

/** `A`, `A_WITHOUT_PORT` and the port alone. An address is formatted once and kept beside it: a keep-alive connection has many requests. */
function family(address: string, port: string, where: Where): OperatorTable {
  return {
    [address]: plainText((info) => text(where(info))),
    [`${address}_WITHOUT_PORT`]: plainText((info) => where(info)?.ip),
    [port]: plainNumber((info) => where(info)?.port),
  }
}

const texts = new WeakMap<Address, string>()

function text(address: Address | undefined): string | undefined {
  if (address === undefined) return undefined
  let formatted = texts.get(address)
  if (formatted === undefined) {
    formatted = formatAddress(address)
    texts.set(address, formatted)
  }
  return formatted
}

/** A host's address as logs show it. */
function hostAddress(host: Host): string {
  return host.pipe ?? text(host.address)!
}

function hostName(host: Host): string {
  return host.hostname || hostAddress(host)
}

function withoutPort(name: string): string {
  const colon = name.lastIndexOf(':')
  if (colon < 0 || !/^\d+$/.test(name.slice(colon + 1))) return name
  return name.includes(':') && name.indexOf(':') !== colon && !name.startsWith('[') ? name : name.slice(0, colon)
}

function attempted(of: (host: Host) => string): (info: StreamInfo) => string | undefined {
  return (info) => {
    const last = info.upstreamHost && of(info.upstreamHost)
    if (!info.upstreamAttempted?.length) return last
    const before = info.upstreamAttempted.map((a) => of(a.host))
    return (last === undefined ? before : [...before, last]).join(',')
  }
}

/** Addresses, hosts and connection ids (source/common/formatter/stream_info_formatter.cc). */
export const addresses: OperatorTable = {
  ...family('DOWNSTREAM_LOCAL_ADDRESS', 'DOWNSTREAM_LOCAL_PORT', downstreamLocal),
  ...family('DOWNSTREAM_DIRECT_LOCAL_ADDRESS', 'DOWNSTREAM_DIRECT_LOCAL_PORT', downstreamDirectLocal),
  ...family('DOWNSTREAM_REMOTE_ADDRESS', 'DOWNSTREAM_REMOTE_PORT', downstreamRemote),
  ...family('DOWNSTREAM_DIRECT_REMOTE_ADDRESS', 'DOWNSTREAM_DIRECT_REMOTE_PORT', downstreamDirectRemote),
  ...family('UPSTREAM_LOCAL_ADDRESS', 'UPSTREAM_LOCAL_PORT', upstreamLocal),
  ...family('UPSTREAM_REMOTE_ADDRESS', 'UPSTREAM_REMOTE_PORT', upstreamRemote),
  // Only Envoy's in-process listeners have endpoint ids.
  DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID: plainText(() => undefined),
  DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID: plainText(() => undefined),
  UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID: plainText(() => undefined),
  UPSTREAM_HOST: plainText((info) => info.upstreamHost && hostAddress(info.upstreamHost)),
  UPSTREAM_HOST_NAME: plainText((info) => info.upstreamHost && hostName(info.upstreamHost)),
  UPSTREAM_HOST_NAME_WITHOUT_PORT: plainText((info) => info.upstreamHost && withoutPort(hostName(info.upstreamHost))),
  UPSTREAM_HOSTS_ATTEMPTED: plainText(attempted(hostAddress)),
  UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT: plainText(attempted((host) => host.pipe ?? host.address.ip)),
  UPSTREAM_HOST_NAMES_ATTEMPTED: plainText(attempted(hostName)),
  UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT: plainText(attempted((host) => withoutPort(hostName(host)))),
  UPSTREAM_CONNECTION_IDS_ATTEMPTED: plainText((info) =>
    info.upstreamAttempted?.length
      ? [...info.upstreamAttempted.map((a) => a.connectionId), ...(info.upstream ? [info.upstream.id] : [])].join(',')
      : info.upstream && String(info.upstream.id),
  ),
  CONNECTION_ID: plainNumber((info) => info.downstream.id),
  UPSTREAM_CONNECTION_ID: plainNumber((info) => info.upstream?.id ?? 0),
}
