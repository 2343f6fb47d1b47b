import type { FilterConfig } from '#gen/istio/alpn_pb.js'
import { HeadersStatus, type HttpFilter, type HttpFilterKind } from './filter.ts'

/** FilterConfig.Protocol. */
const HTTP10 = 0
const HTTP11 = 1
const HTTP2 = 2

/**
 * `istio.alpn`: offers upstream an ALPN that says the caller is a sidecar, by the protocol spoken there (istio/proxy
 * source/extensions/filters/http/alpn). A cluster whose metadata says `istio.alpn_override: false` keeps its own.
 */
export const alpnFilter: HttpFilterKind = {
  type: 'istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig',
  name: 'istio.alpn',
  build(message, context) {
    const config = message as FilterConfig
    const lists = new Map<number, readonly string[]>()
    for (const entry of config.alpnOverride) lists.set(entry.upstreamProtocol, entry.alpnOverride)
    const { clusters } = context.proxy
    const filter: HttpFilter = {
      decodeHeaders(head, _end, slot) {
        const forward = slot.route()?.forward
        const name = forward === undefined ? '' : (forward.clusterHeader?.first(head) ?? forward.cluster)
        const cluster = clusters.get(name)
        if (cluster === undefined || cluster.metadata.get('istio')?.alpn_override === 'false') {
          return HeadersStatus.CONTINUE
        }
        const upstream = cluster.upstreamProtocol(slot.info.protocol ?? 'HTTP/1.1')
        const list = lists.get(upstream === 'HTTP/2' ? HTTP2 : upstream === 'HTTP/1.0' ? HTTP10 : HTTP11)
        if (list !== undefined && list.length > 0) slot.setUpstreamAlpn(list)
        return HeadersStatus.CONTINUE
      },
    }
    return { create: () => filter }
  },
}
