import type { JsonObject } from '@bufbuild/protobuf'
import type { Metadata } from '#gen/envoy/config/core/v3/base_pb.js'
import type { TcpProxy } from '#gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js'
import type { Runtime } from '../../runtime.ts'
import { ConfigError, type ProxyContext } from '../context.ts'
import { durationMs } from '../http/config.ts'
import type { StreamInfo } from '../stream-info.ts'
import { xxHash64 } from '../upstream/hash.ts'
import { compileTunnel, type TunnelConfig } from './tunnel.ts'

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
  /** What the balancer hashes by; undefined: nothing (source/common/network/hash_policy.cc). */
  readonly hash: ((info: StreamInfo) => bigint | undefined) | undefined
  /** ms; 0: none. */
  readonly idleTimeout: number
  readonly maxConnectAttempts: number
  /** ms between attempts: drawn from 0 to `base`, which doubles up to `max`; undefined: none. */
  readonly backoff: { readonly base: number; readonly max: number } | undefined
  /** ms; 0: none. */
  readonly maxDuration: number
  /** Percent of `maxDuration` by which it is prolonged at most. */
  readonly maxDurationJitter: number
  /** The connection is carried through an HTTP proxy. */
  readonly tunnel: TunnelConfig | undefined
  /** Bytes of the client that are read before the upstream is connected; 0: none. */
  readonly earlyData: number
  /** The upstream is connected when the client has said something. */
  readonly waitForData: boolean
  /** ms between log entries of one connection; 0: only at its end. */
  readonly logInterval: number
  readonly logOnConnected: boolean
  readonly logOnStart: boolean
}

const IDLE_TIMEOUT_MS = 3_600_000
const LB_NAMESPACE = 'envoy.lb'

/** UpstreamConnectMode. */
const IMMEDIATE = 0
const ON_DOWNSTREAM_DATA = 1

/** Checks and compiles a TcpProxy message. Throws ConfigError with all that is wrong in it. */
export function compileTcpProxy(config: TcpProxy, context: ProxyContext): TcpProxyConfig {
  const errors: string[] = []
  if (config.statPrefix === '')
    errors.push('TcpProxyValidationError.StatPrefix: value length must be at least 1 characters')
  if (config.clusterSpecifier.case === undefined) errors.push('TcpProxyValidationError.ClusterSpecifier: is required')
  if (config.maxConnectAttempts === 0) {
    errors.push('TcpProxyValidationError.MaxConnectAttempts: value must be greater than or equal to 1')
  }
  if (config.upstreamConnectMode !== IMMEDIATE && config.maxEarlyDataBytes === undefined) {
    errors.push('max_early_data_bytes must be set when upstream_connect_mode is not IMMEDIATE')
  }
  const tunnel = config.tunnelingConfig && compileTunnel(config.tunnelingConfig, context.runtime, errors)
  const backoff = compileBackoff(config, errors)
  const routes = compileRoutes(config, errors)
  if (errors.length > 0) throw new ConfigError(errors)

  // Envoy itself reads neither idle timeout of one side.
  if (config.onDemand?.odcdsConfig) context.notEnforced?.('tcp_proxy.on_demand')
  const total = routes.reduce((sum, r) => sum + r.weight, 0)
  return {
    statPrefix: config.statPrefix,
    pickRoute: (runtime) => pick(routes, total, runtime),
    idleTimeout: durationMs(config.idleTimeout) ?? IDLE_TIMEOUT_MS,
    hash: compileHash(config),
    maxConnectAttempts: config.maxConnectAttempts ?? 1,
    backoff,
    maxDuration: durationMs(config.maxDownstreamConnectionDuration) ?? 0,
    maxDurationJitter: config.maxDownstreamConnectionDurationJitterPercentage?.value ?? 0,
    tunnel,
    earlyData: config.maxEarlyDataBytes ?? 0,
    waitForData: config.upstreamConnectMode === ON_DOWNSTREAM_DATA,
    logInterval: durationMs(config.accessLogOptions?.accessLogFlushInterval ?? config.accessLogFlushInterval) ?? 0,
    logOnConnected: config.accessLogOptions?.flushAccessLogOnConnected ?? config.flushAccessLogOnConnected,
    logOnStart: config.accessLogOptions?.flushAccessLogOnStart ?? false,
  }
}

function compileBackoff(config: TcpProxy, errors: string[]): TcpProxyConfig['backoff'] {
  if (!config.backoffOptions) return undefined
  const base = durationMs(config.backoffOptions.baseInterval) ?? 0
  const max = durationMs(config.backoffOptions.maxInterval) ?? 10 * base
  if (max < base) {
    errors.push('max_backoff_interval must be greater or equal to base_backoff_interval')
    return undefined
  }
  return { base, max }
}

/** The first policy counts: one is all that the message may have. */
function compileHash(config: TcpProxy): TcpProxyConfig['hash'] {
  const policy = config.hashPolicy[0]?.policySpecifier
  if (policy?.case === 'sourceIp') return (info) => xxHash64(info.downstream.remote.ip)
  if (policy?.case !== 'filterState') return undefined
  const { key } = policy.value
  return (info) => {
    const value = info.filterState?.get(key)
    return typeof value === 'string' ? xxHash64(value) : undefined
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
