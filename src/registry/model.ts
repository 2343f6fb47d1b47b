import { writtenKind } from '../api/kinds-table.ts'
import type { Kind, ObjectBase } from '../api/objects.ts'
import type { Labels, Locality } from './labels.ts'
import type { Protocol } from './protocol.ts'

/** Where an object was written: what provenance, `explain` and messages point at. */
export interface Origin {
  kind: string
  namespace: string
  name: string
  file?: string
  /** 1-based. */
  line?: number
}

/** The origin of an object. */
export function originOf(object: ObjectBase<Kind>): Origin {
  const { name, namespace } = object.metadata
  const source = object.origin.source?.([]) ?? { kind: writtenKind(object.kind), namespace, name }
  return { ...source, file: object.origin.file, line: object.origin.line }
}

/** A port of a service. */
export interface Port {
  name: string
  port: number
  protocol: Protocol
}

/**
 * How a client finds the endpoints: told by pilot (EDS), by DNS (each address a host, or one at a time), by where the
 * connection was going (PASSTHROUGH), by the Host header (DYNAMIC_DNS), or as another service (ALIAS).
 */
export type Resolution = 'EDS' | 'DNS' | 'DNS_ROUND_ROBIN' | 'PASSTHROUGH' | 'DYNAMIC_DNS' | 'ALIAS'

/** Which endpoints a service prefers (Service.spec.trafficDistribution). */
export type TrafficDistribution = 'ANY' | 'SAME_ZONE' | 'SAME_NODE'

/** The address of a service that has none. */
export const NO_ADDRESS = '0.0.0.0'

/** A service of the mesh, from a Kubernetes Service or a host of a ServiceEntry (pilot/pkg/model/service.go). */
export interface Service {
  hostname: string
  /** The Kubernetes name; for a ServiceEntry the host. */
  name: string
  namespace: string
  registry: 'Kubernetes' | 'External'
  /** ClusterIP, address or CIDR; `NO_ADDRESS` when there is none. */
  address: string
  /** The virtual address that a ServiceEntry without addresses is given; '' when it gets none. */
  autoAddress: string
  ports: Port[]
  resolution: Resolution
  meshExternal: boolean
  /** Milliseconds since the epoch. */
  creationTime: number
  labels: Labels
  selector?: Labels
  /** Undefined: the mesh's default. */
  exportTo?: string[]
  /** SPIFFE ids or other SANs declared for the service itself. */
  serviceAccounts: string[]
  /** The name that an ALIAS stands for. */
  externalName?: string
  /** Other names of this service: the ALIAS services that point here. */
  aliases: { hostname: string; namespace: string }[]
  nodeLocal: boolean
  publishNotReady: boolean
  trafficDistribution: TrafficDistribution
  /** Target ports by service port, where a PASSTHROUGH ServiceEntry changes them. */
  passthroughTargetPorts: ReadonlyMap<number, number>
  /** DNS hosts are raced for the first connection (LOGICAL_DNS, all families). */
  raceDns: boolean
  origin: Origin
}

/** How fit an endpoint is; of one that nobody watches (a WorkloadEntry) it is not known, and it counts as fit. */
export type Health = 'HEALTHY' | 'UNHEALTHY' | 'TERMINATING' | 'UNKNOWN'

/** Whether connections may be sent to an endpoint. */
export const isFit = ({ health }: { readonly health: Health }): boolean => health === 'HEALTHY' || health === 'UNKNOWN'

/** One address behind one port of a service (pilot/pkg/model/service.go IstioEndpoint). */
export interface Endpoint {
  /** An IP, a host name (DNS), or the path of a unix socket (then `port` is 0). */
  address: string
  port: number
  servicePortName: string
  /** The workload's, and those that istiod adds. */
  labels: Labels
  /** SPIFFE id; '' when unknown. */
  serviceAccount: string
  /** The label `security.istio.io/tlsMode`, else `disabled`. */
  tlsMode: string
  locality: Locality
  network: string
  /** Undefined: 1. */
  weight?: number
  namespace: string
  workloadName: string
  nodeName: string
  health: Health
}

/** A port that a container states. */
export interface ContainerPort {
  name: string
  port: number
  protocol: 'TCP' | 'UDP' | 'SCTP'
}

/** A pod: given as one, or made from a template (pilot/pkg/serviceregistry/kube/controller/pod.go). */
export interface Workload {
  name: string
  namespace: string
  ip: string
  /** As in the cluster: with the labels that the owner and the injector add. */
  labels: Labels
  annotations: Labels
  serviceAccount: string
  nodeName: string
  locality: Locality
  network: string
  /** The owner's name, or the pod's own. */
  workloadName: string
  /** What made it: `Pod`, `Deployment`, … */
  ownerKind: string
  containerPorts: ContainerPort[]
  /** Container names and images, in order. */
  containers: { name: string; image: string; command: string[]; args: string[]; env: Labels }[]
  health: Health
  /** Whether it has a sidecar, or is a gateway: a proxy of its own. */
  injected: boolean
  /** Whether it is a gateway pod. */
  gateway: boolean
  origin: Origin
}

/** A service's port as one proxy's workload serves it. */
export interface ServiceTarget {
  service: Service
  port: Port
  targetPort: number
}

/** Identifies a service: host names may repeat in different namespaces. */
export const serviceKey = (service: { namespace: string; hostname: string }): string =>
  `${service.namespace}/${service.hostname}`
