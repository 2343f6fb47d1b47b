import { writtenKind } from '../api/kinds-table.ts'
import type { ApiObject, Kind, ObjectMeta } from '../api/objects.ts'
import type { Problem } from '../api/problems.ts'
import type { Runtime } from '../runtime.ts'
import type { Snapshot } from './snapshot.ts'
import { KindTable, keyOf, TableSnapshot } from './snapshot.ts'

export type { Snapshot } from './snapshot.ts'

/** What changed in one step. */
export interface Change {
  readonly snapshot: Snapshot
  readonly added: readonly ApiObject[]
  readonly updated: readonly { before: ApiObject; after: ApiObject }[]
  readonly deleted: readonly ApiObject[]
  /** Objects that stand elsewhere in their file now, and are otherwise as they were. */
  readonly moved: readonly ApiObject[]
}

/** A change to one object, as a Kubernetes watch tells it. */
export interface WatchEvent<K extends Kind> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly object: ApiObject<K>
}

/** New objects by source (a file, the API); undefined takes the source away. */
export type SourceUpdate = ReadonlyMap<string, readonly ApiObject[] | undefined>

/** Holds the objects of the mesh. */
export interface Store {
  readonly snapshot: Snapshot
  list<K extends Kind>(kind: K): readonly ApiObject<K>[]
  get<K extends Kind>(kind: K, namespace: string, name: string): ApiObject<K> | undefined
  /** Calls `listener` once per change (a whole file edit is one); returns the way to stop that. */
  subscribe(listener: (change: Change) => void): () => void
  /** The objects of a kind as events: those there are, then each change. Returns the way to stop that. */
  watch<K extends Kind>(kind: K, listener: (events: readonly WatchEvent<K>[]) => void): () => void
  /** Replaces the objects of one source, as one change. Returns warnings about objects that are defined twice. */
  replaceSource(source: string, objects: readonly ApiObject[]): Problem[]
  /** Replaces the objects of several sources, as one change. */
  apply(update: SourceUpdate): Problem[]
}

/** What is kept of an object over its updates. */
interface Entry {
  object: ApiObject
  /** The content as written, to tell a change. */
  content: string
}

/** Makes a store. Its clock gives creationTimestamps, its chance uids. */
export function createStore(runtime: Pick<Runtime, 'wallNow' | 'uuid'>): Store {
  return new MemoryStore(runtime)
}

class MemoryStore implements Store {
  readonly #runtime: Pick<Runtime, 'wallNow' | 'uuid'>
  readonly #sources = new Map<string, readonly ApiObject[]>()
  readonly #listeners = new Set<(change: Change) => void>()
  #entries: ReadonlyMap<string, Entry> = new Map()
  #snapshot = new TableSnapshot(0, new Map())

  constructor(runtime: Pick<Runtime, 'wallNow' | 'uuid'>) {
    this.#runtime = runtime
  }

  get snapshot(): Snapshot {
    return this.#snapshot
  }

  list<K extends Kind>(kind: K): readonly ApiObject<K>[] {
    return this.#snapshot.list(kind)
  }

  get<K extends Kind>(kind: K, namespace: string, name: string): ApiObject<K> | undefined {
    return this.#snapshot.get(kind, namespace, name)
  }

  subscribe(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  watch<K extends Kind>(kind: K, listener: (events: readonly WatchEvent<K>[]) => void): () => void {
    const present = this.list(kind)
    if (present.length > 0) listener(present.map((object) => ({ type: 'ADDED', object })))
    return this.subscribe((change) => {
      const of = (objects: readonly ApiObject[]) => objects.filter((object) => object.kind === kind) as ApiObject<K>[]
      const events: WatchEvent<K>[] = [
        ...of(change.deleted).map((object) => ({ type: 'DELETED' as const, object })),
        ...of(change.added).map((object) => ({ type: 'ADDED' as const, object })),
        ...of(change.updated.map(({ after }) => after)).map((object) => ({ type: 'MODIFIED' as const, object })),
      ]
      if (events.length > 0) listener(events)
    })
  }

  replaceSource(source: string, objects: readonly ApiObject[]): Problem[] {
    return this.apply(new Map([[source, objects]]))
  }

  apply(update: SourceUpdate): Problem[] {
    for (const [source, objects] of update) {
      if (objects === undefined) this.#sources.delete(source)
      else this.#sources.set(source, objects)
    }
    const { winners, problems } = this.#winners(update)
    const version = this.#snapshot.resourceVersion + 1
    const added: ApiObject[] = []
    const updated: { before: ApiObject; after: ApiObject }[] = []
    const moved: ApiObject[] = []
    const entries = new Map<string, Entry>()
    for (const [key, written] of winners) {
      const before = this.#entries.get(key)
      if (before && before.object.origin === written.origin) {
        entries.set(key, before)
        continue
      }
      const content = contentOf(written)
      const same = before?.content === content
      const object = same
        ? { ...written, metadata: before.object.metadata }
        : this.#adopt(written, before?.object, version)
      entries.set(key, { object, content })
      if (!before) added.push(object)
      else if (!same) updated.push({ before: before.object, after: object })
      else moved.push(object)
    }
    const deleted = [...this.#entries].filter(([key]) => !entries.has(key)).map(([, { object }]) => object)
    this.#entries = entries
    if (added.length + updated.length + deleted.length + moved.length === 0) return problems
    this.#snapshot = this.#nextSnapshot(version, [...added, ...deleted, ...moved, ...updated.map(({ after }) => after)])
    const change: Change = { snapshot: this.#snapshot, added, updated, deleted, moved }
    for (const listener of [...this.#listeners]) listener(change)
    return problems
  }

  /** Of objects with the same kind, namespace and name the last one counts, as with `kubectl apply`. */
  #winners(update: SourceUpdate): { winners: Map<string, ApiObject>; problems: Problem[] } {
    const winners = new Map<string, ApiObject>()
    const sourceOf = new Map<string, string>()
    const problems: Problem[] = []
    for (const [source, objects] of this.#sources) {
      for (const object of objects) {
        const { namespace, name } = object.metadata
        const key = keyOf(object.kind, namespace, name)
        const earlier = winners.get(key)
        if (earlier && (update.has(source) || update.has(sourceOf.get(key) as string))) {
          problems.push(twice(object, earlier))
        }
        winners.set(key, object)
        sourceOf.set(key, source)
      }
    }
    return { winners, problems }
  }

  #adopt(written: ApiObject, before: ApiObject | undefined, version: number): ApiObject {
    const meta: ObjectMeta = {
      ...written.metadata,
      creationTimestamp: written.metadata.creationTimestamp ?? before?.metadata.creationTimestamp ?? this.#now(),
      uid: written.metadata.uid ?? before?.metadata.uid ?? this.#runtime.uuid(),
      resourceVersion: String(version),
      generation: (before?.metadata.generation ?? 0) + 1,
    }
    return { ...written, metadata: meta }
  }

  /** In whole seconds, as the API server has them: objects that are applied together are equally old, and names decide. */
  #now(): string {
    const seconds = Math.floor(this.#runtime.wallNow() / 1000)
    return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z')
  }

  #nextSnapshot(version: number, touched: readonly ApiObject[]): TableSnapshot {
    const kinds = new Set(touched.map(({ kind }) => kind))
    const contents = new Map<Kind, Map<string, ApiObject>>()
    for (const [key, { object }] of this.#entries) {
      if (!kinds.has(object.kind)) continue
      const table = contents.get(object.kind) ?? new Map<string, ApiObject>()
      contents.set(object.kind, table.set(key, object))
    }
    const tables = new Map(this.#snapshot.tables)
    for (const kind of kinds) tables.set(kind, new KindTable(contents.get(kind) ?? new Map()))
    return new TableSnapshot(version, tables)
  }
}

function contentOf(object: ApiObject): string {
  return JSON.stringify({ ...object, origin: undefined })
}

function twice(object: ApiObject, earlier: ApiObject): Problem {
  const { kind, metadata, origin } = object
  const name = metadata.namespace === '' ? metadata.name : `${metadata.namespace}/${metadata.name}`
  const first = `${earlier.origin.file}:${earlier.origin.line}`
  return {
    severity: 'warning',
    message: `${writtenKind(kind)} ${name} is defined twice: this one takes the place of the one at ${first}`,
    file: origin.file,
    line: origin.line,
    col: origin.col,
  }
}
