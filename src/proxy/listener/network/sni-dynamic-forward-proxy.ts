import type { Message } from '@bufbuild/protobuf'
import type { FilterConfig } from '#gen/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3/sni_dynamic_forward_proxy_pb.js'
import { ConfigError, type ProxyContext } from '../../context.ts'
import type { ReadFilterMaker } from '../read-filters.ts'

/** Filter state that tells the port of the name that a client asked for. */
export const DYNAMIC_PORT = 'envoy.upstream.dynamic_port'
const DEFAULT_PORT = 443

/**
 * `envoy.filters.network.sni_dynamic_forward_proxy`: the name that a TLS client asked for is resolved before the
 * connection goes on (source/extensions/filters/network/sni_dynamic_forward_proxy/proxy_filter.cc).
 */
export function sniDynamicForwardProxy(config: Message, context: ProxyContext): ReadFilterMaker {
  const { dnsCacheConfig, portSpecifier } = config as FilterConfig
  if (dnsCacheConfig === undefined) throw new ConfigError(['dns_cache_config: value is required'])
  if (context.dnsCaches === undefined) throw new ConfigError(['there are no DNS caches'])
  const cache = context.dnsCaches.get(dnsCacheConfig, 'dns_cache_config')
  const fixed = portSpecifier.case === 'portValue' ? portSpecifier.value : DEFAULT_PORT
  return ({ transport, info, continueReading }) => {
    let waiting: { cancel(): void } | undefined
    return {
      onNewConnection() {
        const { sni } = transport.info
        if (sni === '') return 'continue'
        info.filterState ??= new Map()
        const before = info.filterState.get(DYNAMIC_PORT)
        const port = typeof before === 'number' ? before : fixed
        info.filterState.set(DYNAMIC_PORT, port)
        // A name without addresses goes on, too: the cluster then has no host for it.
        const found = cache.load(sni, port, () => {
          waiting = undefined
          continueReading()
        })
        if (found === 'busy' || found === 'overflow') {
          transport.destroy()
          return 'stop'
        }
        if (!('cancel' in found)) return 'continue'
        waiting = found
        return 'stop'
      },
      onData: () => (waiting === undefined ? 'continue' : 'stop'),
      onClose: () => waiting?.cancel(),
    }
  }
}
