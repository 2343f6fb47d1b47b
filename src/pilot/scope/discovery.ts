import type { LabelSelector } from '../../api/kinds/label-selector.ts'
import type { MeshConfig } from '../../api/kinds/mesh-config.ts'
import type { ApiObject, Kind } from '../../api/objects.ts'
import type { Snapshot } from '../../store/store.ts'
import { labelsMatch } from '../gateway-api/label-selector.ts'
import { namespaceLabels } from '../namespace-labels.ts'

/** What is read wherever it is: cluster-wide, or what runs whether or not istiod knows of it. */
const EVERYWHERE: ReadonlySet<Kind> = new Set<Kind>([
  'MeshConfig',
  'ConfigMap',
  'Namespace',
  'Node',
  'Pod',
  'Deployment',
  'ReplicaSet',
  'StatefulSet',
  'DaemonSet',
  'Job',
  'CronJob',
])

/** The objects of the namespaces that MeshConfig's discoverySelectors choose (pkg/kube/namespace/filter.go). */
export class DiscoveredSnapshot implements Snapshot {
  readonly resourceVersion: number
  readonly #stored: Snapshot
  readonly #allowed: ReadonlySet<string>
  readonly #lists: Map<Kind, { from: readonly ApiObject[]; to: readonly ApiObject[] }>

  private constructor(stored: Snapshot, allowed: ReadonlySet<string>, before: DiscoveredSnapshot | undefined) {
    this.resourceVersion = stored.resourceVersion
    this.#stored = stored
    this.#allowed = allowed
    const same = before && [...allowed].join() === [...before.#allowed].join()
    this.#lists = same ? before.#lists : new Map()
  }

  /** The snapshot itself when nothing is left out. `before`: the one that was made last, whose lists are kept. */
  static of(stored: Snapshot, before: Snapshot | undefined): Snapshot {
    const selectors: MeshConfig['discoverySelectors'] = stored.list('MeshConfig')[0]?.spec.discoverySelectors
    if (!selectors?.length) return stored
    const allowed = stored
      .list('Namespace')
      .filter((object) => {
        const labels = namespaceLabels(object)
        return selectors.some((selector) => labelsMatch(selector as LabelSelector, labels))
      })
      .map(({ metadata }) => metadata.name)
    return new DiscoveredSnapshot(stored, new Set(allowed), before instanceof DiscoveredSnapshot ? before : undefined)
  }

  list<K extends Kind>(kind: K): readonly ApiObject<K>[] {
    const from = this.#stored.list(kind)
    if (EVERYWHERE.has(kind)) return from
    const known = this.#lists.get(kind)
    if (known?.from === from) return known.to as readonly ApiObject<K>[]
    const to = from.filter((object) => this.#isAllowed(object.metadata.namespace))
    this.#lists.set(kind, { from, to })
    return to
  }

  get<K extends Kind>(kind: K, namespace: string, name: string): ApiObject<K> | undefined {
    if (!EVERYWHERE.has(kind) && !this.#isAllowed(namespace)) return undefined
    return this.#stored.get(kind, namespace, name)
  }

  #isAllowed(namespace: string): boolean {
    return namespace === '' || this.#allowed.has(namespace)
  }
}
