import { fragmentOf, unknownKind } from './fragments.ts'
import type { Finding } from './issues.ts'
import { findingsOf } from './issues.ts'
import type { KindLookup } from './kinds-table.ts'
import { isNamespaced, KINDS, lookUp } from './kinds-table.ts'
import type { Draft } from './loose.ts'
import { readLoosely, writtenPath } from './loose.ts'
import { isMeshConfigFile, readMeshConfig, readMeshConfigText } from './mesh-config.ts'
import { readMetadata } from './metadata.ts'
import { notEnforced } from './not-enforced.ts'
import { withoutNulls } from './nulls.ts'
import type { ApiObject, Origin, OtherObject, Path, Position } from './objects.ts'
import type { Problem, Severity } from './problems.ts'
import { unknownFields } from './unread.ts'
import { validate } from './validate/validate.ts'
import type { YamlDocument } from './yaml.ts'
import { parseYaml } from './yaml.ts'

/** How to read documents. */
export interface LoadOptions {
  /** Refuse what the real API server or Envoy would refuse, even where the meaning is obvious. */
  strict?: boolean
}

/** The objects of some files, and what is wrong with the rest. An object with an error is in neither list. */
export interface Loaded {
  objects: ApiObject[]
  /** Objects of kinds that the mesh does not read. */
  others: OtherObject[]
  problems: Problem[]
}

/** A file that has been read. */
export interface SourceFile {
  file: string
  text: string
}

/** Reads the documents of several files. All problems of all documents are reported together. */
export function loadDocuments(files: readonly SourceFile[], options: LoadOptions = {}): Loaded {
  const all: Loaded = { objects: [], others: [], problems: [] }
  for (const { file, text } of files) {
    const { objects, others, problems } = loadText(file, text, options)
    all.objects.push(...objects)
    all.others.push(...others)
    all.problems.push(...problems)
  }
  return all
}

/** Reads the documents of one file: a stream of YAML or JSON documents, `List`s included. */
export function loadText(file: string, text: string, options: LoadOptions = {}): Loaded {
  const yaml = parseYaml(file, text, options)
  const loader = new Loader(options, yaml.problems)
  for (const document of yaml.documents) loader.read(document, document.value, [])
  loader.problems.sort((a, b) => a.line - b.line || a.col - b.col)
  return { objects: loader.objects, others: loader.others, problems: loader.problems }
}

type Fields = Record<string, unknown>

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

class Loader {
  readonly objects: ApiObject[] = []
  readonly others: OtherObject[] = []
  readonly problems: Problem[]
  readonly #options: LoadOptions
  readonly #unenforced = new Set<string>()

  constructor(options: LoadOptions, problems: Problem[]) {
    this.#options = options
    this.problems = problems
  }

  read(document: YamlDocument, value: unknown, at: Path): void {
    if (value === null || value === undefined) return
    if (!isFields(value)) {
      const what = Array.isArray(value) ? 'a list' : `a ${typeof value}`
      this.#say(document, 'error', at, `${what}, not an object with apiVersion, kind and metadata${fragmentOf(value)}`)
      return
    }
    const { apiVersion, kind } = value
    if (kind === undefined && apiVersion === undefined && isMeshConfigFile(document.file)) {
      this.#meshConfig(document, value, at)
      return
    }
    for (const field of ['apiVersion', 'kind']) {
      if (typeof value[field] === 'string' && value[field] !== '') continue
      const missing = kind === undefined && apiVersion === undefined ? 'no apiVersion and kind' : `no ${field}`
      this.#say(document, 'error', at, `${missing}: not an object that can be applied${fragmentOf(value)}`)
      return
    }
    if (Array.isArray(value.items) && typeof kind === 'string' && kind.endsWith('List')) {
      value.items.forEach((item, i) => {
        this.read(document, item, [...at, 'items', i])
      })
      return
    }
    this.#object(document, value as Fields & { apiVersion: string; kind: string }, at)
  }

  #object(document: YamlDocument, value: Fields & { apiVersion: string; kind: string }, at: Path): void {
    const { apiVersion, kind } = value
    const lookup = lookUp(apiVersion, kind)
    if (lookup.known === 'no') {
      this.#say(
        document,
        'error',
        [...at, lookup.versions.length > 0 ? 'apiVersion' : 'kind'],
        unknownKind(apiVersion, kind, lookup.versions),
      )
      return
    }
    const draft: Draft = { kind, value: withoutNulls(kind, value) as Fields, moved: [], assumptions: [] }
    // To istiod an absent spec is an empty one.
    if (apiVersion.includes('.istio.io/')) draft.value.spec ??= {}
    if (!this.#options.strict) readLoosely(draft)
    const place = (path: Path): Path => [...at, ...writtenPath(draft.moved, path)]
    for (const { path, message, atKey } of draft.assumptions)
      this.#say(document, 'warning', [...at, ...path], message, atKey)

    const info = lookup.known === 'read' ? KINDS[lookup.kind] : undefined
    const { meta, findings } = readMetadata(info, isNamespaced(lookup, kind), draft.value.metadata)
    const origin: Origin = { ...startOf(document, at), locate: (path) => document.locate(place(path)) }
    if (!meta || findings.length > 0) {
      this.#findings(document, 'error', findings, place)
      if (!meta) return
    }
    if (lookup.known === 'other' || !info) {
      if (findings.length > 0) return
      this.#other(document, draft, { apiVersion, kind, metadata: meta, origin, body: draft.value }, lookup, at)
      return
    }
    const parsed = info.body.safeParse(draft.value)
    if (!parsed.success) {
      const problems = findingsOf(info.body, draft.value, parsed.error)
      const incomplete = document.elided && problems.every(({ missing }) => missing)
      this.#findings(document, incomplete ? 'warning' : 'error', problems, place)
      if (incomplete) this.others.push({ apiVersion, kind, metadata: meta, origin, body: draft.value })
      return
    }
    const unknown = unknownFields(info.body, draft.value)
    this.#findings(document, this.#options.strict ? 'error' : 'warning', unknown, place)
    const known = lookup.known === 'read' ? lookup.kind : kind
    const object = { ...(parsed.data as Fields), apiVersion, kind: known, metadata: meta, origin } as ApiObject
    const results = validate(object, this.#options)
    for (const { path, message, atKey, severity } of results) this.#say(document, severity, place(path), message, atKey)
    const refused = findings.length > 0 || (this.#options.strict && unknown.length > 0)
    if (refused || results.some(({ severity }) => severity === 'error')) return
    this.#accept(document, object, place)
    if (object.kind === 'ConfigMap' && meta.name === 'istio' && meta.namespace === 'istio-system') {
      const text = object.data?.mesh
      if (text !== undefined) this.#take(document, readMeshConfigText(text, document, [...at, 'data', 'mesh']))
    }
  }

  #accept(document: YamlDocument, object: ApiObject, place: (path: Path) => Path): void {
    this.objects.push(object)
    for (const { pattern, path, message } of notEnforced(object)) {
      if (this.#unenforced.has(pattern)) continue
      this.#unenforced.add(pattern)
      if (object.kind === 'MeshConfig') {
        this.problems.push(document.problemAt('warning', object.origin.locate(path), path, message))
      } else this.#say(document, 'warning', place(path), message, true)
    }
  }

  /** An IstioOperator matters for the MeshConfig in it. */
  #operator(document: YamlDocument, value: Fields, at: Path): boolean {
    const config = isFields(value.spec) ? value.spec.meshConfig : undefined
    if (value.kind !== 'IstioOperator' || config === undefined) return false
    const inside = (path: Path): Path => [...at, 'spec', 'meshConfig', ...(path[0] === 'spec' ? path.slice(1) : path)]
    const locate = (path: Path): Position => document.locate(inside(path))
    const places = {
      locate,
      problem: (severity: Severity, path: Path, message: string, atKey?: boolean) =>
        document.problem(severity, inside(path), message, atKey),
    }
    this.#take(document, readMeshConfig(config, places, { ...locate([]), locate }))
    return true
  }

  #other(document: YamlDocument, draft: Draft, object: OtherObject, lookup: KindLookup, at: Path): void {
    this.others.push(object)
    if (this.#operator(document, draft.value, at)) return
    const unenforced = lookup.known === 'other' && lookup.unenforced
    const message = unenforced
      ? `not enforced yet: ${object.kind}`
      : `${draft.kind} has no meaning for the mesh: kept, and otherwise left alone`
    const pattern = `kind ${object.apiVersion} ${object.kind}`
    if (this.#unenforced.has(pattern)) return
    this.#unenforced.add(pattern)
    this.#say(document, unenforced ? 'warning' : 'info', [...at, 'kind'], message, true)
  }

  #meshConfig(document: YamlDocument, value: Fields, at: Path): void {
    const origin = {
      ...startOf(document, at),
      locate: (path: Path) => document.locate(path[0] === 'spec' ? path.slice(1) : path),
    }
    this.#take(document, readMeshConfig(value, document, origin))
  }

  #take(document: YamlDocument, { object, problems }: { object?: ApiObject<'MeshConfig'>; problems: Problem[] }): void {
    this.problems.push(...problems)
    if (object) this.#accept(document, object, (path) => path)
  }

  #findings(
    document: YamlDocument,
    severity: Severity,
    findings: readonly Finding[],
    place: (path: Path) => Path,
  ): void {
    for (const { path, message, atKey } of findings) this.#say(document, severity, place(path), message, atKey)
  }

  #say(document: YamlDocument, severity: Severity, path: Path, message: string, atKey = false): void {
    this.problems.push(document.problem(severity, path, message, atKey))
  }
}

function startOf(document: YamlDocument, at: Path): Position {
  return at.length === 0 ? document.start : document.locate(at)
}
