import type { ApiObject, Kind } from '../api/objects.ts'

/** All objects at one moment; never changes. */
export interface Snapshot {
  /** Counts the changes of the store. */
  readonly resourceVersion: number
  /** The objects of a kind, oldest first, then by name and namespace. The same array as before, if nothing of the kind changed. */
  list<K extends Kind>(kind: K): readonly ApiObject<K>[]
  /** One object; the namespace of kinds without one is ''. */
  get<K extends Kind>(kind: K, namespace: string, name: string): ApiObject<K> | undefined
}

/** The objects of one kind. */
export class KindTable {
  readonly #objects: ReadonlyMap<string, ApiObject>
  #sorted: readonly ApiObject[] | undefined

  /** Keys are those of `keyOf`. */
  constructor(objects: ReadonlyMap<string, ApiObject>) {
    this.#objects = objects
  }

  get(key: string): ApiObject | undefined {
    return this.#objects.get(key)
  }

  sorted(): readonly ApiObject[] {
    this.#sorted ??= [...this.#objects.values()].sort(byAge)
    return this.#sorted
  }
}

/** The snapshot of a set of tables. */
export class TableSnapshot implements Snapshot {
  readonly resourceVersion: number
  readonly tables: ReadonlyMap<Kind, KindTable>

  constructor(resourceVersion: number, tables: ReadonlyMap<Kind, KindTable>) {
    this.resourceVersion = resourceVersion
    this.tables = tables
  }

  list<K extends Kind>(kind: K): readonly ApiObject<K>[] {
    return (this.tables.get(kind)?.sorted() ?? []) as readonly ApiObject<K>[]
  }

  get<K extends Kind>(kind: K, namespace: string, name: string): ApiObject<K> | undefined {
    return this.tables.get(kind)?.get(keyOf(kind, namespace, name)) as ApiObject<K> | undefined
  }
}

/** The key of an object: `Kind/namespace/name`. */
export function keyOf(kind: string, namespace: string, name: string): string {
  return `${kind}/${namespace}/${name}`
}

/** Oldest first, then by name and namespace: the order that Istio goes by (pilot/pkg/model/config.go sortConfigByCreationTime). */
export function byAge(a: ApiObject, b: ApiObject): number {
  const [x, y] = [a.metadata, b.metadata]
  const age = Date.parse(x.creationTimestamp ?? '') - Date.parse(y.creationTimestamp ?? '')
  if (age !== 0 && !Number.isNaN(age)) return age
  if (x.name !== y.name) return x.name < y.name ? -1 : 1
  if (x.namespace !== y.namespace) return x.namespace < y.namespace ? -1 : 1
  return 0
}
