import { type Init, packed } from '../../xds/messages.ts'
import { lazy } from '../proto.ts'
import { SESSION_FILTER } from '../route/session.ts'

/** An HTTP filter as a connection manager lists it. */
export type HttpFilter = Init<'envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter'>

const filter = (name: string, value: ReturnType<typeof packed>): HttpFilter => ({
  name,
  configType: { case: 'typedConfig', value },
})

/** The filters that every connection manager has (pilot/pkg/xds/filters/filters.go). */
export const corsFilter = lazy(() =>
  filter('envoy.filters.http.cors', packed('envoy.extensions.filters.http.cors.v3.Cors')),
)
/** Delays and aborts as routes configure them. */
export const faultFilter = lazy(() =>
  filter('envoy.filters.http.fault', packed('envoy.extensions.filters.http.fault.v3.HTTPFault')),
)
/** Does nothing by itself: routes to services with sessions configure it. */
export const emptySessionFilter = lazy(() =>
  filter(SESSION_FILTER, packed('envoy.extensions.filters.http.stateful_session.v3.StatefulSession')),
)
/** Translates gRPC-Web for servers that speak gRPC alone. */
export const grpcWebFilter = lazy(() =>
  filter('envoy.filters.http.grpc_web', packed('envoy.extensions.filters.http.grpc_web.v3.GrpcWeb')),
)
/** Counts messages of gRPC calls; no statistics for each method. */
export const grpcStatsFilter = lazy(() =>
  filter(
    'envoy.filters.http.grpc_stats',
    packed('envoy.extensions.filters.http.grpc_stats.v3.FilterConfig', {
      emitFilterState: true,
      perMethodStatSpecifier: { case: 'statsForAllMethods', value: { value: false } },
    }),
  ),
)

/** Tells the server's sidecar by ALPN which HTTP the client's sidecar speaks. */
export const alpnFilter = lazy(() =>
  filter(
    'istio.alpn',
    packed('istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig', {
      alpnOverride: [
        { upstreamProtocol: 0, alpnOverride: ['istio-http/1.0', 'istio', 'http/1.0'] },
        { upstreamProtocol: 1, alpnOverride: ['istio-http/1.1', 'istio', 'http/1.1'] },
        { upstreamProtocol: 2, alpnOverride: ['istio-h2', 'istio', 'h2'] },
      ],
    }),
  ),
)

const router = lazy(() =>
  filter('envoy.filters.http.router', packed('envoy.extensions.filters.http.router.v3.Router', {})),
)
const quietRouter = lazy(() =>
  filter(
    'envoy.filters.http.router',
    packed('envoy.extensions.filters.http.router.v3.Router', { suppressEnvoyHeaders: true }),
  ),
)

/** The router, which is last; it can be told to add no `x-envoy-*` headers. */
export const routerFilter = (suppressHeaders: boolean): HttpFilter => (suppressHeaders ? quietRouter() : router())
