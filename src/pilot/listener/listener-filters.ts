import { type Init, packed } from '../../xds/messages.ts'
import { lazy } from '../proto.ts'

type ListenerFilter = Init<'envoy.config.listener.v3.ListenerFilter'>
type FilterChain = Init<'envoy.config.listener.v3.FilterChain'>
type Predicate = Init<'envoy.config.listener.v3.ListenerFilterChainMatchPredicate'>

const filter = (name: string, value: ReturnType<typeof packed>): ListenerFilter => ({
  name,
  configType: { case: 'typedConfig', value },
})

/** Looks at the start of a TLS handshake. */
export const tlsInspector = lazy(() =>
  filter(
    'envoy.filters.listener.tls_inspector',
    packed('envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector', { initialReadBufferSize: 512 }),
  ),
)
/** Looks at the start of what may be HTTP. */
export const httpInspector = lazy(() =>
  filter(
    'envoy.filters.listener.http_inspector',
    packed('envoy.extensions.filters.listener.http_inspector.v3.HttpInspector'),
  ),
)
const originalDst = lazy(() =>
  filter(
    'envoy.filters.listener.original_dst',
    packed('envoy.extensions.filters.listener.original_dst.v3.OriginalDst'),
  ),
)
const originalSrc = lazy(() =>
  filter(
    'envoy.filters.listener.original_src',
    packed('envoy.extensions.filters.listener.original_src.v3.OriginalSrc', { mark: 1337 }),
  ),
)

/** Takes the client's address from the proxy before this one. */
export const proxyProtocolFilter = lazy(() =>
  filter(
    'envoy.filters.listener.proxy_protocol',
    packed('envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol'),
  ),
)

/** ALPN values that the HTTP inspector finds. */
const PLAINTEXT = new Set(['http/1.1', 'h2c'])

/**
 * The listener filters that the chains of an inbound listener need, each switched off for ports where no chain
 * asks for what it finds (networking/core/listener_inbound.go populateListenerFilters).
 */
export function inboundListenerFilters(
  chains: readonly FilterChain[],
  options: { bindToPort: boolean; transparent: boolean },
): ListenerFilter[] {
  const needs = new Map<number, { tls: boolean; http: boolean }>()
  for (const { filterChainMatch: match } of chains) {
    const port = match?.destinationPort ?? 0
    const known = needs.get(port) ?? { tls: false, http: false }
    known.tls ||= match?.transportProtocol === 'tls'
    known.http ||= (match?.applicationProtocols ?? []).some((protocol) => PLAINTEXT.has(protocol))
    needs.set(port, known)
  }
  const out: ListenerFilter[] = []
  if (!options.bindToPort) {
    out.push(originalDst())
    if (options.transparent) out.push(originalSrc())
  }
  const all = [...needs]
  if (all.some(([, need]) => need.tls)) out.push(tlsInspectorFor(all.map(([port, need]) => [port, need.tls])))
  if (all.some(([, need]) => need.http)) {
    const without = all.filter(([, need]) => !need.http).map(([port]) => port)
    out.push(without.length ? { ...httpInspector(), filterDisabled: onPorts(without) } : httpInspector())
  }
  return out
}

/** What holds for port 0 holds for all ports that are not named. */
function tlsInspectorFor(needs: [port: number, needed: boolean][]): ListenerFilter {
  const byDefault = needs.some(([port, needed]) => port === 0 && needed)
  const others = needs.filter(([port, needed]) => port !== 0 && needed !== byDefault).map(([port]) => port)
  if (others.length === 0) return tlsInspector()
  const ports = onPorts(others)
  return {
    ...tlsInspector(),
    filterDisabled: byDefault ? ports : { rule: { case: 'notMatch', value: ports } },
  }
}

function onPorts(ports: number[]): Predicate {
  const rules = ports
    .sort((a, b) => a - b)
    .map((port): Predicate => ({ rule: { case: 'destinationPortRange', value: { start: port, end: port + 1 } } }))
  return rules.length === 1 ? (rules[0] as Predicate) : { rule: { case: 'orMatch', value: { rules } } }
}
