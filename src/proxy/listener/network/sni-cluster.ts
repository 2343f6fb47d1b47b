import type { ReadFilterMaker } from '../read-filters.ts'

/** Filter state by which a filter names the cluster of a connection (source/common/tcp_proxy/tcp_proxy.cc PerConnectionCluster). */
export const PER_CONNECTION_CLUSTER = 'envoy.tcp_proxy.cluster'

/** `envoy.filters.network.sni_cluster`: the name that the client asked for is the name of the cluster. */
export function sniCluster(): ReadFilterMaker {
  return ({ transport, info }) => ({
    onNewConnection() {
      const { sni } = transport.info
      if (sni !== '') {
        info.filterState ??= new Map()
        info.filterState.set(PER_CONNECTION_CLUSTER, sni)
      }
      return 'continue'
    },
    onData: () => 'continue',
  })
}
