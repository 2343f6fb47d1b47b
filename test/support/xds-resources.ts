import { createHash } from 'node:crypto'
import type { Any } from '@bufbuild/protobuf/wkt'
import { type Init, make, messageIn, packed } from '../../src/xds/messages.ts'
import { resourceName } from '../../src/xds/resource-types.ts'
import type { Snapshot, VersionedResource } from '../../src/xds/snapshot.ts'

const ADS = { configSourceSpecifier: { case: 'ads', value: {} }, resourceApiVersion: 2 } as const

/** A cluster whose endpoints come by EDS. */
export function edsCluster(name: string, init: Init<'envoy.config.cluster.v3.Cluster'> = {}): Any {
  return packed('envoy.config.cluster.v3.Cluster', {
    name,
    clusterDiscoveryType: { case: 'type', value: 3 },
    edsClusterConfig: { edsConfig: ADS },
    connectTimeout: { seconds: 1n, nanos: 0 },
    ...init,
  })
}

/** Endpoints on 127.0.0.1. */
export function endpoints(clusterName: string, ...ports: number[]): Any {
  const at = (portValue: number) =>
    ({ socketAddress: { address: '127.0.0.1', portSpecifier: { case: 'portValue', value: portValue } } }) as const
  return packed('envoy.config.endpoint.v3.ClusterLoadAssignment', {
    clusterName,
    endpoints: [
      {
        locality: { region: 'r', zone: 'z' },
        loadBalancingWeight: 1,
        lbEndpoints: ports.map((port) => ({
          hostIdentifier: {
            case: 'endpoint' as const,
            value: { address: { address: { case: 'socketAddress' as const, value: at(port).socketAddress } } },
          },
        })),
      },
    ],
  })
}

/** An HTTP listener on 127.0.0.1 whose routes come by RDS. */
export function rdsListener(name: string, port: number, routeConfigName: string): Any {
  return packed('envoy.config.listener.v3.Listener', {
    name,
    address: {
      address: {
        case: 'socketAddress',
        value: { address: '127.0.0.1', portSpecifier: { case: 'portValue', value: port } },
      },
    },
    filterChains: [
      {
        filters: [
          {
            name: 'envoy.filters.network.http_connection_manager',
            configType: { case: 'typedConfig', value: connectionManager(routeConfigName) },
          },
        ],
      },
    ],
  })
}

/** A connection manager with the router alone and routes by RDS. */
export function connectionManager(routeConfigName: string): Any {
  return packed('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
    statPrefix: 'test',
    routeSpecifier: { case: 'rds', value: { routeConfigName, configSource: ADS } },
    httpFilters: [
      {
        name: 'envoy.filters.http.router',
        configType: { case: 'typedConfig', value: packed('envoy.extensions.filters.http.router.v3.Router') },
      },
    ],
  })
}

/** A route configuration that splits everything between clusters by weight. */
export function routes(name: string, weights: Record<string, number>, domains = ['*']): Any {
  return packed('envoy.config.route.v3.RouteConfiguration', {
    name,
    virtualHosts: [
      {
        name: 'all',
        domains,
        routes: [
          {
            match: { pathSpecifier: { case: 'prefix', value: '/' } },
            action: {
              case: 'route',
              value: {
                clusterSpecifier: {
                  case: 'weightedClusters',
                  value: { clusters: Object.entries(weights).map(([cluster, weight]) => ({ name: cluster, weight })) },
                },
              },
            },
          },
        ],
      },
    ],
  })
}

let versions = 0

/** A snapshot of some resources, each under a version that stands for its content. */
export function snapshot(...resources: Any[]): Snapshot {
  const types = new Map<string, Map<string, VersionedResource>>()
  for (const resource of resources) {
    const version = createHash('sha256').update(resource.value).digest('hex').slice(0, 8)
    const ofType = types.get(resource.typeUrl) ?? new Map<string, VersionedResource>()
    types.set(resource.typeUrl, ofType)
    ofType.set(resourceName(messageIn(resource)), { version, resource })
  }
  return { version: `v${++versions}`, types }
}

/** A node as a client names itself. */
export function node(id: string) {
  return make('envoy.config.core.v3.Node', { id, cluster: 'test' })
}
