import type { Route } from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { HTTPMatchRequest, HTTPRetry } from '../../api/kinds/virtual-service.ts'
import { type Labels, selects } from '../../registry/labels.ts'
import type { Service } from '../../registry/model.ts'
import { type Init, make } from '../../xds/messages.ts'
import type { PilotEnv } from '../env.ts'
import { parseCluster } from '../names.ts'
import { configMetadata } from '../provenance.ts'
import type { MergedRule } from '../scope/destination-rules.ts'
import type { SourcedRoute, VirtualServiceConfig } from '../scope/virtual-services.ts'
import { directResponseAction, forwardAction, redirectAction } from './action.ts'
import { corsConfig, faultConfig } from './filters.ts'
import { headerChanges } from './headers.ts'
import { isCatchAll, type RouteSemantics, routeMatch } from './match.ts'
import { routeSessionConfig, SESSION_FILTER } from './session.ts'

/** What translating the rules of a VirtualService needs to know of the proxy and its listener. */
export interface RouteOptions {
  listenerPort: number
  /** Names that the rules may be bound to here: `mesh`, or gateways. */
  gateways: ReadonlySet<string>
  labels: Labels
  namespace: string
  semantics: RouteSemantics
  isTls: boolean
  proxyless: boolean
  xForwardedHost: boolean
  disableShadowHostSuffix: boolean
  defaultRetry: HTTPRetry | undefined
  env: PilotEnv
  service(hostname: string): Service | undefined
  ruleFor(hostname: string): MergedRule | undefined
}

/**
 * The routes of a VirtualService on one port: a route per match block, in order, up to the first that takes everything
 * (networking/core/route BuildHTTPRoutesForVirtualService).
 */
export function virtualServiceRoutes(config: VirtualServiceConfig, options: RouteOptions): Route[] {
  const out: Route[] = []
  for (const route of config.http) {
    const matches = route.rule.match?.length ? route.rule.match : [undefined]
    for (const match of matches) {
      if (!applies(match, options)) continue
      const made = translate(config, route, match, options)
      out.push(make('envoy.config.route.v3.Route', made))
      if (match && isCatchAll(made.match ?? {})) return out
    }
    if (!route.rule.match?.length) break
  }
  return out
}

/** Conditions on port, gateway and client are decided here; they make no part of the route. */
function applies(match: HTTPMatchRequest | undefined, options: RouteOptions): boolean {
  if (!match) return true
  if (match.port && match.port !== options.listenerPort) return false
  if (match.gateways?.length) return match.gateways.some((name) => options.gateways.has(name))
  if (!selects(match.sourceLabels, options.labels)) return false
  return !match.sourceNamespace || match.sourceNamespace === options.namespace
}

function translate(
  config: VirtualServiceConfig,
  { rule, origin }: SourcedRoute,
  match: HTTPMatchRequest | undefined,
  options: RouteOptions,
): Init<'envoy.config.route.v3.Route'> {
  const name = rule.name ?? ''
  const above = headerChanges(rule.headers)
  const out: Init<'envoy.config.route.v3.Route'> = {
    name: match?.name ? `${name}.${match.name}` : name,
    match: routeMatch(match, options.semantics),
    metadata: configMetadata(config.object, origin),
    statPrefix: match?.statPrefix,
    ...above.changes,
  }
  if (rule.redirect) {
    out.action = redirectAction(rule.redirect, options.listenerPort, options.isTls)
  } else if (rule.directResponse) {
    out.action = directResponseAction(rule.directResponse)
  } else {
    const { action, changes } = forwardAction(rule, out.match, above, options)
    out.action = { case: 'route', value: action }
    Object.assign(out, changes)
  }
  out.decorator = { operation: operationOf(out, config.name, options.listenerPort) }
  const fault = rule.fault && faultConfig(rule.fault)
  const forwards = !rule.redirect && !rule.directResponse
  const session = forwards
    ? routeSessionConfig(
        (rule.route ?? []).map((to) => options.service(to.destination.host)),
        options.env,
      )
    : undefined
  out.typedPerFilterConfig = {
    ...(fault ? { 'envoy.filters.http.fault': fault } : {}),
    ...(rule.corsPolicy ? { 'envoy.filters.http.cors': corsConfig(rule.corsPolicy) } : {}),
    ...(session ? { [SESSION_FILTER]: session } : {}),
  }
  return out
}

/** The span name: host and port of the only destination, else the VirtualService's name, and the path. */
function operationOf(route: Init<'envoy.config.route.v3.Route'>, name: string, port: number): string {
  const specifier = route.match?.pathSpecifier
  const path =
    specifier?.case === 'prefix'
      ? `${specifier.value}*`
      : specifier?.case === 'path'
        ? specifier.value
        : specifier?.case === 'safeRegex'
          ? (specifier.value.regex ?? '')
          : '/*'
  const cluster =
    route.action?.case === 'route' && route.action.value.clusterSpecifier?.case === 'cluster'
      ? parseCluster(route.action.value.clusterSpecifier.value)
      : undefined
  return cluster ? `${cluster.host}:${cluster.port}${path}` : `${name}:${port}${path}`
}
