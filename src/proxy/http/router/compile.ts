import type { Any } from '@bufbuild/protobuf/wkt'
import type { Metadata as MetadataProto } from '#gen/envoy/config/core/v3/base_pb.js'
import type {
  CorsPolicy,
  RouteAction,
  Route as RouteProto,
  VirtualHost as VirtualHostProto,
  WeightedCluster_ClusterWeight,
} from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { RouteConfiguration } from '#gen/envoy/config/route/v3/route_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { make } from '../../../xds/messages.ts'
import { StatsStore } from '../../observe/stats.ts'
import type { RuntimeValues } from '../../runtime-values.ts'
import { Problems } from '../config.ts'
import { headerName } from '../headers.ts'
import type { RateLimitContext } from '../rate-limit/context.ts'
import { compileRateLimits } from '../rate-limit/policies.ts'
import { DirectResponse } from './direct-response.ts'
import { Domains } from './domains.ts'
import { compileForward } from './forward.ts'
import { HeaderReader } from './header-matcher.ts'
import { HeaderMutation } from './header-mutation.ts'
import { CORS_FILTER, corsConfig } from './legacy-cors.ts'
import { Redirect } from './redirect.ts'
import { HostRewrite } from './rewrite.ts'
import {
  FilterConfigs,
  type Forward,
  type PerRouteFilter,
  type Route,
  type RouteMetadata,
  type VirtualHost,
  WeightedClusters,
  type WeightedEntry,
} from './route.ts'
import { RouteMatch } from './route-match.ts'
import { RouteStats } from './route-stats.ts'
import { RouteTable } from './route-table.ts'
import { VirtualClusters } from './virtual-cluster.ts'

/** What compiling needs from its surroundings. */
export interface RouteCompileContext {
  readonly runtime: Runtime
  /** Compiles one `typed_per_filter_config` map; errors go to `problems` under `path`. */
  readonly filterConfigs: (
    configs: Readonly<Record<string, Any>>,
    problems: Problems,
    path: string,
  ) => ReadonlyMap<string, PerRouteFilter>
  /** Where virtual clusters and routes count; undefined: they do not. */
  readonly stats?: StatsStore
  /** Set for an inline configuration, whose clusters must exist (validate_clusters); undefined for RDS. */
  readonly clusterExists?: (name: string) => boolean
  /** What the bootstrap's runtime layers set. */
  readonly runtimeValues?: RuntimeValues | undefined
  /** Told what is understood and has no effect yet. */
  readonly notEnforced?: ((path: string) => void) | undefined
}

const CONFIG_FIELDS = new Set([
  'name',
  'virtualHosts',
  'internalOnlyHeaders',
  'responseHeadersToAdd',
  'responseHeadersToRemove',
  'requestHeadersToAdd',
  'requestHeadersToRemove',
  'mostSpecificHeaderMutationsWins',
  'validateClusters',
  'maxDirectResponseBodySizeBytes',
  'requestMirrorPolicies',
  'ignorePortInHostMatching',
  'ignorePathParametersInPathMatching',
  'typedPerFilterConfig',
  'metadata',
])
const HOST_FIELDS = new Set([
  'name',
  'domains',
  'routes',
  'requireTls',
  'requestHeadersToAdd',
  'requestHeadersToRemove',
  'responseHeadersToAdd',
  'responseHeadersToRemove',
  'typedPerFilterConfig',
  'includeRequestAttemptCount',
  'includeAttemptCountInResponse',
  'retryPolicy',
  'includeIsTimeoutRetryHeader',
  'perRequestBufferLimitBytes',
  'requestMirrorPolicies',
  'metadata',
  'virtualClusters',
  'cors',
  'hedgePolicy',
  'requestBodyBufferLimit',
  'rateLimits',
])
const ROUTE_FIELDS = new Set([
  'name',
  'match',
  'route',
  'redirect',
  'directResponse',
  'nonForwardingAction',
  'metadata',
  'decorator',
  'typedPerFilterConfig',
  'requestHeadersToAdd',
  'requestHeadersToRemove',
  'responseHeadersToAdd',
  'responseHeadersToRemove',
  'perRequestBufferLimitBytes',
  'statPrefix',
  'requestBodyBufferLimit',
])

interface Mutating {
  readonly requestHeadersToAdd: RouteConfiguration['requestHeadersToAdd']
  readonly requestHeadersToRemove: string[]
  readonly responseHeadersToAdd: RouteConfiguration['responseHeadersToAdd']
  readonly responseHeadersToRemove: string[]
}

interface Level {
  readonly request: HeaderMutation | undefined
  readonly response: HeaderMutation | undefined
  readonly filters: ReadonlyMap<string, PerRouteFilter>
}

/** Compiles a RouteConfiguration (source/common/router/config_impl.cc). Throws ConfigError with every error found. */
export function compileRouteConfiguration(config: RouteConfiguration, context: RouteCompileContext): RouteTable {
  return new Compiler(config, context).run()
}

class Compiler {
  private readonly config: RouteConfiguration
  private readonly context: RouteCompileContext
  private readonly problems = new Problems()
  private readonly stats: StatsStore
  private readonly limits: RateLimitContext

  constructor(config: RouteConfiguration, context: RouteCompileContext) {
    this.config = config
    this.context = context
    this.limits = { runtime: context.runtime, values: context.runtimeValues }
    this.stats = context.stats ?? new StatsStore()
  }

  run(): RouteTable {
    const { config, problems } = this
    problems.refuseUnknown(config, CONFIG_FIELDS, 'route_config')
    const domains = new Domains<VirtualHost>(config.ignorePortInHostMatching)
    const top = this.level(config, config.typedPerFilterConfig, 'route_config')
    const hosts: VirtualHost[] = []
    const toTls = new Map<VirtualHost, Route>()
    const names = new Set<string>()
    config.virtualHosts.forEach((proto, i) => {
      const path = `virtual_hosts[${i}]`
      if (names.has(proto.name)) {
        problems.add(path, `Only unique names for virtual hosts are permitted. Duplicate entry of ${proto.name}`)
      }
      names.add(proto.name)
      const host = this.virtualHost(proto, top, path, toTls)
      hosts.push(host)
      if (proto.domains.length === 0) problems.add(`${path}.domains`, 'must not be empty')
      for (const domain of proto.domains) {
        if (!domains.add(domain, host)) {
          problems.add(
            path,
            domain === '*'
              ? `Only a single wildcard domain is permitted in route ${config.name}`
              : `Only unique values for domains are permitted. Duplicate entry of domain ${domain} in route ${config.name}`,
          )
        }
      }
    })
    problems.throwIfAny()
    return new RouteTable(
      config.name,
      hosts,
      domains,
      toTls,
      config.internalOnlyHeaders.map((n) => headerName(n.toLowerCase())),
      config.ignorePathParametersInPathMatching,
    )
  }

  private level(from: Mutating, filters: Readonly<Record<string, Any>>, path: string): Level {
    const { problems } = this
    const { runtime } = this.context
    const mutation = (add: Mutating['requestHeadersToAdd'], remove: readonly string[], field: string) => {
      if (add.length === 0 && remove.length === 0) return undefined
      return problems.collect(`${path}.${field}`, () => new HeaderMutation(add, remove, runtime))
    }
    return {
      request: mutation(from.requestHeadersToAdd, from.requestHeadersToRemove, 'request_headers'),
      response: mutation(from.responseHeadersToAdd, from.responseHeadersToRemove, 'response_headers'),
      filters: this.context.filterConfigs(filters, problems, `${path}.typed_per_filter_config`),
    }
  }

  private virtualHost(proto: VirtualHostProto, top: Level, path: string, toTls: Map<VirtualHost, Route>): VirtualHost {
    this.problems.refuseUnknown(proto, HOST_FIELDS, path)
    const level = this.level(proto, proto.typedPerFilterConfig, path)
    const routes: Route[] = []
    const host: VirtualHost = {
      name: proto.name,
      metadata: metadataOf(proto.metadata),
      requireTls: (['none', 'external', 'all'] as const)[proto.requireTls] ?? 'none',
      routes,
      virtualClusters: VirtualClusters.of(proto.virtualClusters, proto.name, this.stats, this.problems, path),
      rateLimits: compileRateLimits(proto.rateLimits, 'route', this.limits, this.problems, `${path}.rate_limits`),
    }
    proto.routes.forEach((route, i) => {
      const compiled = this.route(route, proto, host, [level, top], `${path}.routes[${i}]`)
      if (compiled) routes.push(compiled)
    })
    if (host.requireTls !== 'none') {
      const redirect = make('envoy.config.route.v3.Route', {
        match: { pathSpecifier: { case: 'prefix', value: '' } },
        action: {
          case: 'redirect',
          value: { schemeRewriteSpecifier: { case: 'httpsRedirect', value: true } },
        },
      } as never) as RouteProto
      const compiled = this.route(redirect, proto, host, [], path)
      if (compiled) toTls.set(host, compiled)
    }
    return host
  }

  private route(
    proto: RouteProto,
    hostProto: VirtualHostProto,
    host: VirtualHost,
    above: readonly Level[],
    path: string,
  ): Route | undefined {
    const { problems } = this
    problems.refuseUnknown(proto, ROUTE_FIELDS, path)
    const config = proto.match
    const match = config && problems.collect(path, () => new RouteMatch(config))
    if (!config) problems.add(`${path}.match`, 'is required')
    if (proto.action.case === undefined) problems.add(path, 'action: is required')
    const level = this.level(proto, proto.typedPerFilterConfig, path)
    if (match === undefined) return undefined
    const { action } = proto
    if (action.case === 'route') this.noteWithoutEffect(action.value)
    const forward =
      action.case === 'route'
        ? compileForward(
            action.value,
            match.path,
            proto,
            hostProto,
            this.config,
            problems,
            `${path}.route`,
            this.limits,
          )
        : undefined
    const limit = this.config.maxDirectResponseBodySizeBytes ?? 4096
    const decorator = proto.decorator
    const stats = proto.statPrefix === '' ? undefined : new RouteStats(this.stats, host.name, 'route', proto.statPrefix)
    const build = (
      levels: readonly Level[],
      to: Forward | undefined,
      weighted: WeightedClusters | undefined,
    ): Route => ({
      name: proto.name,
      match,
      virtualHost: host,
      metadata: metadataOf(proto.metadata),
      filters: this.filtersOf(levels, action.case === 'route' ? action.value.cors : undefined, hostProto.cors, path),
      requestMutations: this.ordered(levels, above.length, 'request'),
      responseMutations: this.ordered(levels, above.length, 'response'),
      forward: to,
      weighted,
      redirect:
        action.case === 'redirect'
          ? problems.collect(`${path}.redirect`, () => new Redirect(action.value, match.path, above.length === 0))
          : undefined,
      direct:
        action.case === 'directResponse'
          ? problems.collect(
              `${path}.direct_response`,
              () => new DirectResponse(action.value, limit, this.context.runtime),
            )
          : undefined,
      stats,
      watched: stats !== undefined || host.virtualClusters !== undefined,
      decorator: decorator && { operation: decorator.operation, propagate: decorator.propagate ?? true },
    })
    const levels = [level, ...above]
    const weighted =
      action.case === 'route' && forward
        ? this.weighted(action.value, forward, (own, to) => build([own, ...levels], to, undefined), `${path}.route`)
        : undefined
    if (forward && forward.cluster !== '') this.checkCluster(forward.cluster, `${path}.route.cluster`)
    for (const mirror of forward?.mirrors ?? []) {
      if (mirror.cluster !== '') this.checkCluster(mirror.cluster, `${path}.route.request_mirror_policies`, 'shadow ')
    }
    return build(levels, forward, weighted)
  }

  private noteWithoutEffect({ flushTimeout, earlyDataPolicy }: RouteAction): void {
    if (flushTimeout) this.context.notEnforced?.('route.flush_timeout')
    if (earlyDataPolicy) this.context.notEnforced?.('route.early_data_policy')
  }

  /** Per-filter configs of all levels; the older `cors` fields stand in where none is for that filter. */
  private filtersOf(
    levels: readonly Level[],
    own: CorsPolicy | undefined,
    host: CorsPolicy | undefined,
    path: string,
  ): FilterConfigs {
    const configs = levels.map((l) => l.filters)
    if ((own ?? host) === undefined || configs.some((c) => c.has(CORS_FILTER))) return new FilterConfigs(configs)
    const cors = [own, host].flatMap((policy) =>
      policy === undefined ? [] : this.context.filterConfigs(corsConfig(policy), this.problems, `${path}.cors`),
    )
    return new FilterConfigs([...cors, ...configs])
  }

  /** Mutations in order: weighted entry, route, virtual host, configuration; `most_specific…` turns the last three round. */
  private ordered(levels: readonly Level[], above: number, which: 'request' | 'response'): HeaderMutation[] {
    const common = above + 1
    const entry = levels.slice(0, levels.length - common)
    const rest = levels.slice(levels.length - common)
    const order = [...entry, ...(this.config.mostSpecificHeaderMutationsWins ? rest.toReversed() : rest)]
    return order.flatMap((l) => l[which] ?? [])
  }

  private weighted(
    action: RouteAction,
    forward: Forward,
    build: (own: Level, forward: Forward) => Route,
    path: string,
  ): WeightedClusters | undefined {
    const spec = action.clusterSpecifier
    if (spec.case !== 'weightedClusters') return undefined
    const { problems } = this
    const known = new Set(['clusters', 'totalWeight', 'runtimeKeyPrefix', 'headerName', 'useHashPolicy'])
    problems.refuseUnknown(spec.value, known, `${path}.weighted_clusters`)
    const entries: WeightedEntry[] = spec.value.clusters.map((c, i) => {
      const at = `${path}.weighted_clusters.clusters[${i}]`
      if ((c.name === '') === (c.clusterHeader === '')) problems.add(at, 'one of name and cluster_header is required')
      if (c.name !== '') this.checkCluster(c.name, at)
      const own = this.level(c, c.typedPerFilterConfig, at)
      return { weight: c.weight ?? 0, route: build(own, entryForward(c, forward, this.context.runtime)) }
    })
    const random = spec.value.randomValueSpecifier
    const clusters = new WeightedClusters(
      entries,
      random.case === 'headerName' ? new HeaderReader(random.value) : undefined,
      random.case === 'useHashPolicy' && random.value ? forward.hashPolicies : undefined,
    )
    if (clusters.total === 0)
      problems.add(`${path}.weighted_clusters`, 'Sum of weights in the weighted_cluster must be greater than 0.')
    if (clusters.total > 0xffff_ffff) problems.add(`${path}.weighted_clusters`, 'The sum of weights exceeds 4294967295')
    return clusters
  }

  private checkCluster(name: string, path: string, kind = ''): void {
    const exists = this.context.clusterExists
    if (exists === undefined || this.config.validateClusters === false || exists(name)) return
    this.problems.add(path, `route: unknown ${kind}cluster '${name}'`)
  }
}

/** A weighted entry inherits the route's policies; its cluster, subset metadata and host rewrite are its own. */
function entryForward(c: WeightedCluster_ClusterWeight, route: Forward, runtime: Runtime): Forward {
  const own = c.metadataMatch?.filterMetadata['envoy.lb'] as Record<string, unknown> | undefined
  const rewrite = c.hostRewriteSpecifier
  return {
    ...route,
    cluster: c.name,
    clusterHeader: c.clusterHeader === '' ? undefined : new HeaderReader(c.clusterHeader),
    metadataMatch: own === undefined ? route.metadataMatch : { ...route.metadataMatch, ...own },
    hostRewrite:
      rewrite.case === 'hostRewriteLiteral'
        ? new HostRewrite({ hostRewriteSpecifier: rewrite }, runtime, true)
        : route.hostRewrite,
  }
}

function metadataOf(metadata: MetadataProto | undefined): RouteMetadata {
  const out = new Map<string, Record<string, unknown>>()
  for (const [name, value] of Object.entries(metadata?.filterMetadata ?? {})) {
    out.set(name, value as Record<string, unknown>)
  }
  return out
}
