import { z } from 'zod'
import { AuthorizationPolicy } from './kinds/authorization-policy.ts'
import { ConfigMapBody } from './kinds/config-map.ts'
import { CronJobBody } from './kinds/cron-job.ts'
import { DaemonSetBody } from './kinds/daemon-set.ts'
import { DeploymentBody } from './kinds/deployment.ts'
import { DestinationRule } from './kinds/destination-rule.ts'
import { EndpointSliceBody } from './kinds/endpoint-slice.ts'
import { EndpointsBody } from './kinds/endpoints.ts'
import { EnvoyFilter } from './kinds/envoy-filter.ts'
import { Gateway } from './kinds/gateway.ts'
import { BackendTLSPolicy } from './kinds/gateway-api/backend-tls-policy.ts'
import { GATEWAY_API_GROUP } from './kinds/gateway-api/common.ts'
import { KubernetesGateway, ListenerSet } from './kinds/gateway-api/gateway.ts'
import { GatewayClass } from './kinds/gateway-api/gateway-class.ts'
import { GRPCRoute } from './kinds/gateway-api/grpc-route.ts'
import { HTTPRoute } from './kinds/gateway-api/http-route.ts'
import { TCPRoute, TLSRoute } from './kinds/gateway-api/layer4-routes.ts'
import { ReferenceGrant } from './kinds/gateway-api/reference-grant.ts'
import { ConditionStatus, GatewayStatus, PolicyStatus, RouteStatus } from './kinds/gateway-api/status.ts'
import { IngressBody } from './kinds/ingress.ts'
import { IngressClassBody } from './kinds/ingress-class.ts'
import { JobBody } from './kinds/job.ts'
import { MeshConfig } from './kinds/mesh-config.ts'
import { NamespaceBody } from './kinds/namespace.ts'
import { NodeBody } from './kinds/node.ts'
import { PeerAuthentication } from './kinds/peer-authentication.ts'
import { PodBody } from './kinds/pod.ts'
import { ProxyConfig } from './kinds/proxy-config.ts'
import { ReplicaSetBody } from './kinds/replica-set.ts'
import { RequestAuthentication } from './kinds/request-authentication.ts'
import { SecretBody } from './kinds/secret.ts'
import { ServiceBody } from './kinds/service.ts'
import { ServiceAccountBody } from './kinds/service-account.ts'
import { ServiceEntry, ServiceEntryStatus } from './kinds/service-entry.ts'
import { Sidecar } from './kinds/sidecar.ts'
import { StatefulSetBody } from './kinds/stateful-set.ts'
import { Telemetry } from './kinds/telemetry.ts'
import { VirtualService } from './kinds/virtual-service.ts'
import { WorkloadEntry } from './kinds/workload-entry.ts'
import { WorkloadGroup } from './kinds/workload-group.ts'
import type { Kind } from './objects.ts'
import { own } from './own.ts'

/** How a kind is known to the API server. */
export interface KindInfo {
  group: string
  versions: readonly string[]
  namespaced: boolean
  /** What an object holds besides apiVersion, kind and metadata. */
  body: z.ZodType
  /** The rule that names follow. */
  names: 'subdomain' | 'label' | 'service'
  /** The kind as it is written, where two groups have one of the same name. */
  written?: string
}

const NETWORKING = ['v1', 'v1beta1', 'v1alpha3']
const SECURITY = ['v1', 'v1beta1']
/** Unlike Kubernetes' own kinds, those of a CRD have nothing but these. */
const spec = (schema: z.ZodType, status: z.ZodType = z.unknown()) =>
  z.strictObject({
    apiVersion: z.string(),
    kind: z.string(),
    metadata: z.unknown(),
    spec: schema,
    status: status.optional(),
  })

function kubernetes(group: string, body: z.ZodType, rest: Partial<KindInfo> = {}): KindInfo {
  return { group, versions: ['v1'], namespaced: true, body, names: 'subdomain', ...rest }
}

function istio(group: string, versions: readonly string[], schema: z.ZodType): KindInfo {
  return { group: `${group}.istio.io`, versions, namespaced: true, body: spec(schema), names: 'subdomain' }
}

function gatewayApi(versions: readonly string[], schema: z.ZodType, status?: z.ZodType): KindInfo {
  return { group: GATEWAY_API_GROUP, versions, namespaced: true, body: spec(schema, status), names: 'subdomain' }
}

/** Every kind that the mesh reads. */
export const KINDS: Record<Kind, KindInfo> = {
  Namespace: kubernetes('', NamespaceBody, { namespaced: false, names: 'label' }),
  Node: kubernetes('', NodeBody, { namespaced: false }),
  Service: kubernetes('', ServiceBody, { names: 'service' }),
  Pod: kubernetes('', PodBody),
  Endpoints: kubernetes('', EndpointsBody),
  ServiceAccount: kubernetes('', ServiceAccountBody),
  ConfigMap: kubernetes('', ConfigMapBody),
  Secret: kubernetes('', SecretBody),
  Deployment: kubernetes('apps', DeploymentBody),
  StatefulSet: kubernetes('apps', StatefulSetBody),
  DaemonSet: kubernetes('apps', DaemonSetBody),
  ReplicaSet: kubernetes('apps', ReplicaSetBody),
  Job: kubernetes('batch', JobBody),
  CronJob: kubernetes('batch', CronJobBody),
  EndpointSlice: kubernetes('discovery.k8s.io', EndpointSliceBody),
  Ingress: kubernetes('networking.k8s.io', IngressBody),
  IngressClass: kubernetes('networking.k8s.io', IngressClassBody, { namespaced: false }),
  VirtualService: istio('networking', NETWORKING, VirtualService),
  DestinationRule: istio('networking', NETWORKING, DestinationRule),
  ServiceEntry: {
    ...istio('networking', NETWORKING, ServiceEntry),
    body: spec(ServiceEntry, ServiceEntryStatus),
  },
  WorkloadEntry: istio('networking', NETWORKING, WorkloadEntry),
  WorkloadGroup: istio('networking', NETWORKING, WorkloadGroup),
  Gateway: istio('networking', NETWORKING, Gateway),
  Sidecar: istio('networking', NETWORKING, Sidecar),
  EnvoyFilter: istio('networking', ['v1alpha3'], EnvoyFilter),
  ProxyConfig: istio('networking', ['v1beta1'], ProxyConfig),
  PeerAuthentication: istio('security', SECURITY, PeerAuthentication),
  RequestAuthentication: istio('security', SECURITY, RequestAuthentication),
  AuthorizationPolicy: istio('security', SECURITY, AuthorizationPolicy),
  Telemetry: istio('telemetry', ['v1', 'v1alpha1'], Telemetry),
  GatewayClass: { ...gatewayApi(['v1', 'v1beta1'], GatewayClass, ConditionStatus), namespaced: false },
  KubernetesGateway: { ...gatewayApi(['v1', 'v1beta1'], KubernetesGateway, GatewayStatus), written: 'Gateway' },
  ListenerSet: gatewayApi(['v1'], ListenerSet, GatewayStatus),
  HTTPRoute: gatewayApi(['v1', 'v1beta1'], HTTPRoute, RouteStatus),
  GRPCRoute: gatewayApi(['v1'], GRPCRoute, RouteStatus),
  TCPRoute: gatewayApi(['v1', 'v1alpha2'], TCPRoute, RouteStatus),
  TLSRoute: gatewayApi(['v1', 'v1alpha3', 'v1alpha2'], TLSRoute, RouteStatus),
  ReferenceGrant: gatewayApi(['v1', 'v1beta1'], ReferenceGrant),
  BackendTLSPolicy: gatewayApi(['v1', 'v1alpha3'], BackendTLSPolicy, PolicyStatus),
  MeshConfig: { ...istio('mesh', ['v1alpha1'], MeshConfig) },
}

/** The kind as people write it. */
export function writtenKind(kind: string): string {
  return (Object.hasOwn(KINDS, kind) && KINDS[kind as Kind].written) || kind
}

/** The kind of a group that is written so. */
const BY_GROUP = new Map(
  (Object.entries(KINDS) as [Kind, KindInfo][]).map(([kind, info]) => [`${info.group}/${info.written ?? kind}`, kind]),
)

/** Groups whose kinds are all known here, so that any other kind in them is a mistake. */
const OTHER: Record<string, string> = {
  '': 'Binding ComponentStatus Event LimitRange PersistentVolume PersistentVolumeClaim PodTemplate ReplicationController ResourceQuota',
  apps: 'ControllerRevision',
  batch: '',
  autoscaling: 'HorizontalPodAutoscaler Scale',
  policy: 'PodDisruptionBudget Eviction PodSecurityPolicy',
  'networking.k8s.io': 'NetworkPolicy IPAddress ServiceCIDR',
  'gateway.networking.k8s.io': 'UDPRoute',
  'rbac.authorization.k8s.io': 'ClusterRole ClusterRoleBinding Role RoleBinding',
  'storage.k8s.io': 'CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass',
  'scheduling.k8s.io': 'PriorityClass',
  'discovery.k8s.io': '',
  'networking.istio.io': '',
  'security.istio.io': '',
  'telemetry.istio.io': '',
  'extensions.istio.io': 'TrafficExtension WasmPlugin',
}

/** Kinds without a namespace, besides those that the mesh reads. */
const CLUSTER_SCOPED =
  'PersistentVolume ComponentStatus ServiceCIDR IPAddress ClusterRole ClusterRoleBinding CSIDriver CSINode StorageClass VolumeAttachment VolumeAttributesClass PriorityClass'

/** Whether objects of a kind live in a namespace; kinds that are not known do. */
export function isNamespaced(lookup: KindLookup, kind: string): boolean {
  return lookup.known === 'read' ? KINDS[lookup.kind].namespaced : !CLUSTER_SCOPED.split(' ').includes(kind)
}

/** Kinds that steer traffic but do nothing here yet. */
const UNENFORCED = [
  'networking.k8s.io/NetworkPolicy',
  'extensions.istio.io/WasmPlugin',
  'extensions.istio.io/TrafficExtension',
]

/** What an apiVersion and a kind mean here. */
export type KindLookup =
  | { known: 'read'; kind: Kind }
  | { known: 'other'; unenforced: boolean }
  | { known: 'no'; suggestion: string | undefined; versions: readonly string[] }

/** Kinds by group, for suggestions. */
export function kindsOfGroup(group: string): string[] {
  const read = Object.entries(KINDS).filter(([, info]) => info.group === group)
  return [
    ...read.map(([kind]) => writtenKind(kind)),
    ...(own(OTHER, group) ?? '').split(' ').filter((kind) => kind !== ''),
  ]
}

/** The group and version of an apiVersion. */
export function splitApiVersion(apiVersion: string): { group: string; version: string } {
  const slash = apiVersion.lastIndexOf('/')
  return { group: apiVersion.slice(0, Math.max(slash, 0)), version: apiVersion.slice(slash + 1) }
}

/** Groups that served a kind before it moved to the one that serves it now. */
export function groupOfKind(kind: string): string | undefined {
  if (Object.hasOwn(KINDS, kind) && !KINDS[kind as Kind].written) return KINDS[kind as Kind].group
  return Object.keys(OTHER).find((group) => (OTHER[group] as string).split(' ').includes(kind))
}

/** Looks up an apiVersion and a kind. Kinds of groups that nothing is known about are `other`. */
export function lookUp(apiVersion: string, kind: string): KindLookup {
  const { group, version } = splitApiVersion(apiVersion)
  const read = BY_GROUP.get(`${group}/${kind}`)
  if (read) {
    const { versions } = KINDS[read]
    return versions.includes(version) ? { known: 'read', kind: read } : { known: 'no', suggestion: undefined, versions }
  }
  if (!Object.hasOwn(OTHER, group)) {
    const builtIn = group === 'extensions' || !group.includes('.')
    return builtIn ? { known: 'no', suggestion: undefined, versions: [] } : { known: 'other', unenforced: false }
  }
  const kinds = kindsOfGroup(group)
  if (kinds.includes(kind)) return { known: 'other', unenforced: UNENFORCED.includes(`${group}/${kind}`) }
  return { known: 'no', suggestion: undefined, versions: [] }
}
