import { isIP } from 'node:net'
import type {
  Cluster as ClusterProto,
  Cluster_CustomClusterType as CustomClusterType,
} from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { DnsCacheConfig } from '#gen/envoy/extensions/common/dynamic_forward_proxy/v3/dns_cache_pb.js'
import type { Runtime } from '../../runtime.ts'
import { typeNameOf, unpack } from '../../xds/messages.ts'
import { ConfigError } from '../context.ts'
import { durationMs, Problems } from '../http/config.ts'
import { type KeepAlive, keepAliveOf } from '../net/keep-alive.ts'
import { type Assignment, compileAssignment, compileMetadata } from './assignment.ts'
import { type BalancerFactory, compileBalancer } from './balancers/factory.ts'
import type { DnsBackoff } from './discovery/dns-backoff.ts'
import { compileDnsBackoff } from './discovery/dns-backoff.ts'
import { compileDnsServers, FAMILIES } from './discovery/dns-cache-config.ts'
import type { SubClusterSettings } from './discovery/sub-clusters.ts'
import { compileHealthCheck } from './health/compile.ts'
import type { HealthCheckSettings } from './health/settings.ts'
import type { Metadata } from './host.ts'
import { compileOutlier, type OutlierSettings } from './outlier-config.ts'
import { compileHttpOptions, type HttpOptions } from './protocol-options.ts'
import { checkCircuitBreakers } from './resources.ts'

/** How a cluster finds its hosts. Times in ms. */
export type DiscoverySettings =
  | { readonly type: 'static' }
  | { readonly type: 'eds'; readonly serviceName: string; readonly initialFetchTimeout: number }
  | {
      readonly type: 'strict-dns' | 'logical-dns'
      readonly refresh: number
      readonly failure: DnsBackoff
      /** Name servers to ask (`ip:port`); undefined: the proxy's resolver. */
      readonly servers: readonly string[] | undefined
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
  | { readonly type: 'dynamic-forward-proxy'; readonly cache: DnsCacheConfig }
  | { readonly type: 'sub-clusters'; readonly settings: SubClusterSettings }
  | { readonly type: 'aggregate'; readonly clusters: readonly string[]; readonly panicThreshold: number }

/** Which addresses of a name are asked for: `dns_lookup_family`. */
export type DnsFamily = 'auto' | 'v4' | 'v6' | 'v4-preferred' | 'all'

/** Where connections come from. */
export interface UpstreamBind {
  /** Undefined: whatever address the system picks. */
  readonly ip: string | undefined
  /** 0: whatever port is free. */
  readonly port: number
}

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
  readonly bind: UpstreamBind | undefined
  /** Undefined: no probes. */
  readonly keepAlive: KeepAlive | undefined
  readonly closeOnHealthFailure: boolean
  readonly closeOnHostSetChange: boolean
  readonly metadata: Metadata
  readonly outlier: OutlierSettings | undefined
  readonly healthCheck: HealthCheckSettings | undefined
  /** Hosts that discovery drops go at once, even if their checks pass. */
  readonly ignoreHealthOnRemoval: boolean
  /** New hosts are left out of the arithmetic of panic until their first check. */
  readonly ignoreNewHosts: boolean
  /** Numbers of `HealthStatus` in which a host may be asked for by address. */
  readonly overrideStatuses: ReadonlySet<number>
}

const KNOWN = new Set([
  'transportSocketMatches',
  'name',
  'altStatName',
  'type',
  'clusterType',
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
  'healthChecks',
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
  'overrideHostStatus',
])
/** UNKNOWN, HEALTHY, DEGRADED (source/common/upstream/host_utility.cc createOverrideHostStatus). */
const OVERRIDE_STATUSES = [0, 1, 5]
const ONE_MIB = 1024 * 1024
const TYPE = { STATIC: 0, STRICT_DNS: 1, LOGICAL_DNS: 2, EDS: 3, ORIGINAL_DST: 4 } as const
/** Extensions that stand for the plain types, under the names that Envoy registers them by. */
const BY_NAME: Readonly<Record<string, number>> = {
  'envoy.cluster.static': TYPE.STATIC,
  'envoy.cluster.strict_dns': TYPE.STRICT_DNS,
  'envoy.cluster.logical_dns': TYPE.LOGICAL_DNS,
  'envoy.cluster.eds': TYPE.EDS,
  'envoy.cluster.original_dst': TYPE.ORIGINAL_DST,
}
/** Kinds that pick the host themselves: no balancer goes with them, and they go with none. */
const PICKING: ReadonlySet<string> = new Set(['original-dst', 'dynamic-forward-proxy', 'sub-clusters', 'aggregate'])
const DYNAMIC_FORWARD_PROXY = 'envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig'
const AGGREGATE = 'envoy.extensions.clusters.aggregate.v3.ClusterConfig'
const DEFAULT_PANIC = 50

/** Checks and compiles a cluster. Throws ConfigError with everything that is invalid or not supported. */
export function compileCluster(proto: ClusterProto, runtime: Runtime): ClusterSettings {
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
  const picking = PICKING.has(discovery.type)
  if (balancer === undefined && !picking && problems.errors.length === 0)
    problems.add(
      'lb_policy',
      'cluster: LB policy CLUSTER_PROVIDED must be combined with a cluster type that provides its own load balancer',
    )
  if (balancer !== undefined && picking)
    problems.add('lb_policy', `cluster: LB policy must be CLUSTER_PROVIDED with cluster type ${discovery.type}`)
  checkCircuitBreakers(proto.circuitBreakers, problems)
  if (proto.commonLbConfig?.consistentHashingLbConfig?.useHostnameForHashing && discovery.type !== 'strict-dns')
    problems.add(
      'common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing',
      'Cannot use hostname for consistent hashing loadbalancing for this type of cluster',
    )
  const http = forwardProxyHttp(proto, compileHttpOptions(proto, bufferLimit, problems), problems)
  const settings: ClusterSettings = {
    name: proto.name,
    observabilityName: proto.altStatName === '' ? proto.name : proto.altStatName,
    connectTimeout,
    bufferLimit,
    http,
    discovery,
    assignment,
    balancer,
    mergeWindow: durationMs(proto.commonLbConfig?.updateMergeWindow) ?? 1000,
    bind: compileBind(proto, problems),
    keepAlive: keepAliveOf(proto.upstreamConnectionOptions?.tcpKeepalive),
    closeOnHealthFailure: proto.closeConnectionsOnHostHealthFailure,
    closeOnHostSetChange: proto.commonLbConfig?.closeConnectionsOnHostSetChange ?? false,
    metadata: compileMetadata(proto.metadata),
    outlier: proto.outlierDetection ? compileOutlier(proto.outlierDetection, problems) : undefined,
    healthCheck: compileHealthCheck(proto.healthChecks, http.protocol !== 'http1', runtime, problems),
    ignoreHealthOnRemoval: proto.ignoreHealthOnHostRemoval,
    ignoreNewHosts: proto.commonLbConfig?.ignoreNewHostsUntilFirstHc ?? false,
    overrideStatuses: new Set(proto.commonLbConfig?.overrideHostStatus?.statuses ?? OVERRIDE_STATUSES),
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
  if (type.case === 'clusterType' && BY_NAME[type.value.name] === undefined)
    return compileClusterType(type.value, proto, problems)
  const number = type.case === 'clusterType' ? BY_NAME[type.value.name]! : (type.value ?? 0)
  switch (number) {
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
      const servers = compileDnsServers(proto.typedDnsResolverConfig, 'typed_dns_resolver_config', problems)
      const refresh = durationMs(proto.dnsRefreshRate) ?? 5000
      return {
        type: number === TYPE.STRICT_DNS ? 'strict-dns' : 'logical-dns',
        refresh,
        failure: compileDnsBackoff(proto.dnsFailureRefreshRate, refresh, 'dns_failure_refresh_rate', problems),
        servers,
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
    default:
      problems.add('type', `${number} is not supported`)
      return { type: 'static' }
  }
}

/** Cluster types that are extensions. */
function compileClusterType(type: CustomClusterType, proto: ClusterProto, problems: Problems): DiscoverySettings {
  const any = type.typedConfig
  const name = any === undefined ? '' : typeNameOf(any.typeUrl)
  if (any !== undefined && name === DYNAMIC_FORWARD_PROXY) {
    const config = unpack(any, DYNAMIC_FORWARD_PROXY)!
    const at = 'cluster_type.typed_config'
    if (config.allowCoalescedConnections) problems.add(`${at}.allow_coalesced_connections`, 'not supported')
    const how = config.clusterImplementationSpecifier
    if (how.case === 'dnsCacheConfig') return { type: 'dynamic-forward-proxy', cache: how.value }
    if (how.case === 'subClustersConfig') {
      const { maxSubClusters, subClusterTtl, lbPolicy, preresolveClusters } = how.value
      if (preresolveClusters.length > 0) problems.add(`${at}.sub_clusters_config.preresolve_clusters`, 'not supported')
      const settings = { max: maxSubClusters ?? 1024, ttl: durationMs(subClusterTtl) ?? 300_000, lbPolicy }
      return { type: 'sub-clusters', settings }
    }
    problems.add(at, 'cluster_implementation_specifier: is required')
  } else if (any !== undefined && name === AGGREGATE) {
    const { clusters } = unpack(any, AGGREGATE)!
    if (clusters.length === 0)
      problems.add('cluster_type.typed_config.clusters', 'value must contain at least 1 item(s)')
    const panicThreshold = proto.commonLbConfig?.healthyPanicThreshold?.value ?? DEFAULT_PANIC
    return { type: 'aggregate', clusters, panicThreshold }
  } else
    problems.add(
      'cluster_type',
      `Didn't find a registered cluster factory implementation for name: '${type.name}'${name === '' ? '' : ` with type URL: '${name}'`}`,
    )
  return { type: 'static' }
}

/**
 * A dynamic forward proxy must check whom it talks to: SNI and the names of certificates follow the request, unless
 * the config says that it need not (source/extensions/clusters/dynamic_forward_proxy/cluster.cc).
 */
function forwardProxyHttp(proto: ClusterProto, http: HttpOptions, problems: Problems): HttpOptions {
  const type = proto.clusterDiscoveryType
  const any = type.case === 'clusterType' ? type.value.typedConfig : undefined
  const own = any && unpack(any, DYNAMIC_FORWARD_PROXY)
  if (own === undefined) return http
  const typed = Object.keys(proto.typedExtensionProtocolOptions).length > 0
  const checked =
    !typed && proto.upstreamHttpProtocolOptions === undefined
      ? { ...http, autoSni: true, autoSanValidation: true }
      : http
  if (!own.allowInsecureClusterOptions && !(checked.autoSni && checked.autoSanValidation))
    problems.add(
      'cluster_type',
      'dynamic_forward_proxy cluster must have auto_sni and auto_san_validation true unless allow_insecure_cluster_options is set.',
    )
  return checked
}

function compileBind(proto: ClusterProto, problems: Problems): UpstreamBind | undefined {
  const bind = proto.upstreamBindConfig
  if (!bind) return undefined
  problems.refuseUnknown(bind, new Set(['sourceAddress', 'freebind']), 'upstream_bind_config')
  const address = bind.sourceAddress?.address
  if (address === undefined) return undefined
  if (isIP(address) === 0) problems.add('upstream_bind_config.source_address', `malformed IP address: ${address}`)
  const port = bind.sourceAddress?.portSpecifier
  if (port?.case === 'namedPort') problems.add('upstream_bind_config.source_address.named_port', 'not supported')
  return {
    ip: address === '0.0.0.0' || address === '::' ? undefined : address,
    port: port?.case === 'portValue' ? port.value : 0,
  }
}
