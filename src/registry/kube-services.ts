import type { ServicePort, ServiceSpec } from '../api/kinds/service.ts'
import type { ApiObject } from '../api/objects.ts'
import type { AddressAllotter } from './addresses.ts'
import { serviceHostname } from './host.ts'
import { augmentLabels, selects } from './labels.ts'
import { type Endpoint, NO_ADDRESS, originOf, type Service, type TrafficDistribution, type Workload } from './model.ts'
import { TLS_MODE_LABEL } from './pods.ts'
import { servicePortProtocol } from './protocol.ts'

/** A Kubernetes Service: what the mesh sees of it, and what is needed to find its endpoints. */
export interface KubeService {
  service: Service
  spec: ServiceSpec
}

/** What converting a service needs besides the object. */
export interface ServiceContext {
  allotter: AddressAllotter
  domain: string
  trustDomain: string
  namespaceAnnotations(namespace: string): Record<string, string>
}

/** Converts a Service (pilot/pkg/serviceregistry/kube/conversion.go ConvertService). */
export function kubeService(object: ApiObject<'Service'>, context: ServiceContext): KubeService {
  const { spec, metadata: meta } = object
  const { namespace, annotations } = meta
  const externalName = spec.type === 'ExternalName' ? spec.externalName || undefined : undefined
  const headless = spec.clusterIP === 'None'
  let address = NO_ADDRESS
  if (!headless && !externalName) {
    address = spec.clusterIP || spec.clusterIPs?.[0] || context.allotter.service(`${namespace}/${meta.name}`)
  }
  const service: Service = {
    hostname: serviceHostname(meta.name, namespace, context.domain),
    name: meta.name,
    namespace,
    registry: 'Kubernetes',
    address,
    autoAddress: '',
    ports: (spec.ports ?? []).map((port) => ({
      name: port.name ?? '',
      port: port.port,
      protocol: servicePortProtocol(port),
    })),
    resolution: headless ? 'PASSTHROUGH' : externalName ? 'ALIAS' : 'EDS',
    meshExternal: externalName !== undefined,
    creationTime: Date.parse(meta.creationTimestamp ?? '') || 0,
    labels: meta.labels,
    selector: spec.selector && Object.keys(spec.selector).length ? spec.selector : undefined,
    exportTo: splitList(annotations['networking.istio.io/exportTo']),
    serviceAccounts: [
      ...(splitList(annotations['alpha.istio.io/canonical-serviceaccounts']) ?? []),
      ...(splitList(annotations['alpha.istio.io/kubernetes-serviceaccounts']) ?? []).map(
        (account) => `spiffe://${context.trustDomain}/ns/${namespace}/sa/${account}`,
      ),
    ],
    externalName,
    aliases: [],
    nodeLocal: spec.internalTrafficPolicy === 'Local',
    publishNotReady: spec.publishNotReadyAddresses === true,
    trafficDistribution: trafficDistribution(
      spec.trafficDistribution,
      annotations,
      context.namespaceAnnotations(namespace),
    ),
    passthroughTargetPorts: new Map(),
    raceDns: false,
    origin: originOf(object),
  }
  return { service, spec }
}

function splitList(text: string | undefined): string[] | undefined {
  if (!text) return undefined
  return text.split(',').map((item) => item.trim())
}

/** spec before the service's annotation before the namespace's (pilot/pkg/model/service.go GetTrafficDistribution). */
export function trafficDistribution(
  spec: string | undefined,
  annotations: Record<string, string>,
  namespaceAnnotations: Record<string, string>,
): TrafficDistribution {
  const known: Record<string, TrafficDistribution> = {
    preferclose: 'SAME_ZONE',
    prefersamezone: 'SAME_ZONE',
    prefersamenode: 'SAME_NODE',
  }
  const stated = spec !== undefined ? known[spec.toLowerCase()] : undefined
  if (stated) return stated
  const key = 'networking.istio.io/traffic-distribution'
  const written = annotations[key] || namespaceAnnotations[key]
  return (written && known[written.toLowerCase()]) || 'ANY'
}

/** The endpoint that a workload is for one port of a service, without address and port. */
export function endpointBase(workload: Workload, context: { clusterId: string; trustDomain: string }): EndpointBase {
  return {
    labels: augmentLabels(workload.labels, context.clusterId, workload.locality, workload.nodeName, workload.network),
    serviceAccount: `spiffe://${context.trustDomain}/ns/${workload.namespace}/sa/${workload.serviceAccount}`,
    tlsMode: workload.labels[TLS_MODE_LABEL] ?? 'disabled',
    locality: workload.locality,
    network: workload.network,
    namespace: workload.namespace,
    workloadName: workload.workloadName,
    nodeName: workload.nodeName,
    health: workload.health,
  }
}

/** Everything of an endpoint that is the workload's. */
export type EndpointBase = Omit<Endpoint, 'address' | 'port' | 'servicePortName'>

/** The pods that a service selects. */
export function selectedWorkloads(service: KubeService, workloads: readonly Workload[]): Workload[] {
  const { selector, namespace } = service.service
  if (!selector) return []
  return workloads.filter((workload) => workload.namespace === namespace && selects(selector, workload.labels))
}

/**
 * The port of a workload that a service port leads to: the number, the container port of that name, or the same
 * number. Undefined when no container has a port of that name.
 */
export function targetPort(port: ServicePort, workload: Pick<Workload, 'containerPorts'>): number | undefined {
  const target = port.targetPort
  if (target === undefined || target === 0 || target === '') return port.port
  if (typeof target === 'number') return target
  if (/^\d+$/.test(target)) return Number(target)
  return workload.containerPorts.find((known) => known.name === target && known.protocol === port.protocol)?.port
}
