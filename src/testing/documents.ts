import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { writtenKind } from '../api/kinds-table.ts'
import { loadText } from '../api/load.ts'
import type { ApiObject } from '../api/objects.ts'
import { formatProblems, hasErrors, type Problem } from '../api/problems.ts'
import { parseYaml } from '../api/yaml.ts'
import { MeshConfigError } from './mesh-config-error.ts'
import type { MeshObject, ObjectRef } from './types.ts'

/** Objects to put into a store, each a source of its own, so that each can be replaced and taken away. */
export type Update = Map<string, readonly ApiObject[] | undefined>

/** The objects of a test's mesh as they were written. */
export class Documents {
  readonly #strict: boolean
  readonly #written = new Map<string, MeshObject>()

  constructor(strict: boolean) {
    this.#strict = strict
  }

  /** Reads one text. Throws MeshConfigError; nothing of it is taken then. */
  read(file: string, text: string, update: Update): Problem[] {
    const { objects, problems } = loadText(file, text, { strict: this.#strict })
    if (hasErrors(problems)) throw configError(problems)
    for (const { value } of parseYaml(file, text, { strict: this.#strict }).documents)
      for (const object of objectsIn(value)) this.#written.set(keyOf(object), object)
    for (const object of objects) update.set(keyOf(object), [object])
    return problems
  }

  /** Forgets objects. Throws for those that are not there. */
  remove(refs: readonly ObjectRef[], update: Update): void {
    const keys = refs.map((ref) => this.#find(ref)[0])
    for (const key of keys) {
      this.#written.delete(key)
      update.set(key, undefined)
    }
  }

  /** A copy of an object as it was written. Throws when it is not there. */
  copy(ref: ObjectRef): MeshObject {
    return structuredClone(this.#find(ref)[1])
  }

  #find({ kind, name, namespace = 'default' }: ObjectRef): [string, MeshObject] {
    const found = [...this.#written].filter(
      ([, object]) =>
        object.kind.toLowerCase() === kind.toLowerCase() &&
        object.metadata.name === name &&
        (object.metadata.namespace ?? 'default') === namespace,
    )
    if (found.length === 1) return found[0]!
    if (found.length > 1) throw new Error(`there is a ${kind} ${namespace}/${name} of several API groups`)
    const like = [...this.#written.values()].filter((object) => object.kind.toLowerCase() === kind.toLowerCase())
    const names = like.map(({ metadata }) => `${metadata.namespace ?? 'default'}/${metadata.name}`)
    throw new Error(`there is no ${kind} ${namespace}/${name}; there are: ${names.join(', ') || 'none'}`)
  }
}

/** What names an object in YAML that is there to delete it. */
export function refsIn(text: string): ObjectRef[] {
  return parseYaml('delete', text).documents.flatMap(({ value }) =>
    objectsIn(value).map(({ kind, metadata: { name, namespace } }) => ({
      kind,
      name,
      ...(namespace ? { namespace } : {}),
    })),
  )
}

/** The files of a path: itself, or what a folder holds to its bottom, by name. */
export function filesIn(path: string): { file: string; text: string }[] {
  if (!statSync(path).isDirectory()) return [{ file: path, text: readFileSync(path, 'utf8') }]
  return readdirSync(path, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const inside = join(path, entry.name)
      if (entry.isDirectory()) return filesIn(inside)
      return /\.(ya?ml|json)$/i.test(entry.name) ? [{ file: inside, text: readFileSync(inside, 'utf8') }] : []
    })
}

function objectsIn(value: unknown): MeshObject[] {
  const object = value as (MeshObject & { items?: unknown }) | null | undefined
  if (typeof object !== 'object' || object === null) return []
  if (Array.isArray(object.items) && object.kind?.endsWith('List')) return object.items.flatMap(objectsIn)
  return typeof object.metadata?.name === 'string' ? [object] : []
}

/** Namespaces of what has none do not matter here: all that counts is that an object finds itself again. */
function keyOf({
  apiVersion,
  kind,
  metadata,
}: {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string }
}): string {
  const group = apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : ''
  return `${group}/${writtenKind(kind)}/${metadata.namespace || 'default'}/${metadata.name}`
}

/** The error for these problems, of which one at least is one. */
export function configError(problems: readonly Problem[]): MeshConfigError {
  return new MeshConfigError(formatProblems(problems.filter(({ severity }) => severity === 'error')), problems)
}
