import type { ApiObject, Kind } from '../../api/objects.ts'
import type { AddressAllotter } from '../../registry/addresses.ts'
import { selects } from '../../registry/labels.ts'
import type { Service } from '../../registry/model.ts'
import { REGISTRY_KINDS, Registry } from '../../registry/registry.ts'
import type { Snapshot } from '../../store/store.ts'
import { type JwksKeys, NO_KEYS } from '../authn/jwks-keys.ts'
import { AuthorizationPolicies } from '../authz/policies.ts'
import type { PilotEnv } from '../env.ts'
import { EnvoyFilters } from '../envoyfilter/patches.ts'
import { Gateways } from '../gateway/gateways.ts'
import { GatewayApi, withGatewayDeployments } from '../gateway-api/gateway-api.ts'
import { type IngressObjects, ingressObjects } from '../ingress/conversion.ts'
import { type Mesh, meshOf } from '../mesh.ts'
import type { ProxyNode } from '../proxy.ts'
import { statedAnchors } from '../trust/stated-anchors.ts'
import { DestinationRules, type MergedRule, ruleFor } from './destination-rules.ts'
import { DiscoveredSnapshot } from './discovery.ts'
import { cappedExportTo } from './entry-visibility.ts'
import { PeerAuthentications } from './peer-authentication.ts'
import { RequestAuthentications } from './request-authentications.ts'
import { type SidecarScope, sidecarScope } from './sidecar-scope.ts'
import { VirtualServices } from './virtual-services.ts'

/** What pilot has fetched for a context; what changed is another object. */
export interface Fetched {
  readonly jwks: JwksKeys
  /** Of SPIFFE bundles, each in PEM. */
  readonly anchors: readonly string[]
}

const NOTHING_FETCHED: Fetched = { jwks: NO_KEYS, anchors: [] }

/** Values that stay the same as long as what they were made from does. */
export type Memo = Map<string, unknown>

/**
 * Everything that generation reads, made from one snapshot (pilot/pkg/model/push_context.go). What did not change
 * since the context before it is taken over, with what was computed from it.
 */
export class PushContext {
  /** The objects of the store, and those that are made of others. */
  readonly snapshot: Snapshot
  readonly env: PilotEnv
  readonly mesh: Mesh
  readonly registry: Registry
  readonly gatewayApi: GatewayApi
  readonly virtualServices: VirtualServices
  readonly gateways: Gateways
  readonly destinationRules: DestinationRules
  readonly peerAuthentications: PeerAuthentications
  readonly authorizationPolicies: AuthorizationPolicies
  readonly requestAuthentications: RequestAuthentications
  /** What was fetched for them. */
  readonly jwks: JwksKeys
  /** Roots to trust besides those of the CA, each in PEM: what MeshConfig states, and what was fetched. */
  readonly trustAnchors: readonly string[]
  readonly envoyFilters: EnvoyFilters
  /** Computed from services, DestinationRules and PeerAuthentications. */
  readonly clusterMemo: Memo
  /** Computed from the same, and VirtualServices and Sidecars. */
  readonly routeMemo: Memo
  /** Computed from the same, AuthorizationPolicies, RequestAuthentications and fetched keys, but of VirtualServices only from those that route TCP or TLS. */
  readonly listenerMemo: Memo
  /** What Ingresses stand for; before all others, since it has no time of creation. */
  readonly #ingress: IngressObjects
  readonly #discovered: Snapshot
  readonly #scopes = new Map<string, SidecarScope>()
  readonly #visible = new Map<string, readonly Service[]>()
  readonly #rules: Map<string, readonly MergedRule[]>
  readonly fetched: Fetched

  /** `fetched`: what came from elsewhere; default: as in `before`. */
  constructor(stored: Snapshot, env: PilotEnv, allotter: AddressAllotter, before?: PushContext, fetched?: Fetched) {
    this.#discovered = DiscoveredSnapshot.of(stored, before === undefined ? undefined : before.#discovered)
    let snapshot = withGatewayDeployments(this.#discovered, meshOf(stored).rootNamespace, before?.snapshot)
    this.env = env
    const same = (...kinds: Kind[]): boolean =>
      before !== undefined && kinds.every((kind) => sameList(before.snapshot.list(kind), snapshot.list(kind)))
    const sameMesh = same('MeshConfig')
    this.mesh = before && sameMesh ? before.mesh : meshOf(snapshot)
    const { mesh } = this
    const sameRegistry = sameMesh && same(...REGISTRY_KINDS)
    this.registry =
      before && sameRegistry
        ? before.registry
        : new Registry(snapshot, {
            allotter,
            domain: env.domain,
            clusterId: env.clusterId,
            trustDomain: mesh.trustDomain,
          })
    this.gatewayApi = GatewayApi.of(snapshot, this.registry, env.domain, before?.gatewayApi)
    snapshot = this.gatewayApi.onto(snapshot)
    this.snapshot = snapshot
    const sameRules = sameMesh && same('DestinationRule')
    this.destinationRules =
      before && sameRules
        ? before.destinationRules
        : new DestinationRules(snapshot.list('DestinationRule'), {
            domain: env.domain,
            rootNamespace: mesh.rootNamespace,
            defaultExportTo: mesh.defaultDestinationRuleExportTo,
          })
    const samePeers = sameMesh && same('PeerAuthentication')
    this.peerAuthentications =
      before && samePeers
        ? before.peerAuthentications
        : new PeerAuthentications(snapshot.list('PeerAuthentication'), mesh.rootNamespace)
    const sameAuthorization = sameMesh && same('AuthorizationPolicy')
    this.authorizationPolicies =
      before && sameAuthorization
        ? before.authorizationPolicies
        : new AuthorizationPolicies(snapshot.list('AuthorizationPolicy'), mesh.rootNamespace)
    const sameRequests = sameMesh && same('RequestAuthentication')
    this.requestAuthentications =
      before && sameRequests
        ? before.requestAuthentications
        : new RequestAuthentications(snapshot.list('RequestAuthentication'), mesh.rootNamespace)
    this.fetched = fetched ?? before?.fetched ?? NOTHING_FETCHED
    this.jwks = this.fetched.jwks
    const sameAnchors = sameMesh && this.fetched.anchors === before?.fetched.anchors
    this.trustAnchors = before && sameAnchors ? before.trustAnchors : [...statedAnchors(mesh), ...this.fetched.anchors]
    this.envoyFilters =
      before && sameMesh && same('EnvoyFilter')
        ? before.envoyFilters
        : new EnvoyFilters(snapshot.list('EnvoyFilter'), mesh.rootNamespace)
    const sameIngress = sameMesh && same('Ingress', 'IngressClass', 'Service')
    this.#ingress = before && sameIngress ? before.#ingress : ingressObjects(snapshot, mesh, env.domain)
    const sameGateways = sameIngress && same('Gateway')
    this.gateways =
      before && sameGateways && sameRegistry
        ? before.gateways
        : new Gateways([...this.#ingress.gateways, ...snapshot.list('Gateway')])
    const sameRoutes = sameMesh && same('VirtualService') && sameIngress
    this.virtualServices =
      before && sameRoutes
        ? before.virtualServices
        : new VirtualServices(
            [...this.#ingress.virtualServices, ...snapshot.list('VirtualService')],
            env.domain,
            mesh.defaultVirtualServiceExportTo,
          )
    const base = sameRegistry && sameRules && samePeers && sameGateways
    this.#rules = before && sameRegistry && sameRules ? before.#rules : new Map()
    this.clusterMemo = before && base ? before.clusterMemo : new Map()
    const sameSidecars = same('Sidecar')
    this.routeMemo = before && base && sameRoutes && sameSidecars ? before.routeMemo : new Map()
    const sameLayer4 =
      sameRoutes || (before && snapshot.list('Sidecar').length === 0 && sameLayer4Routes(before.snapshot, snapshot))
    const samePolicies = sameAuthorization && sameRequests && before?.jwks === this.jwks
    this.listenerMemo = before && base && samePolicies && sameLayer4 && sameSidecars ? before.listenerMemo : new Map()
    if (before && base && sameRoutes && sameSidecars) {
      this.#scopes = before.#scopes
      this.#visible = before.#visible
    }
  }

  /** The scope of a proxy: the Sidecar that selects it, its namespace's, the root namespace's, or none. */
  scopeOf(proxy: Pick<ProxyNode, 'type' | 'namespace' | 'labels'>): SidecarScope {
    const object = proxy.type === 'sidecar' ? this.sidecarFor(proxy) : undefined
    const key = `${proxy.namespace}\0${object ? `${object.metadata.namespace}/${object.metadata.name}` : ''}`
    let scope = this.#scopes.get(key)
    if (!scope) {
      scope = sidecarScope(this, proxy.namespace, object)
      this.#scopes.set(key, scope)
    }
    return scope
  }

  /** The Sidecar of a workload: the one that selects it, else its namespace's, else the mesh's. */
  sidecarFor(proxy: Pick<ProxyNode, 'namespace' | 'labels'>): ApiObject<'Sidecar'> | undefined {
    const all = this.snapshot.list('Sidecar')
    const own = all.filter((object) => object.metadata.namespace === proxy.namespace)
    return (
      own.find(({ spec }) => spec.workloadSelector && selects(spec.workloadSelector.labels, proxy.labels)) ??
      own.find(({ spec }) => !spec.workloadSelector) ??
      all.find(({ spec, metadata }) => metadata.namespace === this.mesh.rootNamespace && !spec.workloadSelector)
    )
  }

  /** The services that a namespace may see: those exported to it, then the public ones. */
  visibleServices(namespace: string): readonly Service[] {
    let known = this.#visible.get(namespace)
    if (!known) {
      const seen = this.registry.services.filter((service) => this.isVisible(service, namespace))
      const isPublic = (service: Service): boolean => this.#exportTo(service).includes('*')
      known = [...seen.filter((service) => !isPublic(service)), ...seen.filter(isPublic)]
      this.#visible.set(namespace, known)
    }
    return known
  }

  /** Whether a namespace may see a service. */
  isVisible(service: Service, namespace: string): boolean {
    const exportTo = this.#exportTo(service)
    if (exportTo.includes('*')) return true
    if (exportTo.includes('~')) return false
    return exportTo.includes(namespace) || (exportTo.includes('.') && service.namespace === namespace)
  }

  #exportTo(service: Service): readonly string[] {
    const stated = service.exportTo ?? this.mesh.defaultServiceExportTo
    return cappedExportTo(service, stated, this.mesh.serviceEntryVisibility, this.snapshot)
  }

  /** Of services with one host name, the one to take: a Kubernetes one, else the oldest that the namespace may see. */
  bestVisible(byNamespace: ReadonlyMap<string, Service>, namespace: string): Service | undefined {
    const seen = [...byNamespace.values()].filter((service) => this.isVisible(service, namespace))
    return (
      seen.find((service) => service.registry === 'Kubernetes') ??
      seen.sort((a, b) => a.creationTime - b.creationTime)[0]
    )
  }

  /** The DestinationRule that counts for a client and a service. */
  ruleFor(proxy: ProxyNode, service: Service, direction: 'inbound' | 'outbound' = 'outbound'): MergedRule | undefined {
    const key = `${proxy.namespace}\0${service.namespace}\0${service.hostname}`
    let rules = this.#rules.get(key)
    if (!rules) {
      rules = this.destinationRules.forService(proxy.namespace, service)
      this.#rules.set(key, rules)
    }
    return ruleFor(rules, proxy, direction)
  }

  /** SANs of a service's endpoints, with those of the trust domain's aliases. */
  serviceAccounts(service: Service): string[] {
    const accounts = this.registry.serviceAccounts(service)
    const { trustDomain, trustDomainAliases } = this.mesh
    if (trustDomainAliases.length === 0) return accounts
    const prefix = `spiffe://${trustDomain}/`
    const out = new Set(accounts)
    for (const account of accounts) {
      if (!account.startsWith(prefix)) continue
      for (const alias of trustDomainAliases) out.add(`spiffe://${alias}/${account.slice(prefix.length)}`)
    }
    return [...out].sort()
  }
}

/** Looks a value up, or makes it. */
export function memoized<T>(memo: Memo, key: string, make: () => T): T {
  if (memo.has(key)) return memo.get(key) as T
  const value = make()
  memo.set(key, value)
  return value
}

function sameList(a: readonly ApiObject[], b: readonly ApiObject[]): boolean {
  return a === b || (a.length === b.length && a.every((object, index) => object === b[index]))
}

function sameLayer4Routes(before: Snapshot, after: Snapshot): boolean {
  const layer4 = (snapshot: Snapshot) =>
    snapshot.list('VirtualService').filter(({ spec }) => spec.tcp?.length || spec.tls?.length)
  return sameList(layer4(before), layer4(after))
}
