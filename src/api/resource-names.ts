import { KINDS, writtenKind } from './kinds-table.ts'
import type { Kind } from './objects.ts'
import { own } from './own.ts'

/** How kubectl calls the objects of a kind. */
export interface ResourceName {
  readonly kind: Kind
  /** `httproutes` */
  readonly plural: string
  readonly singular: string
  readonly group: string
  readonly namespaced: boolean
}

/** Short names. */
const SHORT: Partial<Record<Kind, string>> = {
  Namespace: 'ns',
  Node: 'no',
  Service: 'svc',
  Pod: 'po',
  Endpoints: 'ep',
  ServiceAccount: 'sa',
  ConfigMap: 'cm',
  Deployment: 'deploy',
  StatefulSet: 'sts',
  DaemonSet: 'ds',
  ReplicaSet: 'rs',
  CronJob: 'cj',
  Ingress: 'ing',
  VirtualService: 'vs',
  DestinationRule: 'dr',
  ServiceEntry: 'se',
  WorkloadEntry: 'we',
  WorkloadGroup: 'wg',
  Gateway: 'gw',
  PeerAuthentication: 'pa',
  RequestAuthentication: 'ra',
  AuthorizationPolicy: 'ap',
  GatewayClass: 'gc',
  KubernetesGateway: 'gtw',
  ListenerSet: 'lset',
  ReferenceGrant: 'refgrant',
  BackendTLSPolicy: 'btlspolicy',
}

const CATEGORIES: Record<string, (kind: Kind) => boolean> = {
  all: (kind) =>
    ['Pod', 'Service', 'DaemonSet', 'Deployment', 'ReplicaSet', 'StatefulSet', 'Job', 'CronJob'].includes(kind),
  'istio-io': (kind) => KINDS[kind].group.endsWith('.istio.io') && kind !== 'MeshConfig',
  'gateway-api': (kind) => KINDS[kind].group === 'gateway.networking.k8s.io',
}

/** The name of a kind's objects. */
export function resourceName(kind: Kind): ResourceName {
  const { group, namespaced } = KINDS[kind]
  const singular = writtenKind(kind).toLowerCase()
  return { kind, plural: pluralOf(singular), singular, group, namespaced }
}

function pluralOf(singular: string): string {
  if (singular === 'endpoints') return singular
  if (/(?:s|x|ch|sh)$/.test(singular)) return `${singular}es`
  return singular.endsWith('y') && !/[aeiou]y$/.test(singular) ? `${singular.slice(0, -1)}ies` : `${singular}s`
}

/**
 * What `kubectl get` understands by a word: plural, singular, short name, each with `.group` or without, or a category
 * (`all`, `istio-io`, `gateway-api`). Where two groups have the kind, the first that is `inUse` counts, the Gateway
 * API before Istio's own. Undefined when it is no resource.
 */
export function resourcesOf(word: string, inUse: (kind: Kind) => boolean): ResourceName[] | undefined {
  const kinds = (Object.keys(KINDS) as Kind[]).filter((kind) => kind !== 'MeshConfig')
  const category = own(CATEGORIES, word)
  if (category) return kinds.filter(category).map(resourceName)
  const dot = word.indexOf('.')
  const name = (dot < 0 ? word : word.slice(0, dot)).toLowerCase()
  // `httproutes.v1.gateway.networking.k8s.io` names the version as well.
  const group = dot < 0 ? undefined : word.slice(dot + 1).replace(/^v\d+(?:(?:alpha|beta)\d+)?(?:\.|$)/, '')
  const found = kinds.map(resourceName).filter((resource) => {
    if (group !== undefined && group !== resource.group) return false
    return resource.plural === name || resource.singular === name || SHORT[resource.kind] === name
  })
  if (found.length < 2) return found.length === 0 ? undefined : found
  found.sort((a, b) => (a.group < b.group ? -1 : 1))
  return [found.find(({ kind }) => inUse(kind)) ?? (found[0] as ResourceName)]
}

/** `httproute.gateway.networking.k8s.io`, `service`: as `-o name` has it before the slash. */
export function qualified(name: string, group: string): string {
  return group === '' ? name : `${name}.${group}`
}
