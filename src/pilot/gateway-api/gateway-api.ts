import type { ApiObject, Kind } from '../../api/objects.ts'
import type { Registry } from '../../registry/registry.ts'
import { keepUnchanged, overlaid } from '../../store/overlay.ts'
import type { Snapshot } from '../../store/snapshot.ts'
import { CONVERTED_KINDS, type Conversion, convertGatewayApi, type ObjectStatus, type StatusObject } from './convert.ts'
import { builtinClasses, gatewayDeployments } from './deployments.ts'
import type { RouteObject } from './made-objects.ts'
import type { RouteErrors } from './route-status.ts'

/** The kinds that the conversion reads, beside those of the registry. */
const INPUT_KINDS: readonly Kind[] = [...CONVERTED_KINDS, 'Namespace', 'Service', 'ServiceEntry', 'Secret', 'ConfigMap']

/** A snapshot with the classes, deployments and services of Gateways that Istio makes: what the registry is to be made of. */
export function withGatewayDeployments(
  snapshot: Snapshot,
  rootNamespace: string,
  before: Snapshot | undefined,
): Snapshot {
  if (snapshot.list('KubernetesGateway').length === 0) return snapshot
  const known = before ? DEPLOYED_KINDS.flatMap((kind): readonly ApiObject[] => before.list(kind)) : []
  return overlaid(
    snapshot,
    keepUnchanged(known, [...builtinClasses(snapshot), ...gatewayDeployments(snapshot, rootNamespace)]),
  )
}

const DEPLOYED_KINDS = ['GatewayClass', 'Service', 'Deployment', 'ServiceAccount'] as const

/** The Gateway API's objects in one snapshot, and what they came to. */
export class GatewayApi {
  /** Gateways, VirtualServices and DestinationRules of Istio's own that do what they say. */
  readonly made: readonly ApiObject[]
  readonly statuses: ReadonlyMap<StatusObject, ObjectStatus>
  /** What is wrong with the references of routes. */
  readonly errors: ReadonlyMap<RouteObject, RouteErrors>
  readonly #snapshot: Snapshot
  readonly #registry: Registry

  private constructor(
    snapshot: Snapshot,
    registry: Registry,
    made: readonly ApiObject[],
    { statuses, errors }: Pick<Conversion, 'statuses' | 'errors'>,
  ) {
    this.#snapshot = snapshot
    this.#registry = registry
    this.made = made
    this.statuses = statuses
    this.errors = errors
  }

  /** Converts what is there; takes over what was made before as far as it is the same. */
  static of(snapshot: Snapshot, registry: Registry, domain: string, before: GatewayApi | undefined): GatewayApi {
    if (CONVERTED_KINDS.every((kind) => snapshot.list(kind).length === 0)) {
      return new GatewayApi(snapshot, registry, [], { statuses: new Map(), errors: new Map() })
    }
    if (before?.covers(snapshot, registry)) return before
    const made = convertGatewayApi(snapshot, domain, registry)
    const all = [...made.gateways, ...made.virtualServices, ...made.destinationRules]
    return new GatewayApi(snapshot, registry, keepUnchanged(before?.made ?? [], all), made)
  }

  /** Whether everything that was read is the same still. */
  private covers(snapshot: Snapshot, registry: Registry): boolean {
    if (registry !== this.#registry) return false
    return INPUT_KINDS.every((kind) => {
      const [a, b]: [readonly ApiObject[], readonly ApiObject[]] = [this.#snapshot.list(kind), snapshot.list(kind)]
      return a === b || (a.length === b.length && a.every((object, index) => object === b[index]))
    })
  }

  /** A snapshot with what was made. */
  onto(snapshot: Snapshot): Snapshot {
    return overlaid(snapshot, this.made)
  }
}
