import type { IstioEgressListener, Sidecar } from '../../api/kinds/sidecar.ts'
import type { Destination } from '../../api/kinds/virtual-service.ts'
import type { ApiObject } from '../../api/objects.ts'
import { isWildcard, mostSpecific } from '../../registry/host.ts'
import { sameLabels } from '../../registry/labels.ts'
import type { Port, Service } from '../../registry/model.ts'
import { parseProtocol } from '../../registry/protocol.ts'
import { EgressHosts } from './egress-hosts.ts'
import type { PushContext } from './push-context.ts'
import { MESH_GATEWAY, type VirtualServiceConfig } from './virtual-services.ts'
import { destinationsOf } from './vs-destinations.ts'

/** What one egress entry of a Sidecar imports; the implicit entry imports everything. */
export interface EgressScope {
  listener?: IstioEgressListener
  services: Service[]
  virtualServices: VirtualServiceConfig[]
  /** For a service: `namespace/name` of the VirtualService whose host fits it best, of those with fitting hosts. */
  bestVirtualService: ReadonlyMap<string, string>
}

/** What happens to traffic for unknown hosts. */
export interface OutboundPolicy {
  mode: 'ALLOW_ANY' | 'REGISTRY_ONLY' | 'ALLOW_ANY_DYNAMIC_DNS'
  egressProxy?: Destination
}

/** What the proxies of a namespace, or those that a Sidecar selects, see of the mesh (pilot/pkg/model/sidecar.go). */
export interface SidecarScope {
  /** Identifies the scope within one push. */
  id: string
  name: string
  namespace: string
  object?: ApiObject<'Sidecar'>
  sidecar?: Sidecar
  egress: EgressScope[]
  /** All services that any entry imports. */
  services: readonly Service[]
  byHostname: ReadonlyMap<string, Service>
  outbound: OutboundPolicy
}

/** Makes the scope of a namespace under a Sidecar, or under none. */
export function sidecarScope(
  push: PushContext,
  namespace: string,
  object: ApiObject<'Sidecar'> | undefined,
): SidecarScope {
  const sidecar = object?.spec
  const listeners = sidecar?.egress?.length ? sidecar.egress : [undefined]
  const egress = listeners.map((listener) => egressScope(push, namespace, listener))
  const services = new ServiceUnion()
  for (const entry of egress) {
    for (const service of entry.services) services.add(service)
    addDestinations(push, namespace, entry, services)
  }
  const mesh = push.mesh.outboundTrafficPolicy
  return {
    id: object ? `${namespace}/${object.metadata.namespace}/${object.metadata.name}` : namespace,
    name: object?.metadata.name ?? 'default-sidecar',
    namespace,
    object,
    sidecar,
    egress,
    services: services.list,
    byHostname: services.byHostname,
    outbound: {
      mode:
        (sidecar?.outboundTrafficPolicy ?? mesh)?.mode ??
        (sidecar?.outboundTrafficPolicy ? 'REGISTRY_ONLY' : 'ALLOW_ANY'),
      egressProxy: sidecar?.outboundTrafficPolicy?.egressProxy,
    },
  }
}

/** The entry that a route configuration is for: that of its port or bind, else the one without a port. */
export function egressFor(scope: SidecarScope, port: number, bind: string): EgressScope | undefined {
  return scope.egress.find(({ listener }) => {
    if (!listener?.port) return true
    if ((listener.port.number ?? 0) !== port) return false
    return port !== 0 || listener.bind === bind
  })
}

function needsPort(listener: IstioEgressListener | undefined): number {
  const port = listener?.port?.number ?? 0
  return port !== 0 && parseProtocol(listener?.port?.protocol) !== 'HTTP_PROXY' ? port : 0
}

function egressScope(push: PushContext, namespace: string, listener: IstioEgressListener | undefined): EgressScope {
  const hosts = new EgressHosts(listener?.hosts ?? ['*/*'], namespace)
  const port = needsPort(listener)
  const virtualServices = push.virtualServices
    .visible(namespace, MESH_GATEWAY)
    .filter((config) => hosts.importsVirtualService(config))
  const imported: Service[] = []
  for (const service of push.visibleServices(namespace)) {
    let found = hosts.importService(service)
    if (found && port !== 0) found = onlyPorts(found, (known) => known.port === port)
    if (found) imported.push(found)
  }
  const services = oneNamespacePerHost(imported, namespace)
  return { listener, services, virtualServices, bestVirtualService: bestFits(virtualServices, services) }
}

// The same host name from several namespaces: the proxy's own, else a Kubernetes service, else the first.
function oneNamespacePerHost(services: Service[], own: string): Service[] {
  const chosen = new Map<string, { namespace: string; kubernetes: boolean }>()
  for (const service of services) {
    const next = { namespace: service.namespace, kubernetes: service.registry === 'Kubernetes' }
    const known = chosen.get(service.hostname)
    const better = !known || next.namespace === own || (!known.kubernetes && next.kubernetes && known.namespace !== own)
    if (better) chosen.set(service.hostname, next)
  }
  return services.filter((service) => chosen.get(service.hostname)?.namespace === service.namespace)
}

function bestFits(configs: readonly VirtualServiceConfig[], services: readonly Service[]): Map<string, string> {
  const byHost = new Map<string, VirtualServiceConfig>()
  for (const config of configs) for (const host of config.hosts) if (!byHost.has(host)) byHost.set(host, config)
  const out = new Map<string, string>()
  if (![...byHost.keys()].some(isWildcard)) return out
  for (const { hostname } of services) {
    const best = mostSpecific(hostname, byHost)
    if (best) out.set(hostname, `${best.namespace}/${best.name}`)
  }
  return out
}

// Destinations of imported VirtualServices are imported with them, own namespace first.
function addDestinations(push: PushContext, namespace: string, entry: EgressScope, union: ServiceUnion): void {
  const port = needsPort(entry.listener)
  for (const config of entry.virtualServices) {
    for (const [host, ports] of destinationsOf(config, namespace)) {
      const found = push.registry.byHostname(host)
      if (!found) continue
      const service = found.get(namespace) ?? push.bestVisible(found, namespace)
      if (!service) continue
      if (port !== 0) union.add(onlyPorts(service, (known) => known.port === port))
      else union.add(ports.has(0) ? service : onlyPorts(service, (known) => ports.has(known.port)))
    }
  }
}

function onlyPorts(service: Service, wanted: (port: Port) => boolean): Service | undefined {
  const ports = service.ports.filter(wanted)
  if (ports.length === service.ports.length) return service
  return ports.length ? { ...service, ports } : undefined
}

/** Services by host name; the first counts, but Kubernetes comes before ServiceEntries, and partial imports add up. */
class ServiceUnion {
  readonly list: Service[] = []
  readonly byHostname = new Map<string, Service>()

  add(service: Service | undefined): void {
    if (!service) return
    const known = this.byHostname.get(service.hostname)
    if (!known) {
      this.list.push(service)
      this.byHostname.set(service.hostname, service)
      return
    }
    if (known === service || (known.registry === 'Kubernetes' && service.registry !== 'Kubernetes')) return
    if (known.registry !== 'Kubernetes' && service.registry === 'Kubernetes') {
      this.#replace(known, service)
    } else if (mergeable(known, service)) {
      const added = service.ports.filter((port) => !known.ports.some((other) => other.port === port.port))
      if (added.length) this.#replace(known, { ...known, ports: [...known.ports, ...added] })
    }
  }

  #replace(known: Service, service: Service): void {
    this.list[this.list.indexOf(known)] = service
    this.byHostname.set(service.hostname, service)
  }
}

function mergeable(a: Service, b: Service): boolean {
  return (
    a.namespace === b.namespace &&
    a.resolution === b.resolution &&
    a.registry === b.registry &&
    sameLabels(a.labels, b.labels) &&
    sameLabels(a.selector, b.selector) &&
    [...(a.exportTo ?? [])].sort().join() === [...(b.exportTo ?? [])].sort().join()
  )
}
