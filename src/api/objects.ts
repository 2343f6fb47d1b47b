import type { z } from 'zod'
import type { AuthorizationPolicy } from './kinds/authorization-policy.ts'
import type { ConfigMapBody } from './kinds/config-map.ts'
import type { CronJobBody } from './kinds/cron-job.ts'
import type { DaemonSetBody } from './kinds/daemon-set.ts'
import type { DeploymentBody } from './kinds/deployment.ts'
import type { DestinationRule } from './kinds/destination-rule.ts'
import type { EndpointSliceBody } from './kinds/endpoint-slice.ts'
import type { EndpointsBody } from './kinds/endpoints.ts'
import type { EnvoyFilter } from './kinds/envoy-filter.ts'
import type { Gateway } from './kinds/gateway.ts'
import type { BackendTLSPolicy } from './kinds/gateway-api/backend-tls-policy.ts'
import type { KubernetesGateway, ListenerSet } from './kinds/gateway-api/gateway.ts'
import type { GatewayClass } from './kinds/gateway-api/gateway-class.ts'
import type { GRPCRoute } from './kinds/gateway-api/grpc-route.ts'
import type { HTTPRoute } from './kinds/gateway-api/http-route.ts'
import type { TCPRoute, TLSRoute } from './kinds/gateway-api/layer4-routes.ts'
import type { ReferenceGrant } from './kinds/gateway-api/reference-grant.ts'
import type { ConditionStatus, GatewayStatus, PolicyStatus, RouteStatus } from './kinds/gateway-api/status.ts'
import type { IngressBody } from './kinds/ingress.ts'
import type { IngressClassBody } from './kinds/ingress-class.ts'
import type { JobBody } from './kinds/job.ts'
import type { MeshConfig } from './kinds/mesh-config.ts'
import type { NamespaceBody } from './kinds/namespace.ts'
import type { NodeBody } from './kinds/node.ts'
import type { PeerAuthentication } from './kinds/peer-authentication.ts'
import type { PodBody } from './kinds/pod.ts'
import type { ProxyConfig } from './kinds/proxy-config.ts'
import type { ReplicaSetBody } from './kinds/replica-set.ts'
import type { RequestAuthentication } from './kinds/request-authentication.ts'
import type { SecretBody } from './kinds/secret.ts'
import type { ServiceBody } from './kinds/service.ts'
import type { ServiceAccountBody } from './kinds/service-account.ts'
import type { ServiceEntry, ServiceEntryStatus } from './kinds/service-entry.ts'
import type { Sidecar } from './kinds/sidecar.ts'
import type { StatefulSetBody } from './kinds/stateful-set.ts'
import type { Telemetry } from './kinds/telemetry.ts'
import type { VirtualService } from './kinds/virtual-service.ts'
import type { WorkloadEntry } from './kinds/workload-entry.ts'
import type { WorkloadGroup } from './kinds/workload-group.ts'

/** A path into an object: field names and list indexes. */
export type Path = readonly (string | number)[]

/** A place in a file; line and column count from 1. */
export interface Position {
  file: string
  line: number
  col: number
}

/** Where an object stands, and where each part of it does. */
export interface Origin extends Position {
  /** The place of a field's value, or of its nearest ancestor that is written. */
  locate(path: Path): Position
  /** Of an object that was made from others: the one that a part of it comes from. */
  source?(path: Path): OriginSource | undefined
}

/** What an object, or a part of one, was made from. */
export interface OriginSource {
  readonly kind: string
  readonly namespace: string
  readonly name: string
}

/** The metadata of an object. */
export interface ObjectMeta {
  name: string
  /** `default` when unset; empty for kinds that have no namespace (Namespace, Node). */
  namespace: string
  labels: Record<string, string>
  annotations: Record<string, string>
  /** RFC 3339. The store gives one to every object. */
  creationTimestamp?: string
  /** RFC 3339. In a dump of a cluster: the object is being deleted. */
  deletionTimestamp?: string
  /** In a dump of a cluster: what this object is part of. */
  ownerReferences?: readonly OwnerReference[]
  uid?: string
  /** Counts the changes of the store; given by it. */
  resourceVersion?: string
  /** Counts the changes of the object; given by the store. */
  generation?: number
}

/** An object that another belongs to. */
export interface OwnerReference {
  readonly kind: string
  readonly name: string
  readonly controller?: boolean
}

/** What every object has. */
export interface ObjectBase<K extends string> {
  apiVersion: string
  kind: K
  metadata: ObjectMeta
  origin: Origin
}

interface Spec<S> {
  spec: S
}

interface Status<S> {
  status?: S
}

/** The object type of each kind; `spec`s are the protobuf messages of istio/api. */
export interface KindMap {
  Namespace: ObjectBase<'Namespace'> & z.infer<typeof NamespaceBody>
  Node: ObjectBase<'Node'> & z.infer<typeof NodeBody>
  Service: ObjectBase<'Service'> & z.infer<typeof ServiceBody>
  Pod: ObjectBase<'Pod'> & z.infer<typeof PodBody>
  Deployment: ObjectBase<'Deployment'> & z.infer<typeof DeploymentBody>
  StatefulSet: ObjectBase<'StatefulSet'> & z.infer<typeof StatefulSetBody>
  DaemonSet: ObjectBase<'DaemonSet'> & z.infer<typeof DaemonSetBody>
  ReplicaSet: ObjectBase<'ReplicaSet'> & z.infer<typeof ReplicaSetBody>
  Job: ObjectBase<'Job'> & z.infer<typeof JobBody>
  CronJob: ObjectBase<'CronJob'> & z.infer<typeof CronJobBody>
  Endpoints: ObjectBase<'Endpoints'> & z.infer<typeof EndpointsBody>
  EndpointSlice: ObjectBase<'EndpointSlice'> & z.infer<typeof EndpointSliceBody>
  ServiceAccount: ObjectBase<'ServiceAccount'> & z.infer<typeof ServiceAccountBody>
  ConfigMap: ObjectBase<'ConfigMap'> & z.infer<typeof ConfigMapBody>
  Secret: ObjectBase<'Secret'> & z.infer<typeof SecretBody>
  Ingress: ObjectBase<'Ingress'> & z.infer<typeof IngressBody>
  IngressClass: ObjectBase<'IngressClass'> & z.infer<typeof IngressClassBody>
  VirtualService: ObjectBase<'VirtualService'> & Spec<VirtualService>
  DestinationRule: ObjectBase<'DestinationRule'> & Spec<DestinationRule>
  ServiceEntry: ObjectBase<'ServiceEntry'> & Spec<ServiceEntry> & { status?: ServiceEntryStatus }
  WorkloadEntry: ObjectBase<'WorkloadEntry'> & Spec<WorkloadEntry>
  WorkloadGroup: ObjectBase<'WorkloadGroup'> & Spec<WorkloadGroup>
  Gateway: ObjectBase<'Gateway'> & Spec<Gateway>
  Sidecar: ObjectBase<'Sidecar'> & Spec<Sidecar>
  PeerAuthentication: ObjectBase<'PeerAuthentication'> & Spec<PeerAuthentication>
  RequestAuthentication: ObjectBase<'RequestAuthentication'> & Spec<RequestAuthentication>
  AuthorizationPolicy: ObjectBase<'AuthorizationPolicy'> & Spec<AuthorizationPolicy>
  EnvoyFilter: ObjectBase<'EnvoyFilter'> & Spec<EnvoyFilter>
  Telemetry: ObjectBase<'Telemetry'> & Spec<Telemetry>
  ProxyConfig: ObjectBase<'ProxyConfig'> & Spec<ProxyConfig>
  GatewayClass: ObjectBase<'GatewayClass'> & Spec<GatewayClass> & Status<ConditionStatus>
  /** A `Gateway` of the Gateway API, under the name that tells it from Istio's own. */
  KubernetesGateway: ObjectBase<'KubernetesGateway'> & Spec<KubernetesGateway> & Status<GatewayStatus>
  ListenerSet: ObjectBase<'ListenerSet'> & Spec<ListenerSet> & Status<GatewayStatus>
  HTTPRoute: ObjectBase<'HTTPRoute'> & Spec<HTTPRoute> & Status<RouteStatus>
  GRPCRoute: ObjectBase<'GRPCRoute'> & Spec<GRPCRoute> & Status<RouteStatus>
  TCPRoute: ObjectBase<'TCPRoute'> & Spec<TCPRoute> & Status<RouteStatus>
  TLSRoute: ObjectBase<'TLSRoute'> & Spec<TLSRoute> & Status<RouteStatus>
  ReferenceGrant: ObjectBase<'ReferenceGrant'> & Spec<ReferenceGrant>
  BackendTLSPolicy: ObjectBase<'BackendTLSPolicy'> & Spec<BackendTLSPolicy> & Status<PolicyStatus>
  /**
   * Not a kind of the API server: what stands under `mesh` in the ConfigMap `istio-system/istio`, or in a file of its
   * own. Its name is `istio`, its namespace `istio-system`.
   */
  MeshConfig: ObjectBase<'MeshConfig'> & Spec<MeshConfig>
}

/** The name of a kind that the mesh reads. */
export type Kind = keyof KindMap

/** An object of one kind, or of any (a union discriminated by `kind`). */
export type ApiObject<K extends Kind = Kind> = KindMap[K]

/** An object of a kind that the mesh does not read: kept as it was written. */
export interface OtherObject extends ObjectBase<string> {
  body: Record<string, unknown>
}
