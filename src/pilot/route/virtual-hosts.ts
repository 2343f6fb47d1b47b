import type { Route } from '#gen/envoy/config/route/v3/route_components_pb.js'
import { hostsOverlap, isWildcard } from '../../registry/host.ts'
import type { Service } from '../../registry/model.ts'
import { isHttpOrSniffed } from '../../registry/protocol.ts'
import type { Init } from '../../xds/messages.ts'
import type { PilotEnv } from '../env.ts'
import { bracketed, hostPort } from '../names.ts'
import { type FilterMetadata, originMetadata } from '../provenance.ts'
import type { ProxyNode } from '../proxy.ts'
import { proxyConfigOf, proxyHeaders } from '../proxy-config.ts'
import type { MergedRule } from '../scope/destination-rules.ts'
import type { PushContext } from '../scope/push-context.ts'
import type { EgressScope } from '../scope/sidecar-scope.ts'
import { MESH_GATEWAY, type VirtualServiceConfig } from '../scope/virtual-services.ts'
import { defaultOutboundRoute } from './default-route.ts'
import { NO_PORT, serviceAddress, serviceDomains } from './domains.ts'
import { serviceHash } from './hash.ts'
import { semanticsOf } from './match.ts'
import { SESSION_FILTER, sessionConfig } from './session.ts'
import { type RouteOptions, virtualServiceRoutes } from './translate.ts'

/** A virtual host before its name and domains are settled. */
interface Entry {
  port: number
  /** Services that it answers for. */
  services: Service[]
  /** Hosts of a VirtualService that no service has. */
  hosts: string[]
  routes: Route[]
  metadata: FilterMetadata | undefined
}

/** A virtual host as it is written, with what it cannot do without. */
export type VirtualHostInit = Init<'envoy.config.route.v3.VirtualHost'> & { name: string; domains: string[] }

const GATEWAYS: ReadonlySet<string> = new Set([MESH_GATEWAY])

/**
 * The virtual hosts of a port; for port 0 those of all ports, for an HTTP proxy or a unix socket
 * (networking/core/httproute.go BuildSidecarOutboundVirtualHosts).
 */
export function outboundVirtualHosts(
  push: PushContext,
  proxy: ProxyNode,
  egress: EgressScope,
  port: number,
): VirtualHostInit[] {
  const services = servicesOfPort(egress, port, proxy)
  // Only on port 80 may a VirtualService stand for a host that no service has.
  const configs =
    port === 80 ? egress.virtualServices : egress.virtualServices.filter((config) => concerns(config, services))
  const entries = configs.flatMap((config) => virtualServiceEntries(push, proxy, egress, services, config, port))
  const taken = new Set(entries.flatMap((entry) => entry.services.map((service) => service.hostname)))
  for (const service of services.values()) {
    if (taken.has(service.hostname) || service.resolution === 'ALIAS') continue
    entries.push(...serviceEntries(push, proxy, service))
  }
  const hosts = nameHosts(push, proxy, entries, port)
  if (port !== 0) return hosts.filter((host) => host.port === port).map((host) => host.init)
  // Names without port belong to port 80.
  return hosts.flatMap(({ init, port: own }) => {
    if (own === 80) return [init]
    const domains = init.domains.filter((domain) => /:\d+$/.test(domain))
    return domains.length ? [{ ...init, domains }] : []
  })
}

function servicesOfPort(egress: EgressScope, port: number, proxy: ProxyNode): Map<string, Service> {
  const out = new Map<string, Service>()
  for (const service of egress.services) {
    if (port === 0) {
      out.set(service.hostname, service)
      continue
    }
    const own = service.ports.find((known) => known.port === port)
    if (!own) continue
    const hostname = service.hostname.toLowerCase()
    out.set(hostname, { ...service, hostname, ports: [own], address: serviceAddress(service, proxy) })
  }
  return out
}

function concerns(config: VirtualServiceConfig, services: ReadonlyMap<string, Service>): boolean {
  return config.hosts.some((written) => {
    const host = written.toLowerCase()
    if (services.has(host)) return true
    const all = [...services.keys()]
    return all.some((name) => (isWildcard(host) || isWildcard(name)) && hostsOverlap(host, name))
  })
}

function virtualServiceEntries(
  push: PushContext,
  proxy: ProxyNode,
  egress: EgressScope,
  services: ReadonlyMap<string, Service>,
  config: VirtualServiceConfig,
  port: number,
): Entry[] {
  const routes = virtualServiceRoutes(config, routeOptions(push, proxy, services, config, port))
  if (routes.length === 0) return []
  const { hosts, matched } = splitHosts(config, services, egress)
  if (semanticsOf(config.object.metadata.annotations) === 'gateway') {
    const own = matched.some(
      (service) => service.namespace === config.namespace || proxy.namespace === config.namespace,
    )
    if (!own) return []
  }
  const byPort = new Map<number, Service[]>()
  for (const service of matched) {
    for (const known of service.ports) {
      if (isHttpOrSniffed(known.protocol)) byPort.set(known.port, [...(byPort.get(known.port) ?? []), service])
    }
  }
  if (byPort.size === 0 && port === 80) byPort.set(80, [])
  const metadata = originMetadata(config.origin)
  return [...byPort].map(([number, list]) => ({ port: number, services: list, hosts, routes, metadata }))
}

function routeOptions(
  push: PushContext,
  proxy: ProxyNode,
  services: ReadonlyMap<string, Service>,
  config: VirtualServiceConfig,
  listenerPort: number,
): RouteOptions {
  const scope = push.scopeOf(proxy)
  const headers = proxyHeaders(proxyConfigOf(push, proxy), true)
  return {
    listenerPort,
    gateways: GATEWAYS,
    labels: proxy.labels,
    namespace: proxy.namespace,
    semantics: semanticsOf(config.object.metadata.annotations),
    isTls: false,
    proxyless: proxy.proxyless,
    xForwardedHost: headers.xForwardedHost,
    disableShadowHostSuffix: push.env.disableShadowHostSuffix,
    env: push.env,
    defaultRetry: push.mesh.defaultHttpRetryPolicy,
    service: (hostname) => services.get(hostname),
    ruleFor: (hostname): MergedRule | undefined => {
      const service = scope.byHostname.get(hostname)
      return service && push.ruleFor(proxy, service)
    },
  }
}

/** Hosts that services have, and those that none has. A wildcard takes the services for which it is the best fit. */
function splitHosts(
  config: VirtualServiceConfig,
  services: ReadonlyMap<string, Service>,
  egress: EgressScope,
): { hosts: string[]; matched: Service[] } {
  const hosts: string[] = []
  const matched: Service[] = []
  const key = `${config.namespace}/${config.name}`
  for (const written of config.hosts) {
    const host = written.toLowerCase()
    if (isWildcard(host)) continue
    const service = services.get(host)
    if (service) matched.push(service)
    else hosts.push(written)
  }
  for (const written of config.hosts) {
    const host = written.toLowerCase()
    if (!isWildcard(host)) continue
    const fits = [...services.values()].filter((service) => hostsOverlap(service.hostname, host))
    matched.push(...fits.filter((service) => egress.bestVirtualService.get(service.hostname) === key))
    if (fits.length === 0) hosts.push(host)
  }
  return { hosts, matched: [...new Set(matched)] }
}

function serviceEntries(push: PushContext, proxy: ProxyNode, service: Service): Entry[] {
  const rule = push.scopeOf(proxy).byHostname.has(service.hostname) ? push.ruleFor(proxy, service) : undefined
  return service.ports
    .filter((port) => isHttpOrSniffed(port.protocol))
    .map((port) => ({
      port: port.port,
      services: [service],
      hosts: [],
      routes: [
        defaultOutboundRoute(service, port.port, {
          retry: push.mesh.defaultHttpRetryPolicy,
          hash: serviceHash(rule, port.port),
        }),
      ],
      metadata: originMetadata(service.origin),
    }))
}

/** Names virtual hosts and gives each domain to the first that wants it. */
function nameHosts(
  push: PushContext,
  proxy: ProxyNode,
  entries: readonly Entry[],
  listenerPort: number,
): { port: number; init: VirtualHostInit }[] {
  const withPort = listenerPort === 0 || proxy.proxyless
  const names = new Set<string>()
  const domains = new Set<string>()
  const fullNames = new Set<string>()
  for (const { services, port } of entries) {
    for (const service of services) fullNames.add(service.hostname).add(hostPort(service.hostname, port))
  }
  const { attemptCount } = proxyHeaders(proxyConfigOf(push, proxy), true)
  const out: { port: number; init: VirtualHostInit }[] = []
  const add = (
    entry: Entry,
    hostname: string,
    wanted: string[],
    abbreviations: readonly string[],
    service?: Service,
  ): void => {
    const name = hostPort(hostname, entry.port)
    if (names.has(name)) return
    names.add(name)
    const own = wanted.filter((domain) => {
      const key = domain.toLowerCase()
      // An abbreviation of one name may be another service's full name.
      if (domains.has(key) || (fullNames.has(domain) && abbreviations.includes(domain))) return false
      domains.add(key)
      return true
    })
    if (own.length === 0) return
    out.push({
      port: entry.port,
      init: {
        name,
        domains: own,
        routes: entry.routes,
        includeRequestAttemptCount: attemptCount,
        metadata: entry.metadata,
        ...sessionOf(service, push.env),
      },
    })
  }
  for (const entry of entries) {
    for (const written of entry.hosts) {
      const host = written.toLowerCase()
      add(entry, host, withPort ? [bracketed(host), hostPort(host, entry.port)] : [bracketed(host)], [])
    }
    for (const service of entry.services) {
      const named = serviceDomains(service, withPort ? entry.port : NO_PORT, proxy, push.env)
      add(entry, service.hostname, named.domains, named.abbreviations, service)
    }
  }
  return out
}

function sessionOf(service: Service | undefined, env: PilotEnv): Pick<VirtualHostInit, 'typedPerFilterConfig'> {
  const session = sessionConfig(service, env)
  return session === undefined ? {} : { typedPerFilterConfig: { [SESSION_FILTER]: session } }
}
