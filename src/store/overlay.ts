import type { ApiObject, Kind } from '../api/objects.ts'
import { byAge, keyOf, type Snapshot } from './snapshot.ts'

/**
 * A snapshot with more objects in it: those that a control plane makes of others. An object of the store has precedence
 * over one of the same name that was made.
 */
export class OverlaySnapshot implements Snapshot {
  readonly resourceVersion: number
  /** The objects that were added. */
  readonly added: readonly ApiObject[]
  readonly #base: Snapshot
  readonly #byKey = new Map<string, ApiObject>()
  readonly #kinds = new Set<Kind>()
  readonly #lists = new Map<Kind, readonly ApiObject[]>()

  constructor(base: Snapshot, added: readonly ApiObject[]) {
    this.resourceVersion = base.resourceVersion
    this.added = added
    this.#base = base
    for (const object of added) {
      const { namespace, name } = object.metadata
      if (base.get(object.kind, namespace, name)) continue
      this.#byKey.set(keyOf(object.kind, namespace, name), object)
      this.#kinds.add(object.kind)
    }
  }

  list<K extends Kind>(kind: K): readonly ApiObject<K>[] {
    if (!this.#kinds.has(kind)) return this.#base.list(kind)
    let known = this.#lists.get(kind)
    if (!known) {
      const own = [...this.#byKey.values()].filter((object) => object.kind === kind)
      known = [...this.#base.list(kind), ...own].sort(byAge)
      this.#lists.set(kind, known)
    }
    return known as readonly ApiObject<K>[]
  }

  get<K extends Kind>(kind: K, namespace: string, name: string): ApiObject<K> | undefined {
    return this.#base.get(kind, namespace, name) ?? (this.#byKey.get(keyOf(kind, namespace, name)) as ApiObject<K>)
  }
}

/** A snapshot with more objects, or the same one when there are none. */
export function overlaid(base: Snapshot, added: readonly ApiObject[]): Snapshot {
  return added.length === 0 ? base : new OverlaySnapshot(base, added)
}

/**
 * What was made, with the very objects of before where they are still the same: whoever compares by identity sees no
 * change then.
 */
export function keepUnchanged(before: readonly ApiObject[], made: readonly ApiObject[]): ApiObject[] {
  if (before.length === 0) return [...made]
  const known = new Map(before.map((object) => [signature(object), object]))
  return made.map((object) => known.get(signature(object)) ?? object)
}

/** Everything of an object, and where its parts come from. */
function signature(object: ApiObject): string {
  const { origin, ...content } = object
  const places = object.kind === 'VirtualService' ? (object.spec.http ?? []).map((_, i) => placeOf(object, i)) : []
  return JSON.stringify([content, origin.file, origin.line, places])
}

function placeOf({ origin }: ApiObject, rule: number): string {
  const { file, line } = origin.locate(['spec', 'http', rule])
  return `${file}:${line}`
}
