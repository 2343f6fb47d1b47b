import type { CelInput } from '@bufbuild/cel'
import type { Duration, Timestamp } from '@bufbuild/protobuf/wkt'
import type { HeaderMap } from '../http/headers.ts'
import { type Address, formatAddress, type TlsInfo } from '../listener/connection.ts'
import { grpcStatusOf } from '../observe/format/grpc.ts'
import type { ResponseFlag, StreamInfo } from '../stream-info.ts'

/** A variable of CEL expressions: its members that are known; a missing one is an error, as in Envoy. */
export type Attributes = Map<string, CelInput>

/** Flags in the order of their bits (envoy/stream_info/stream_info.h CoreResponseFlag). */
const FLAG_BITS: readonly ResponseFlag[] = (
  'LH UH UT LR UR UF UC UO NR DI FI RL UAEX RLSE DC URX SI IH DPE UMSDR RFCF NFCF DT UPE NC OM DF DO DR UDO' as string
).split(' ') as ResponseFlag[]

function present(entries: Readonly<Record<string, CelInput | undefined>>): Attributes {
  const out: Attributes = new Map()
  for (const [name, value] of Object.entries(entries)) if (value !== undefined) out.set(name, value)
  return out
}

/** A number that CEL counts as an int. */
const int = (n: number | undefined): bigint | undefined => (n === undefined ? undefined : BigInt(Math.round(n)))

const time = (wallMs: number): Timestamp => {
  const seconds = Math.floor(wallMs / 1000)
  const nanos = Math.round((wallMs - seconds * 1000) * 1e6)
  return { $typeName: 'google.protobuf.Timestamp', seconds: BigInt(seconds), nanos }
}

const duration = (ms: number): Duration => {
  const seconds = Math.floor(ms / 1000)
  return {
    $typeName: 'google.protobuf.Duration',
    seconds: BigInt(seconds),
    nanos: Math.round((ms - seconds * 1000) * 1e6),
  }
}

/** Header lines by name; repeated ones joined. */
function headersOf(head: HeaderMap | undefined): Map<string, string> {
  const out = new Map<string, string>()
  head?.forEach((name, value) => {
    const before = out.get(name)
    out.set(name, before === undefined ? value : `${before},${value}`)
  })
  return out
}

function json(value: unknown): CelInput {
  if (Array.isArray(value)) return value.map(json) as CelInput
  if (value !== null && typeof value === 'object') {
    return new Map(Object.entries(value).map(([key, item]) => [key, json(item)])) as CelInput
  }
  return value as CelInput
}

/** Metadata as the message that expressions look into: `filter_metadata['namespace']['key']`. */
function metadata(of: ReadonlyMap<string, unknown> | undefined): CelInput {
  const namespaces = [...(of ?? [])].map(([name, value]) => [name, json(value)] as const)
  return new Map([['filter_metadata', new Map(namespaces)]]) as CelInput
}

const address = (of: Address | undefined): string | undefined => (of === undefined ? undefined : formatAddress(of))

function tlsFacts(tls: TlsInfo | undefined): Record<string, CelInput | undefined> {
  if (tls === undefined) return {}
  const { local: own, peer } = tls
  return {
    tls_version: tls.version,
    subject_local_certificate: own?.subject ?? '',
    subject_peer_certificate: peer?.subject ?? '',
    uri_san_local_certificate: own?.uriSans[0],
    uri_san_peer_certificate: peer?.uriSans[0],
    dns_san_local_certificate: own?.dnsSans[0],
    dns_san_peer_certificate: peer?.dnsSans[0],
    sha256_peer_certificate_digest: peer?.sha256 ?? '',
  }
}

function request(info: StreamInfo): Attributes {
  const head = info.request
  const headers = headersOf(head)
  if (head !== undefined) {
    headers.set(':method', head.method).set(':path', head.path).set(':authority', head.authority)
    headers.set(':scheme', head.scheme)
  }
  const length = headers.get('content-length')
  const path = head?.path
  const question = path === undefined ? -1 : path.indexOf('?')
  return present({
    headers,
    time: time(info.startWall),
    size: length === undefined ? int(info.bytesReceived) : /^\d+$/.test(length) ? BigInt(length) : undefined,
    total_size: int(info.bytesReceived + (head?.byteSize ?? 0)),
    duration: info.end > 0 ? duration(info.end - info.start) : undefined,
    protocol: info.protocol,
    path,
    url_path: path === undefined ? undefined : question < 0 ? path : path.slice(0, question),
    query: path === undefined ? undefined : question < 0 ? '' : path.slice(question + 1).replace(/#.*/, ''),
    host: head?.authority,
    scheme: head?.scheme || undefined,
    method: head?.method,
    referer: headers.get('referer'),
    id: headers.get('x-request-id'),
    useragent: headers.get('user-agent'),
  })
}

function response(info: StreamInfo): Attributes {
  const headers = headersOf(info.response)
  if (info.response !== undefined) headers.set(':status', String(info.response.status))
  const flags = info.flags.reduce((bits, flag) => bits | (1n << BigInt(FLAG_BITS.indexOf(flag))), 0n)
  const trailers = info.responseTrailers
  return present({
    code: info.responseCode > 0 ? int(info.responseCode) : undefined,
    code_details: info.responseCodeDetails,
    size: int(info.bytesSent),
    total_size: int(info.bytesSent + (info.response?.byteSize ?? 0) + (trailers?.byteSize ?? 0)),
    headers,
    trailers: headersOf(trailers),
    flags,
    grpc_status: int(grpcStatusOf(info)),
    backend_latency:
      info.upstreamFirstTx > 0 && info.upstreamLastRx > 0
        ? duration(info.upstreamLastRx - info.upstreamFirstTx)
        : undefined,
  })
}

function upstream(info: StreamInfo): Attributes {
  const host = info.upstreamHost
  return present({
    address: host === undefined ? undefined : (host.pipe ?? address(host.address)),
    port: host === undefined || host.pipe !== undefined ? undefined : int(host.address.port),
    local_address: address(info.upstream?.local),
    transport_failure_reason: host === undefined ? undefined : (info.upstreamTransportFailure ?? ''),
    request_attempt_count: int(info.upstreamAttempts),
    cx_pool_ready_duration: info.upstreamPoolWait === undefined ? undefined : duration(info.upstreamPoolWait),
    ...tlsFacts(info.upstream?.tls),
  })
}

/** The client, or what is nearest to it. */
function source(info: StreamInfo): Attributes {
  const { remote } = info.downstream
  const ip = info.trustedClientIp
  const client = ip === '' || ip === remote.ip ? remote : { ip, port: 0 }
  return present({ address: address(client), port: int(client.port) })
}

/** Variables of CEL expressions by name (source/extensions/filters/common/expr/context.cc). */
export const ATTRIBUTES: Readonly<Record<string, (info: StreamInfo) => CelInput>> = {
  request,
  response,
  upstream,
  source,
  destination: (info) => {
    const { local } = info.downstream
    return present({ address: address(local), port: int(local.port) })
  },
  connection: (info) =>
    present({
      mtls: info.downstream.tls?.peer !== undefined,
      requested_server_name: info.downstream.sni,
      id: int(info.downstream.id),
      termination_details: info.connectionTerminationDetails,
      transport_failure_reason: info.downstream.transportFailure,
      ...tlsFacts(info.downstream.tls),
    }),
  metadata: (info) => metadata(info.dynamicMetadata),
  filter_state: (info) => new Map([...(info.filterState ?? [])].map(([key, value]) => [key, String(value)])),
  upstream_filter_state: (info) =>
    new Map([...(info.upstreamFilterState ?? [])].map(([key, value]) => [key, String(value)])),
  xds: (info) =>
    present({
      cluster_name: info.clusterName,
      cluster_metadata: info.clusterMetadata === undefined ? undefined : metadata(info.clusterMetadata),
      route_name: info.routeName,
      route_metadata: info.routeMetadata === undefined ? undefined : metadata(info.routeMetadata),
      virtual_host_name: info.virtualHostName,
      virtual_host_metadata: info.virtualHostMetadata === undefined ? undefined : metadata(info.virtualHostMetadata),
      upstream_host_metadata: info.upstreamHost === undefined ? undefined : metadata(info.upstreamHost.metadata),
      listener_metadata: info.listenerMetadata === undefined ? undefined : metadata(info.listenerMetadata),
      // There is a chain always, though it may have no name.
      filter_chain_name: info.filterChainName ?? '',
    }),
}
