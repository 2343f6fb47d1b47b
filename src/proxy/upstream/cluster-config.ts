import { isIP } from 'node:net'
import type { Cluster as ClusterProto } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import { typeNameOf, unpack } from '../../xds/messages.ts'
import { ConfigError } from '../context.ts'
import { durationMs, Problems } from '../http/config.ts'
import { type Assignment, compileAssignment, compileMetadata } from './assignment.ts'
import { type BalancerFactory, compileBalancer } from './balancers/factory.ts'
import type { Metadata } from './host.ts'
import { compileOutlier, type OutlierSettings } from './outlier-config.ts'
import { compileHttpOptions, type HttpOptions } from './protocol-options.ts'

/** How a cluster finds its hosts. Times in ms. */
export type DiscoverySettings =
  | { readonly type: 'static' }
  | { readonly type: 'eds'; readonly serviceName: string; readonly initialFetchTimeout: number }
  | {
      readonly type: 'strict-dns' | 'logical-dns'
      readonly refresh: number
      readonly failureRefresh: number
      readonly respectTtl: boolean
      /** ms at most that are added to the time between lookups. */
      readonly jitter: number
      readonly family: DnsFamily
    }
  | {
      readonly type: 'original-dst'
      readonly cleanupInterval: number
      /** Lower case; undefined when headers are not looked at. */
      readonly header: string | undefined
      readonly port: number | undefined
    }

export type DnsFamily = 'auto' | 'v4' | 'v6' | 'v4-preferred' | 'all'

/** A cluster's config, compiled: immutable. Times in ms. */
export interface ClusterSettings {
  readonly name: string
  readonly observabilityName: string
  readonly connectTimeout: number
  readonly bufferLimit: number
  readonly http: HttpOptions
  readonly discovery: DiscoverySettings
  /** Of clusters that carry their endpoints. */
  readonly assignment: Assignment
  /** Undefined: the discovery picks (original_dst). */
  readonly balancer: BalancerFactory | undefined
  /** 0 = each change acts at once. */
  readonly mergeWindow: number
  readonly bind: string | undefined
  readonly keepAliveMs: number | undefined
  readonly closeOnHealthFailure: boolean
  readonly closeOnHostSetChange: boolean
  readonly metadata: Metadata
  readonly outlier: OutlierSettings | undefined
}

const KNOWN = new Set([
  'transportSocketMatches',
  'name',
  'altStatName',
  'type',
  'edsClusterConfig',
  'connectTimeout',
  'perConnectionBufferLimitBytes',
  'lbPolicy',
  'loadAssignment',
  'maxRequestsPerConnection',
  'circuitBreakers',
  'upstreamHttpProtocolOptions',
  'commonHttpProtocolOptions',
  'httpProtocolOptions',
  'http2ProtocolOptions',
  'typedExtensionProtocolOptions',
  'dnsRefreshRate',
  'dnsFailureRefreshRate',
  'respectDnsTtl',
  'dnsJitter',
  'dnsLookupFamily',
  'typedDnsResolverConfig',
  'waitForWarmOnInit',
  'outlierDetection',
  'cleanupInterval',
  'upstreamBindConfig',
  'lbSubsetConfig',
  'ringHashLbConfig',
  'maglevLbConfig',
  'originalDstLbConfig',
  'leastRequestLbConfig',
  'roundRobinLbConfig',
  'commonLbConfig',
  'transportSocket',
  'metadata',
  'protocolSelection',
  'upstreamConnectionOptions',
  'closeConnectionsOnHostHealthFailure',
  'ignoreHealthOnHostRemoval',
  'loadBalancingPolicy',
  'preconnectPolicy',
  'filters',
])
const KNOWN_COMMON_LB = new Set([
  'healthyPanicThreshold',
  'zoneAwareLbConfig',
  'localityWeightedLbConfig',
  'updateMergeWindow',
  'closeConnectionsOnHostSetChange',
  'consistentHashingLbConfig',
  'ignoreNewHostsUntilFirstHc',
])
const ONE_MIB = 1024 * 1024
const TYPE = { STATIC: 0, STRICT_DNS: 1, LOGICAL_DNS: 2, EDS: 3, ORIGINAL_DST: 4 } as const
const FAMILIES: readonly DnsFamily[] = ['auto', 'v4', 'v6', 'v4-preferred', 'all']
const CARES = 'envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig'
const GETADDRINFO = 'envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig'

/** Checks and compiles a cluster. Throws ConfigError with everything that is invalid or not supported. */
export function compileCluster(proto: ClusterProto, notEnforced: (path: string) => void): ClusterSettings {
  const problems = new Problems()
  compileFilters(proto, problems)
  if (proto.name === '') problems.add('name', 'value length must be at least 1 characters')
  problems.refuseUnknown(proto, KNOWN, 'cluster')
  if (proto.commonLbConfig) problems.refuseUnknown(proto.commonLbConfig, KNOWN_COMMON_LB, 'common_lb_config')
  if (proto.preconnectPolicy && (proto.preconnectPolicy.perUpstreamPreconnectRatio ?? 1) > 1)
    problems.add('preconnect_policy.per_upstream_preconnect_ratio', 'not supported')
  if (proto.preconnectPolicy && (proto.preconnectPolicy.predictivePreconnectRatio ?? 1) > 1)
    problems.add('preconnect_policy.predictive_preconnect_ratio', 'not supported')
  const connectTimeout = durationMs(proto.connectTimeout) ?? 5000
  if (connectTimeout <= 0) problems.add('connect_timeout', 'value must be greater than 0s')
  const discovery = compileDiscovery(proto, problems)
  const bufferLimit = proto.perConnectionBufferLimitBytes ?? ONE_MIB
  const names = discovery.type === 'strict-dns' || discovery.type === 'logical-dns'
  const assignment = compileAssignment(proto.loadAssignment, names, 'load_assignment', problems)
  if (discovery.type === 'logical-dns' && assignment.hosts.length !== 1)
    problems.add(
      'load_assignment',
      'LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint',
    )
  const balancer = compileBalancer(proto, problems)
  if (balancer === undefined && discovery.type !== 'original-dst' && problems.errors.length === 0)
    problems.add('lb_policy', 'CLUSTER_PROVIDED is only supported with ORIGINAL_DST')
  if (discovery.type === 'original-dst' && balancer !== undefined)
    problems.add('lb_policy', 'ORIGINAL_DST clusters must use CLUSTER_PROVIDED')
  proto.circuitBreakers?.thresholds.forEach((t, i) => {
    if (t.maxConnectionPools !== undefined)
      problems.add(`circuit_breakers.thresholds[${i}].max_connection_pools`, 'not supported')
  })
  const keepAlive = proto.upstreamConnectionOptions?.tcpKeepalive
  const settings: ClusterSettings = {
    name: proto.name,
    observabilityName: proto.altStatName === '' ? proto.name : proto.altStatName,
    connectTimeout,
    bufferLimit,
    http: compileHttpOptions(proto, bufferLimit, problems, notEnforced),
    discovery,
    assignment,
    balancer,
    mergeWindow: durationMs(proto.commonLbConfig?.updateMergeWindow) ?? 1000,
    bind: compileBind(proto, problems),
    // Linux' own default until the first probe.
    keepAliveMs: keepAlive ? (keepAlive.keepaliveTime ?? 7200) * 1000 : undefined,
    closeOnHealthFailure: proto.closeConnectionsOnHostHealthFailure,
    closeOnHostSetChange: proto.commonLbConfig?.closeConnectionsOnHostSetChange ?? false,
    metadata: compileMetadata(proto.metadata),
    outlier: proto.outlierDetection ? compileOutlier(proto.outlierDetection, problems) : undefined,
  }
  if (problems.errors.length > 0) throw new ConfigError(problems.errors.map((e) => `cluster '${proto.name}': ${e}`))
  return settings
}

/** Network filters towards the upstream: Istio's metadata exchange, which only feeds telemetry of TCP, is passed over. */
function compileFilters(proto: ClusterProto, problems: Problems): void {
  proto.filters.forEach((filter, i) => {
    const path = `filters[${i}]`
    if (filter.name !== METADATA_EXCHANGE) problems.add(path, `network filter ${filter.name} is not supported`)
  })
}

const METADATA_EXCHANGE = 'istio.metadata_exchange'

function compileDiscovery(proto: ClusterProto, problems: Problems): DiscoverySettings {
  const { clusterDiscoveryType: type } = proto
  switch (type.case === 'clusterType' ? -1 : (type.value ?? 0)) {
    case TYPE.STATIC:
      return { type: 'static' }
    case TYPE.EDS: {
      const eds = proto.edsClusterConfig
      if (!eds?.edsConfig) problems.add('eds_cluster_config.eds_config', 'value is required')
      const source = eds?.edsConfig?.configSourceSpecifier.case
      if (source === 'path' || source === 'pathConfigSource')
        problems.add('eds_cluster_config.eds_config.path_config_source', 'not supported')
      return {
        type: 'eds',
        serviceName: eds?.serviceName || proto.name,
        initialFetchTimeout: durationMs(eds?.edsConfig?.initialFetchTimeout) ?? 15_000,
      }
    }
    case TYPE.STRICT_DNS:
    case TYPE.LOGICAL_DNS: {
      checkResolver(proto, problems)
      const refresh = durationMs(proto.dnsRefreshRate) ?? 5000
      return {
        type: type.value === TYPE.STRICT_DNS ? 'strict-dns' : 'logical-dns',
        refresh,
        failureRefresh: durationMs(proto.dnsFailureRefreshRate?.baseInterval) ?? refresh,
        respectTtl: proto.respectDnsTtl,
        jitter: durationMs(proto.dnsJitter) ?? 0,
        family: FAMILIES[proto.dnsLookupFamily] ?? 'auto',
      }
    }
    case TYPE.ORIGINAL_DST: {
      const own = proto.lbConfig.case === 'originalDstLbConfig' ? proto.lbConfig.value : undefined
      if (own?.metadataKey) problems.add('original_dst_lb_config.metadata_key', 'not supported')
      return {
        type: 'original-dst',
        cleanupInterval: durationMs(proto.cleanupInterval) ?? 5000,
        header: own?.useHttpHeader ? (own.httpHeaderName || 'x-envoy-original-dst-host').toLowerCase() : undefined,
        port: own?.upstreamPortOverride,
      }
    }
    default: {
      const name = type.case === 'clusterType' ? type.value.name : String(type.value)
      problems.add('cluster_type', `${name} is not supported`)
      return { type: 'static' }
    }
  }
}

/** Names are resolved by the system; a config that asks for other servers cannot be honoured. */
function checkResolver(proto: ClusterProto, problems: Problems): void {
  const any = proto.typedDnsResolverConfig?.typedConfig
  if (any === undefined || typeNameOf(any.typeUrl) === GETADDRINFO) return
  const own = typeNameOf(any.typeUrl) === CARES ? unpack(any, CARES) : undefined
  if (own === undefined) problems.add('typed_dns_resolver_config', `${typeNameOf(any.typeUrl)} is not supported`)
  else if (own.resolvers.length > 0) problems.add('typed_dns_resolver_config.resolvers', 'not supported')
}

function compileBind(proto: ClusterProto, problems: Problems): string | undefined {
  const bind = proto.upstreamBindConfig
  if (!bind) return undefined
  problems.refuseUnknown(bind, new Set(['sourceAddress', 'freebind']), 'upstream_bind_config')
  const address = bind.sourceAddress?.address
  if (address === undefined) return undefined
  if (isIP(address) === 0) problems.add('upstream_bind_config.source_address', `malformed IP address: ${address}`)
  const port = bind.sourceAddress?.portSpecifier
  if (port?.case === 'portValue' && port.value !== 0)
    problems.add('upstream_bind_config.source_address.port_value', 'not supported')
  return address === '0.0.0.0' || address === '::' ? undefined : address
}
