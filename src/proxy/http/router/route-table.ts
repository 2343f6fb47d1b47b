import type { HeaderName, RequestHead } from '../headers.ts'
import { H } from '../names.ts'
import type { Domains } from './domains.ts'
import { pathEnd } from './rewrite.ts'
import type { Route, RouteInput, VirtualHost } from './route.ts'

/** A compiled RouteConfiguration: immutable, swapped as a whole. */
export class RouteTable {
  readonly name: string
  readonly virtualHosts: readonly VirtualHost[]
  /** Stripped from external requests. */
  readonly internalOnlyHeaders: readonly HeaderName[]
  private readonly domains: Domains<VirtualHost>
  private readonly ignorePathParameters: boolean
  private readonly toTls: ReadonlyMap<VirtualHost, Route>

  constructor(
    name: string,
    virtualHosts: readonly VirtualHost[],
    domains: Domains<VirtualHost>,
    toTls: ReadonlyMap<VirtualHost, Route>,
    internalOnlyHeaders: readonly HeaderName[],
    ignorePathParameters: boolean,
  ) {
    this.name = name
    this.virtualHosts = virtualHosts
    this.domains = domains
    this.toTls = toTls
    this.internalOnlyHeaders = internalOnlyHeaders
    this.ignorePathParameters = ignorePathParameters
  }

  /** The table for a request: always this one, where routes are not scoped. */
  tableFor(_head: RequestHead): RouteTable {
    return this
  }

  /** The first route that matches, weighted clusters resolved; undefined for a 404. */
  route(input: RouteInput): Route | undefined {
    const head = input.request
    const host = this.domains.find(head.authority)
    if (host === undefined) return undefined
    if (host.requireTls !== 'none' && head.get(H.xForwardedProto) !== 'https') {
      if (host.requireTls === 'all' || head.get(H.internal) !== 'true') return this.toTls.get(host)
    }
    // Whoever sends an empty one gets no route (RouteMatcher::route).
    const proto = head.find(H.xForwardedProto, 0)
    if (proto >= 0 && head.valueIs(proto, '')) return undefined
    let end = pathEnd(head.path)
    if (this.ignorePathParameters) {
      const semicolon = head.path.indexOf(';')
      if (semicolon >= 0 && semicolon < end) end = semicolon
    }
    const path = end === head.path.length ? head.path : head.path.slice(0, end)
    const { routes } = host
    for (let i = 0; i < routes.length; i++) {
      const route = routes[i]!
      if (route.match.matches(input, path)) return route.weighted === undefined ? route : route.weighted.pick(input)
    }
    return undefined
  }
}
