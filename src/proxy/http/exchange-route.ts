import type { Exchange } from './exchange.ts'
import type { ExchangeTimers } from './exchange-timers.ts'
import type { RequestHead } from './headers.ts'
import type { Forward, Route } from './router/route.ts'

/** The route in force for an exchange: chosen when first asked for, and anew once a filter has cleared it. */
export class ExchangeRoute {
  /** The last choice; undefined: there is no route, or nobody has asked yet. */
  chosen: Route | undefined = undefined
  private known = false
  private readonly exchange: Exchange
  private readonly timers: ExchangeTimers

  constructor(exchange: Exchange, timers: ExchangeTimers) {
    this.exchange = exchange
    this.timers = timers
  }

  /** The route for the request as it is when this is first called; logs and timeouts follow it. */
  get(): Route | undefined {
    if (!this.known) this.choose()
    return this.chosen
  }

  /** The next one to ask gets a new choice. */
  clear(): void {
    this.known = false
    this.chosen = undefined
  }

  /** Chooses for another head of this request; that route is from then on the one that logs know. */
  rerouted(head: RequestHead): Route | undefined {
    const { exchange } = this
    const { request, info } = exchange
    exchange.request = head
    this.clear()
    info.clusterName = undefined
    info.clusterObservabilityName = undefined
    const route = this.get()
    exchange.request = request
    return route
  }

  private choose(): void {
    const { exchange } = this
    const { info } = exchange
    this.known = true
    const route = exchange.manager.routes?.route(exchange)
    this.chosen = route
    info.routeName = route?.name
    info.routeMetadata = route?.metadata
    info.virtualHostName = route?.virtualHost.name
    if (route?.forward !== undefined) this.adopt(route, route.forward)
    else {
      info.clusterName = undefined
      info.clusterObservabilityName = undefined
    }
  }

  /** Takes over what a forwarding route says before the router runs: the cluster for logs, timeouts. */
  private adopt(route: Route, { clusterHeader, cluster }: Forward): void {
    const { info, manager, request } = this.exchange
    const named = manager.context.clusters.get(clusterHeader?.first(request) ?? cluster)
    info.clusterName = named?.name
    info.clusterObservabilityName = named?.observabilityName
    this.timers.adopt(route, request)
  }
}
