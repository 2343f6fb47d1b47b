import type { JsonObject } from '@bufbuild/protobuf'
import type { Duration } from '@bufbuild/protobuf/wkt'
import type { Metadata } from '#gen/envoy/config/core/v3/base_pb.js'
import type { TcpProxy } from '#gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js'
import type { Runtime } from '../../runtime.ts'
import { ConfigError, type ProxyContext } from '../context.ts'

/** Where one connection goes. */
export interface TcpRoute {
  readonly cluster: string
  /** `envoy.lb` metadata that the chosen host must have. */
  readonly metadataMatch: Readonly<Record<string, unknown>> | undefined
}

/** A TcpProxy message, ready for use. */
export interface TcpProxyConfig {
  readonly statPrefix: string
  pickRoute(runtime: Runtime): TcpRoute | undefined
  /** The balancer gets a hash of the client's address. */
  readonly hashSourceIp: boolean
  /** ms; 0: none. */
  readonly idleTimeout: number
  readonly maxConnectAttempts: number
  /** ms; 0: none. */
  readonly maxDuration: number
  /** ms between log entries of one connection; 0: only at its end. */
  readonly logInterval: number
  readonly logOnConnected: boolean
}

const IDLE_TIMEOUT_MS = 3_600_000
const LB_NAMESPACE = 'envoy.lb'

/** Fields of the message that have no effect here yet. */
const NOT_ENFORCED = [
  ['onDemand', 'on_demand'],
  ['downstreamIdleTimeout', 'downstream_idle_timeout'],
  ['upstreamIdleTimeout', 'upstream_idle_timeout'],
] as const

/** Checks and compiles a TcpProxy message. Throws ConfigError with all that is wrong in it. */
export function compileTcpProxy(config: TcpProxy, context: ProxyContext): TcpProxyConfig {
  const errors: string[] = []
  if (config.statPrefix === '')
    errors.push('TcpProxyValidationError.StatPrefix: value length must be at least 1 characters')
  if (config.clusterSpecifier.case === undefined) errors.push('TcpProxyValidationError.ClusterSpecifier: is required')
  if (config.maxConnectAttempts === 0) {
    errors.push('TcpProxyValidationError.MaxConnectAttempts: value must be greater than or equal to 1')
  }
  if (config.tunnelingConfig) errors.push('tcp_proxy: tunneling_config is not supported')
  const routes = compileRoutes(config, errors)
  if (errors.length > 0) throw new ConfigError(errors)

  for (const [field, name] of NOT_ENFORCED) if (config[field]) context.notEnforced?.(`tcp_proxy.${name}`)
  const hashed = config.hashPolicy.some((p) => p.policySpecifier.case === 'sourceIp')
  if (config.hashPolicy.length > 0 && !hashed) context.notEnforced?.('tcp_proxy.hash_policy.filter_state')
  const total = routes.reduce((sum, r) => sum + r.weight, 0)
  return {
    statPrefix: config.statPrefix,
    pickRoute: (runtime) => pick(routes, total, runtime),
    idleTimeout: config.idleTimeout ? milliseconds(config.idleTimeout) : IDLE_TIMEOUT_MS,
    hashSourceIp: hashed,
    maxConnectAttempts: config.maxConnectAttempts ?? 1,
    maxDuration: config.maxDownstreamConnectionDuration ? milliseconds(config.maxDownstreamConnectionDuration) : 0,
    logInterval: milliseconds(config.accessLogOptions?.accessLogFlushInterval ?? config.accessLogFlushInterval),
    logOnConnected: config.accessLogOptions?.flushAccessLogOnConnected ?? config.flushAccessLogOnConnected,
  }
}

interface WeightedRoute extends TcpRoute {
  readonly weight: number
}

function compileRoutes(config: TcpProxy, errors: string[]): WeightedRoute[] {
  const base = lbMetadata(config.metadataMatch)
  if (config.clusterSpecifier.case === 'cluster') {
    return [{ cluster: config.clusterSpecifier.value, metadataMatch: base, weight: 1 }]
  }
  if (config.clusterSpecifier.case !== 'weightedClusters') return []
  const routes: WeightedRoute[] = []
  for (const entry of config.clusterSpecifier.value.clusters) {
    if (entry.weight < 1) errors.push(`tcp_proxy.weighted_clusters: weight of '${entry.name}' must be at least 1`)
    const own = lbMetadata(entry.metadataMatch)
    routes.push({
      cluster: entry.name,
      weight: entry.weight,
      metadataMatch: own && base ? { ...base, ...own } : (own ?? base),
    })
  }
  if (routes.length === 0) errors.push('tcp_proxy.weighted_clusters: clusters must have at least one entry')
  return routes
}

function pick(routes: readonly WeightedRoute[], total: number, runtime: Runtime): TcpRoute | undefined {
  if (routes.length <= 1) return routes[0]
  let left = runtime.randomU32() % total
  for (const route of routes) {
    if (left < route.weight) return route
    left -= route.weight
  }
  return undefined
}

function lbMetadata(metadata: Metadata | undefined): Readonly<Record<string, unknown>> | undefined {
  const match: JsonObject | undefined = metadata?.filterMetadata[LB_NAMESPACE]
  return match && Object.keys(match).length > 0 ? match : undefined
}

/** A Duration in milliseconds; 0 when there is none. */
export function milliseconds(duration: Duration | undefined): number {
  return duration ? Number(duration.seconds) * 1000 + duration.nanos / 1e6 : 0
}
