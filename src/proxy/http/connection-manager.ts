import type { Message } from '@bufbuild/protobuf'
import type { RouteConfiguration } from '#gen/envoy/config/route/v3/route_pb.js'
import type {
  HttpConnectionManager,
  ScopedRoutes as ScopedRoutesProto,
} from '#gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import {
  ConfigError,
  type ConnectionHandler,
  type ListenerContext,
  type ProxyContext,
  type TerminalFilterFactory,
} from '../context.ts'
import { whenAllReady } from '../ecds/discovered.ts'
import type { HttpFilterFactory } from '../filters/filter.ts'
import { compilePerRouteConfigs, sharedPerRouteConfigs } from '../filters/per-route.ts'
import { compileFilterChain } from '../filters/registry.ts'
import type { Transport } from '../listener/connection.ts'
import { compileAccessLoggers } from '../observe/formatter.ts'
import { Problems } from './config.ts'
import { HttpFilterChain } from './filter-chain.ts'
import { compileHcmConfig } from './hcm-config.ts'
import { HttpConnection } from './http-connection.ts'
import { LocalReplyRewriter } from './local-reply-config.ts'
import { HttpManager } from './manager.ts'
import { compileRouteConfiguration, type RouteCompileContext } from './router/compile.ts'
import { ScopedRoutes } from './router/scoped-routes.ts'

/**
 * The HTTP connection manager as a listener's terminal filter (source/common/http/conn_manager_impl.cc): serves
 * HTTP on accepted connections, by routes that are inline or come by RDS. Throws ConfigError with all that is
 * wrong.
 */
export const httpConnectionManager: TerminalFilterFactory = (config, context, listener) =>
  new HttpConnectionHandler(config, context, listener)

class HttpConnectionHandler implements ConnectionHandler {
  readonly endCloses = true
  private readonly manager: HttpManager
  private readonly filters: readonly HttpFilterFactory[]
  private readonly discovered: readonly { whenReady(ready: () => void): void }[]
  private readonly open = new Set<HttpConnection>()
  private readonly subscriptions: { close(): void }[] = []
  private readonly gone = (connection: HttpConnection) => {
    this.open.delete(connection)
  }
  private ready: (() => void) | undefined
  /** The first routes that came were refused. */
  private refused = false

  constructor(config: Message, context: ProxyContext, listener: ListenerContext) {
    const hcm = config as HttpConnectionManager
    const problems = new Problems()
    const settings = compileHcmConfig(hcm, context, problems)
    const entries = compileFilterChain(
      hcm.httpFilters,
      context,
      listener,
      settings.statPrefix,
      settings.proxy100Continue,
      problems,
    )
    this.filters = entries.map((entry) => entry.factory)
    this.discovered = entries.flatMap((entry) => entry.discovered ?? [])
    const loggers = problems.collect('access_log', () => compileAccessLoggers(hcm.accessLog, context)) ?? []
    const { localReplyConfig } = hcm
    const replies = localReplyConfig && new LocalReplyRewriter(localReplyConfig, context.runtime, problems)
    this.manager = new HttpManager(settings, context, listener, new HttpFilterChain(entries), loggers, replies)
    const counting = context.stats.onShow(() => this.countBytes())
    this.subscriptions.push({ close: counting })
    const { routeSpecifier } = hcm
    const routing: RouteCompileContext = {
      runtime: context.runtime,
      stats: context.stats,
      runtimeValues: context.runtimeValues,
      filterConfigs: (configs, problems, path) => compilePerRouteConfigs(configs, context, problems, path),
      notEnforced: context.notEnforced,
    }
    const use = (routes: RouteConfiguration, checked: RouteCompileContext) => {
      this.manager.routes = compileRouteConfiguration(routes, checked)
    }
    if (routeSpecifier.case === 'routeConfig') {
      const clusterExists = (name: string) => context.clusters.has?.(name) ?? context.clusters.get(name) !== undefined
      const validates = routeSpecifier.value.validateClusters ?? true
      problems.collect('', () => use(routeSpecifier.value, validates ? { ...routing, clusterExists } : routing))
    } else if (routeSpecifier.case === 'scopedRoutes') {
      problems.collect('scoped_routes', () => this.useScopes(routeSpecifier.value, routing, context))
    } else if (routeSpecifier.case !== 'rds') {
      problems.add('http_connection_manager.route_specifier', `${routeSpecifier.case ?? 'nothing'} is not supported`)
    }
    // What has come to be beside requests must not stay when nothing comes of them.
    if (problems.errors.length > 0) for (const { factory } of entries) factory.close?.()
    problems.throwIfAny()
    if (routeSpecifier.case === 'rds') {
      const onUpdate = (routes: RouteConfiguration) => {
        try {
          use(routes, ofRds(routes, routing, context))
        } finally {
          this.routesCame()
        }
      }
      const { routeConfigName } = routeSpecifier.value
      this.subscriptions.push(context.routes.subscribe(routeConfigName, onUpdate, () => this.routesCame()))
    }
  }

  /** Route configurations by scope: inline ones are there, those by name come by RDS. */
  private useScopes(config: ScopedRoutesProto, routing: RouteCompileContext, context: ProxyContext): void {
    const list = config.configSpecifier
    if (list.case !== 'scopedRouteConfigurationsList') throw new ConfigError([`${list.case}: not supported`])
    const scopes = new ScopedRoutes(config)
    for (const scope of list.value.scopedRouteConfigurations) {
      const key = (scope.key?.fragments ?? []).map((fragment) => fragment.type.value ?? '')
      if (scope.onDemand) throw new ConfigError([`${scope.name}: on_demand: not supported`])
      const use = (routes: RouteConfiguration, checked: RouteCompileContext) =>
        scopes.set(key, compileRouteConfiguration(routes, checked))
      const onUpdate = (routes: RouteConfiguration) => use(routes, ofRds(routes, routing, context))
      if (scope.routeConfiguration !== undefined) use(scope.routeConfiguration, routing)
      else this.subscriptions.push(context.routes.subscribe(scope.routeConfigurationName, onUpdate))
    }
    this.manager.routes = scopes
  }

  /** Refused routes keep nobody waiting: without any, requests get 404 (rds_route_config_subscription.cc). */
  private routesCame(): void {
    this.refused = this.manager.routes === undefined
    this.warmed()
  }

  private warmed(): void {
    const { ready } = this
    this.ready = undefined
    ready?.()
  }

  /** Bytes are counted when a request ends, and when somebody looks. */
  private countBytes(): void {
    let buffered = 0
    for (const connection of this.open) {
      connection.countBytes()
      buffered += connection.buffered
    }
    this.manager.stats.cxRxBuffered.set(buffered)
  }

  onConnection(transport: Transport): void {
    this.open.add(new HttpConnection(this.manager, transport, this.gone))
  }

  /** Envoy counts connections as they are accepted, whatever becomes of them. */
  onNeverReached(transport: Transport, secure = transport.info.tls !== undefined): void {
    const { stats } = this.manager
    stats.cxTotal.inc()
    if (secure) stats.cxSslTotal.inc()
    stats.cxDestroy.inc()
    ;(transport.closedHere ? stats.cxDestroyLocal : stats.cxDestroyRemote).inc()
  }

  whenWarm(ready: () => void): void {
    let missing = 1
    const arrived = (): void => {
      missing--
      if (missing === 0) ready()
    }
    for (const filter of this.filters) {
      if (filter.whenWarm === undefined) continue
      missing++
      filter.whenWarm(arrived)
    }
    if (this.manager.routes !== undefined || this.refused) arrived()
    else this.ready = arrived
  }

  whenDiscovered(ready: () => void): void {
    whenAllReady(this.discovered, ready)
  }

  close(): void {
    for (const subscription of this.subscriptions) subscription.close()
    for (const filter of this.filters) filter.close?.()
  }

  get connections(): number {
    return this.open.size
  }
}

/** How a route configuration that came by RDS is compiled. */
function ofRds(routes: RouteConfiguration, routing: RouteCompileContext, context: ProxyContext): RouteCompileContext {
  return { ...routing, filterConfigs: sharedPerRouteConfigs(routes, context) }
}
