/**
 * Makes an object of the filter state from the text that a config or a script gives for it; undefined: it is none, and
 * nothing is set (envoy/stream_info/filter_state.h FilterState::ObjectFactory).
 */
export type FilterStateFactory = (text: string) => string | number | bigint | undefined

const asIs: FilterStateFactory = (text) => text

const unsigned =
  (max: number): FilterStateFactory =>
  (text) =>
    /^\s*\+?\d+\s*$/.test(text) && Number(text) <= max ? Number(text) : undefined

const unsigned64: FilterStateFactory = (text) => {
  const value = /^\s*\+?\d+\s*$/.test(text) ? BigInt(text.trim().replace('+', '')) : -1n
  return value >= 0n && value < 1n << 64n ? value : undefined
}

/** Kinds of objects, by the key of their factory; objects that nothing here obeys are none of them. */
const FACTORIES: ReadonlyMap<string, FilterStateFactory> = new Map([
  ['envoy.string', asIs],
  // source/common/tcp_proxy/tcp_proxy.cc
  ['envoy.tcp_proxy.cluster', asIs],
  ['envoy.tcp_proxy.per_connection_idle_timeout_ms', unsigned64],
  // source/extensions/clusters/dynamic_forward_proxy/cluster.cc
  ['envoy.upstream.dynamic_port', unsigned(0xffff_ffff)],
  // source/extensions/filters/http/ratelimit/ratelimit.cc
  ['envoy.ratelimit.hits_addend', unsigned(0xffff_ffff)],
])

/** Kinds that Envoy knows, and that would have no effect here. */
const UNOBEYED: ReadonlySet<string> = new Set([
  'envoy.filters.listener.original_dst.local_ip',
  'envoy.filters.listener.original_dst.remote_ip',
  'envoy.network.application_protocols',
  'envoy.network.ip',
  'envoy.network.transport_socket.original_dst_address',
  'envoy.network.upstream_server_name',
  'envoy.network.upstream_subject_alt_names',
  'envoy.tcp_proxy.disable_tunneling',
  'envoy.upstream.dynamic_host',
])

/** The factory of that key. Throws an Error that says that there is none, or that its objects have no effect here. */
export function filterStateFactory(key: string, object: string): FilterStateFactory {
  const factory = FACTORIES.get(key)
  if (factory !== undefined) return factory
  throw new Error(UNOBEYED.has(key) ? `'${key}': not supported` : `'${object}' does not have an object factory`)
}
