import net from 'node:net'
import type { ApiObject } from '../api/objects.ts'
import type { Snapshot } from '../store/store.ts'
import type { AddressAllotter } from './addresses.ts'
import { aliasTargets } from './aliases.ts'
import { endpointsOf, sliceEndpoints } from './endpoints.ts'
import { endpointBase, type KubeService, kubeService, selectedWorkloads, targetPort } from './kube-services.ts'
import { type Labels, selects } from './labels.ts'
import { type Endpoint, type Service, type ServiceTarget, serviceKey, type Workload } from './model.ts'
import { Nodes } from './nodes.ts'
import { type Owner, ownedWorkloads, ownersWithPods, podWorkload } from './pods.ts'
import { type EntryContext, entryEndpoints, entryServices, entryWorkload, hostEndpoints } from './service-entries.ts'

/** What the registry takes from MeshConfig and the environment. */
export interface RegistryOptions {
  allotter: AddressAllotter
  /** DNS suffix of the cluster. */
  domain: string
  clusterId: string
  trustDomain: string
}

const OWNER_KINDS = ['Deployment', 'ReplicaSet', 'StatefulSet', 'DaemonSet', 'Job', 'CronJob'] as const

/** The kinds that a registry is made from: it stays the same as long as none of these changes. */
export const REGISTRY_KINDS = [
  'Namespace',
  'Node',
  'Service',
  'Pod',
  ...OWNER_KINDS,
  'Endpoints',
  'EndpointSlice',
  'ServiceEntry',
  'WorkloadEntry',
] as const

/** Services, workloads and endpoints of one snapshot (pilot/pkg/model/push_context.go initServiceRegistry). */
export class Registry {
  /** Oldest first, then by name and namespace. */
  readonly services: readonly Service[]
  readonly workloads: readonly Workload[]
  readonly nodes: Nodes
  readonly #endpoints = new Map<string, Endpoint[]>()
  readonly #byHostname = new Map<string, Map<string, Service>>()
  readonly #kube = new Map<string, KubeService>()
  readonly #entryPorts = new Map<string, ServiceTarget[]>()
  readonly #byIp = new Map<string, Workload>()
  readonly #byName = new Map<string, Workload>()

  constructor(snapshot: Snapshot, options: RegistryOptions) {
    options.allotter.reserve(givenAddresses(snapshot))
    const namespaces = new Map(snapshot.list('Namespace').map((object) => [object.metadata.name, object.metadata]))
    const context = {
      ...options,
      namespaceLabels: (namespace: string) => namespaces.get(namespace)?.labels ?? {},
      namespaceAnnotations: (namespace: string) => namespaces.get(namespace)?.annotations ?? {},
      nodes: new Nodes(snapshot.list('Node')),
    }
    this.nodes = context.nodes
    this.workloads = workloadsOf(snapshot, context)
    for (const workload of this.workloads) {
      this.#byIp.set(workload.ip, workload)
      this.#byName.set(`${workload.namespace}/${workload.name}`, workload)
    }
    const services: Service[] = []
    for (const object of snapshot.list('Service')) {
      const known = kubeService(object, context)
      services.push(known.service)
      this.#kube.set(serviceKey(known.service), known)
      this.#endpoints.set(serviceKey(known.service), this.#kubeEndpoints(known, snapshot, context))
    }
    for (const object of snapshot.list('ServiceEntry')) services.push(...this.#entry(object, snapshot, context))
    services.sort(
      (a, b) => a.creationTime - b.creationTime || compare(a.name, b.name) || compare(a.namespace, b.namespace),
    )
    aliasTargets(services)
    this.services = services
    for (const service of services) this.#index(service)
  }

  /** The endpoints of all ports of a service. */
  endpoints(service: Service): readonly Endpoint[] {
    return this.#endpoints.get(serviceKey(service)) ?? []
  }

  /** The endpoints of one port, of those with the labels. */
  endpointsOfPort(service: Service, port: number, labels?: Labels): Endpoint[] {
    const name = service.ports.find((known) => known.port === port)?.name
    return this.endpoints(service).filter(
      (endpoint) => endpoint.servicePortName === name && selects(labels, endpoint.labels),
    )
  }

  /** Services of a host name, by namespace. */
  byHostname(hostname: string): ReadonlyMap<string, Service> | undefined {
    return this.#byHostname.get(hostname)
  }

  /** The SANs that the service's endpoints may present, sorted: declared ones and those of its workloads. */
  serviceAccounts(service: Service): string[] {
    const accounts = new Set(service.serviceAccounts)
    for (const endpoint of this.endpoints(service)) if (endpoint.serviceAccount) accounts.add(endpoint.serviceAccount)
    return [...accounts].sort()
  }

  /** The workload at an address. */
  workloadByIp(ip: string): Workload | undefined {
    return this.#byIp.get(ip)
  }

  /** The workload of a name. */
  workload(namespace: string, name: string): Workload | undefined {
    return this.#byName.get(`${namespace}/${name}`)
  }

  /**
   * What a workload serves: a target per service and target port, oldest service first
   * (serviceregistry/kube/controller GetProxyServiceTargets). Container ports may be unknown for a proxy that has no pod.
   */
  targets(workload: Pick<Workload, 'namespace' | 'labels' | 'ip' | 'containerPorts'>): ServiceTarget[] {
    const out: ServiceTarget[] = []
    for (const known of this.#kube.values()) {
      const { service, spec } = known
      if (service.namespace !== workload.namespace || !service.selector) continue
      if (!selects(service.selector, workload.labels)) continue
      const seen = new Set<string>()
      for (const [index, port] of service.ports.entries()) {
        const number = targetPort(spec.ports?.[index] as NonNullable<typeof spec.ports>[number], workload)
        if (number === undefined || seen.has(`${number}/${port.protocol}`)) continue
        seen.add(`${number}/${port.protocol}`)
        out.push({ service, port, targetPort: number })
      }
    }
    out.push(...(this.#entryPorts.get(workload.ip) ?? []))
    const order = (a: ServiceTarget, b: ServiceTarget) =>
      a.service.creationTime - b.service.creationTime || compare(a.service.hostname, b.service.hostname)
    return out.sort(order)
  }

  #index(service: Service): void {
    let byNamespace = this.#byHostname.get(service.hostname)
    if (!byNamespace) {
      byNamespace = new Map()
      this.#byHostname.set(service.hostname, byNamespace)
    }
    const known = byNamespace.get(service.namespace)
    // The oldest wins, but a Kubernetes service is not to be squatted by a ServiceEntry.
    if (known && !(known.registry === 'External' && service.registry === 'Kubernetes')) return
    byNamespace.set(service.namespace, service)
  }

  #kubeEndpoints(known: KubeService, snapshot: Snapshot, context: EntryContext): Endpoint[] {
    const { service, spec } = known
    if (!service.selector) return this.#statedEndpoints(service, snapshot, context)
    const out: Endpoint[] = []
    for (const workload of selectedWorkloads(known, this.workloads)) {
      const base = endpointBase(workload, context)
      const health = service.publishNotReady && base.health === 'UNHEALTHY' ? 'HEALTHY' : base.health
      for (const port of spec.ports ?? []) {
        const number = targetPort(port, workload)
        if (number !== undefined && port.protocol !== 'UDP') {
          out.push({ ...base, health, address: workload.ip, port: number, servicePortName: port.name ?? '' })
        }
      }
    }
    if (service.resolution === 'EDS') out.push(...this.#entriesOf(known, snapshot, context))
    return out
  }

  // A Kubernetes service selects WorkloadEntries as it does pods (controller.go serviceInstanceFromWorkloadInstance).
  #entriesOf(known: KubeService, snapshot: Snapshot, context: EntryContext): Endpoint[] {
    const { service, spec } = known
    return selectedEntries(service, snapshot, context).flatMap((workload) =>
      (spec.ports ?? []).flatMap((port) => {
        const target = port.targetPort
        const named = typeof target === 'string' && !/^\d+$/.test(target)
        // A number is what a workload has that does not name the service's port.
        const name = named ? target : (port.name ?? '')
        const number = workload.ports[name] || (named ? undefined : Number(target) || port.port)
        if (!number || net.isIP(workload.address) === 0) return []
        return [{ ...workload.base, address: workload.address, port: number, servicePortName: port.name ?? '' }]
      }),
    )
  }

  #statedEndpoints(service: Service, snapshot: Snapshot, context: EntryContext): Endpoint[] {
    const byIp = (ip: string) => {
      const workload = this.#byIp.get(ip)
      return workload && endpointBase(workload, context)
    }
    const slices = snapshot
      .list('EndpointSlice')
      .filter(
        (slice) =>
          slice.metadata.namespace === service.namespace &&
          slice.metadata.labels['kubernetes.io/service-name'] === service.name,
      )
    if (slices.length) return slices.flatMap((slice) => sliceEndpoints(slice, service, byIp))
    const object = snapshot.get('Endpoints', service.namespace, service.name)
    return object ? endpointsOf(object, service, byIp) : []
  }

  #entry(object: ApiObject<'ServiceEntry'>, snapshot: Snapshot, context: EntryContext): Service[] {
    const { spec, metadata } = object
    const services = entryServices(object, context)
    const ports = spec.ports ?? []
    const meta = { name: metadata.name, namespace: metadata.namespace }
    for (const service of services) {
      let endpoints: Endpoint[]
      if (spec.workloadSelector) {
        const byName = service.resolution === 'DNS' || service.resolution === 'DNS_ROUND_ROBIN'
        // What has a name, or a socket of its own machine, only DNS can find.
        const entries = selectedEntries(service, snapshot, context).filter(
          ({ address }) => byName || address === '' || net.isIP(address) !== 0,
        )
        endpoints = [...this.#selectedPods(service, context), ...entries].flatMap((workload) =>
          entryEndpoints(workload, ports),
        )
      } else if (
        !spec.endpoints?.length &&
        (service.resolution === 'DNS' || service.resolution === 'DNS_ROUND_ROBIN')
      ) {
        endpoints = hostEndpoints(object, service.hostname, context)
      } else {
        endpoints = (spec.endpoints ?? []).flatMap((entry, index) =>
          entryEndpoints(
            entryWorkload(entry, entry.labels ?? {}, { ...meta, name: `${meta.name}-${index}` }, context),
            ports,
          ),
        )
      }
      this.#addEntryEndpoints(service, endpoints)
    }
    return services
  }

  #addEntryEndpoints(service: Service, endpoints: Endpoint[]): void {
    const key = serviceKey(service)
    const known = this.#endpoints.get(key) ?? []
    // A service per address shares its host's endpoints; and a Kubernetes service of that name keeps its own as well.
    const added = endpoints.filter((endpoint) => !known.some((other) => sameEndpoint(other, endpoint)))
    this.#endpoints.set(key, [...known, ...added])
    for (const endpoint of added) {
      const port = service.ports.find((candidate) => candidate.name === endpoint.servicePortName)
      if (!port) continue
      const targets = this.#entryPorts.get(endpoint.address) ?? []
      targets.push({ service, port, targetPort: endpoint.port })
      this.#entryPorts.set(endpoint.address, targets)
    }
  }

  #selectedPods(service: Service, context: EntryContext) {
    return this.workloads
      .filter((workload) => workload.namespace === service.namespace && selects(service.selector, workload.labels))
      .map((workload) => ({
        address: workload.ip,
        unix: false,
        ports: Object.fromEntries(
          workload.containerPorts.filter((port) => port.name).map((port) => [port.name, port.port]),
        ),
        base: endpointBase(workload, context),
      }))
  }
}

function selectedEntries(service: Service, snapshot: Snapshot, context: EntryContext) {
  return snapshot.list('WorkloadEntry').flatMap((entry) => {
    if (entry.metadata.namespace !== service.namespace) return []
    const labels = { ...entry.spec.labels, ...entry.metadata.labels }
    if (!service.selector || !selects(service.selector, labels)) return []
    return [entryWorkload(entry.spec, labels, entry.metadata, context)]
  })
}

function workloadsOf(snapshot: Snapshot, context: Parameters<typeof podWorkload>[1]): Workload[] {
  const owned = ownersWithPods([...snapshot.list('Pod'), ...snapshot.list('ReplicaSet'), ...snapshot.list('Job')])
  const owners: Owner[] = OWNER_KINDS.flatMap((kind): readonly Owner[] => snapshot.list(kind))
  const free = owners.filter(({ kind, metadata }) => !owned.has(`${kind}/${metadata.namespace}/${metadata.name}`))
  return [
    ...snapshot.list('Pod').flatMap((pod) => podWorkload(pod, context) ?? []),
    ...free.flatMap((owner) => ownedWorkloads(owner, context)),
  ]
}

function* givenAddresses(snapshot: Snapshot): Iterable<string> {
  for (const pod of snapshot.list('Pod')) if (pod.status?.podIP) yield pod.status.podIP
  for (const { spec } of snapshot.list('Service')) if (spec.clusterIP) yield spec.clusterIP
  for (const { spec } of snapshot.list('ServiceEntry')) {
    yield* spec.addresses ?? []
    for (const endpoint of spec.endpoints ?? []) if (endpoint.address) yield endpoint.address
  }
  for (const { spec } of snapshot.list('WorkloadEntry')) if (spec.address) yield spec.address
}

function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  return a.address === b.address && a.port === b.port && a.servicePortName === b.servicePortName
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
