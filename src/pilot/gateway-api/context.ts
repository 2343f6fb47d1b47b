import type { Service } from '../../registry/model.ts'
import type { Registry } from '../../registry/registry.ts'
import type { Snapshot } from '../../store/snapshot.ts'
import { namespaceLabels } from '../namespace-labels.ts'
import { BUILTIN_CLASSES, GATEWAY_CONTROLLER, UNMANAGED_CONTROLLER } from './constants.ts'
import { ReferenceGrants } from './references.ts'

/** What the conversion reads of the services of the mesh. */
export type ServiceIndex = Pick<Registry, 'byHostname' | 'endpoints' | 'endpointsOfPort'>

/** Everything that a conversion reads. */
export class ConversionContext {
  readonly snapshot: Snapshot
  /** DNS suffix of the cluster. */
  readonly domain: string
  readonly services: ServiceIndex
  readonly grants: ReferenceGrants

  constructor(snapshot: Snapshot, domain: string, services: ServiceIndex) {
    this.snapshot = snapshot
    this.domain = domain
    this.services = services
    this.grants = new ReferenceGrants(snapshot.list('ReferenceGrant'))
  }

  /** The service of a host name in a namespace. */
  service(hostname: string, namespace: string): Service | undefined {
    return this.services.byHostname(hostname)?.get(namespace)
  }

  /** The controller of a class, if it is one of Istio's (gatewayclass_collection.go FetchGatewayClass). */
  controllerOf(className: string): string | undefined {
    return controllerOf(this.snapshot, className)
  }

  namespaceLabels(namespace: string): Readonly<Record<string, string>> | undefined {
    const found = this.snapshot.get('Namespace', '', namespace)
    return found && namespaceLabels(found)
  }
}

/** The controller of a class, if it is one of Istio's; some classes need not be written. */
export function controllerOf(snapshot: Snapshot, className: string): string | undefined {
  const written = snapshot.get('GatewayClass', '', className)
  const controller = written ? written.spec.controllerName : BUILTIN_CLASSES[className]?.controller
  return controller === GATEWAY_CONTROLLER || controller === UNMANAGED_CONTROLLER ? controller : undefined
}
