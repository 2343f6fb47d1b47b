import type { Route } from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { HTTPRetry } from '../../api/kinds/virtual-service.ts'
import type { Origin, Service } from '../../registry/model.ts'
import { isGrpc, type Protocol } from '../../registry/protocol.ts'
import { type Init, make } from '../../xds/messages.ts'
import { outboundCluster, traceOperation } from '../names.ts'
import { ZERO } from '../proto.ts'
import { originMetadata } from '../provenance.ts'
import { timeouts } from './action.ts'
import { hashPolicy } from './hash.ts'
import { inboundRetryPolicy, retryPolicy } from './retry.ts'

type RouteAction = Init<'envoy.config.route.v3.RouteAction'>

/** The name of routes that nobody wrote. */
export const DEFAULT_ROUTE = 'default'

function defaultRoute(action: RouteAction, operation: string, origin: Origin | undefined): Route {
  return make('envoy.config.route.v3.Route', {
    name: DEFAULT_ROUTE,
    match: { pathSpecifier: { case: 'prefix', value: '/' } },
    metadata: origin && originMetadata(origin),
    decorator: { operation },
    action: { case: 'route', value: action },
  })
}

/** The route of a service without VirtualService (networking/core/route BuildDefaultHTTPOutboundRoute). */
export function defaultOutboundRoute(
  service: Service,
  port: number,
  options: { retry: HTTPRetry | undefined; hash: Parameters<typeof hashPolicy>[0] },
): Route {
  const hash = hashPolicy(options.hash)
  return defaultRoute(
    {
      clusterSpecifier: { case: 'cluster', value: outboundCluster(service.hostname, port) },
      ...timeouts(undefined),
      retryPolicy: retryPolicy(options.retry, false),
      hashPolicy: hash ? [hash] : [],
    },
    traceOperation(service.hostname, port),
    service.origin,
  )
}

/** The route to the own application. gRPC streams are never retried here. */
export function defaultInboundRoute(
  cluster: string,
  operation: string,
  protocol: Protocol,
  retry: HTTPRetry | undefined,
  origin?: Origin,
): Route {
  return defaultRoute(
    {
      clusterSpecifier: { case: 'cluster', value: cluster },
      timeout: ZERO,
      maxStreamDuration: { maxStreamDuration: ZERO, grpcTimeoutHeaderMax: ZERO },
      retryPolicy: isGrpc(protocol) ? undefined : inboundRetryPolicy(retry),
    },
    operation,
    origin,
  )
}
