import type { JsonObject } from '@bufbuild/protobuf'
import type { Init } from '../xds/messages.ts'
import { lazy, typedStruct } from './proto.ts'

/** Istio's metadata exchange filters (pilot/pkg/xds/filters/filters.go). */
const NAME = 'istio.metadata_exchange'
const TCP = 'type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange'
const HTTP = 'type.googleapis.com/io.istio.http.peer_metadata.Config'

const tcpConfig = lazy(() => typedStruct(TCP, { protocol: 'istio-peer-exchange', enable_discovery: true }))

/** As upstream filter of a cluster. */
export const tcpClusterExchange = (): Init<'envoy.config.cluster.v3.Filter'> => ({
  name: NAME,
  typedConfig: tcpConfig(),
})

/** As network filter of a listener. */
export const tcpListenerExchange = (): Init<'envoy.config.listener.v3.Filter'> => ({
  name: NAME,
  configType: { case: 'typedConfig', value: tcpConfig() },
})

type HttpFilter = Init<'envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter'>

const httpFilter = (value: JsonObject): HttpFilter => ({
  name: NAME,
  configType: { case: 'typedConfig', value: typedStruct(HTTP, value) },
})

const discovery: JsonObject[] = [{ istio_headers: {} }, { workload_discovery: {} }]

/** As HTTP filter of inbound listeners. */
export const inboundHttpExchange = lazy(() =>
  httpFilter({ downstream_discovery: discovery, downstream_propagation: [{ istio_headers: {} }] }),
)

/** As HTTP filter of outbound listeners. */
export const outboundHttpExchange = lazy(() =>
  httpFilter({ upstream_discovery: discovery, upstream_propagation: [{ istio_headers: {} }] }),
)

/** The same, sending nothing to clusters outside the mesh. */
export const outboundHttpExchangeInMesh = lazy(() =>
  httpFilter({
    upstream_discovery: discovery,
    upstream_propagation: [{ istio_headers: { skip_external_clusters: true } }],
  }),
)
