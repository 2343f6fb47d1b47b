import { RE2JS } from 're2js'
import { idleOperation } from '../../api/envoy-filter-operations.ts'
import type { EnvoyConfigObjectPatch } from '../../api/kinds/envoy-filter.ts'
import type { ApiObject, Path } from '../../api/objects.ts'
import { decodeJson } from '../../xds/json-decode.ts'
import { schemaOf } from '../../xds/messages.ts'
import { type Problem, problemText } from '../../xds/problem.ts'
import { attachesTo } from '../policy-attachment.ts'
import type { ProxyNode } from '../proxy.ts'
import { type ApplyTo, type Operation, type Patch, VALUES } from './patch.ts'
import { PatchSet } from './patch-set.ts'
import { Sought } from './sought.ts'

/** Kinds of things before or behind whose members something can be inserted; elsewhere an insertion adds. */
const INSERTABLE = new Set<string>(['HTTP_FILTER', 'NETWORK_FILTER', 'HTTP_ROUTE', 'LISTENER_FILTER'])

type Filter = ApiObject<'EnvoyFilter'>

/** Something in the value of a patch that cannot be read. */
export interface Flaw {
  readonly object: Filter
  readonly path: Path
  readonly text: string
  /** Only a field that nobody knows, without which the rest is good. */
  readonly field: boolean
}

/** `file:line:col: EnvoyFilter namespace/name: spec.configPatches[0]` of something in a patch. */
export function placeOf({ origin, metadata }: Filter, path: Path): string {
  const { file, line, col } = origin.locate(path)
  return `${file}:${line}:${col}: EnvoyFilter ${metadata.namespace}/${metadata.name}: spec.configPatches[${path[2]}]`
}

interface Compiled {
  readonly object: Filter
  readonly patches: readonly Patch[]
  /** RE2 over the proxy's version, by patch. */
  readonly versions: ReadonlyMap<Patch, RE2JS>
}

/** The EnvoyFilters of a snapshot (pilot/pkg/model/envoyfilter.go). */
export class EnvoyFilters {
  /** Parts of their values that cannot be read. */
  readonly flaws: readonly Flaw[]
  readonly #filters: readonly Compiled[]
  readonly #rootNamespace: string
  readonly #sets = new Map<string, PatchSet | undefined>()

  constructor(objects: readonly Filter[], rootNamespace: string) {
    this.#rootNamespace = rootNamespace
    const flaws: Flaw[] = []
    this.#filters = objects.map((object) => compile(object, flaws)).sort((a, b) => this.#compare(a.object, b.object))
    this.flaws = flaws
  }

  /** Every patch. */
  get patches(): readonly Patch[] {
    return this.#filters.flatMap(({ patches }) => patches)
  }

  /** The patches for a proxy; undefined when there are none. The same object as long as nothing changes. */
  forProxy(proxy: ProxyNode): PatchSet | undefined {
    if (this.#filters.length === 0) return undefined
    const key = JSON.stringify([proxy.namespace, proxy.labels, proxy.metadata])
    if (!this.#sets.has(key)) {
      const namespaces = [this.#rootNamespace, proxy.namespace]
      const patches = this.#filters
        .filter(({ object }) => namespaces.includes(object.metadata.namespace) && selected(object, proxy))
        .flatMap(({ patches: all, versions }) => all.filter((patch) => proxyMatches(patch, versions, proxy)))
      this.#sets.set(key, patches.length > 0 ? new PatchSet(patches) : undefined)
    }
    return this.#sets.get(key)
  }

  #compare(a: Filter, b: Filter): number {
    const root = (object: Filter): number => (object.metadata.namespace === this.#rootNamespace ? 0 : 1)
    const time = (object: Filter): string => object.metadata.creationTimestamp ?? ''
    const name = (object: Filter): string => `${object.metadata.name}.${object.metadata.namespace}`
    return (
      (a.spec.priority ?? 0) - (b.spec.priority ?? 0) ||
      root(a) - root(b) ||
      compareText(time(a), time(b)) ||
      compareText(name(a), name(b))
    )
  }
}

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

const selected = ({ spec, metadata }: Filter, proxy: ProxyNode): boolean =>
  attachesTo({ targetRefs: spec.targetRefs, labels: spec.workloadSelector?.labels }, metadata.namespace, proxy)

function proxyMatches(patch: Patch, versions: ReadonlyMap<Patch, RE2JS>, proxy: ProxyNode): boolean {
  const wanted = patch.match.proxy
  if (!wanted) return true
  if (wanted.proxyVersion) {
    const version = proxy.metadata.ISTIO_VERSION
    const regex = versions.get(patch)
    if (typeof version !== 'string' || version === '' || !regex?.matcher(version).find()) return false
  }
  return Object.entries(wanted.metadata ?? {}).every(([key, value]) => proxy.metadata[key] === value)
}

function compile(object: Filter, flaws: Flaw[]): Compiled {
  const patches: Patch[] = []
  const versions = new Map<Patch, RE2JS>()
  object.spec.configPatches?.forEach((entry, index) => {
    const patch = compilePatch(object, entry, index, flaws)
    if (!patch) return
    patches.push(patch)
    const version = entry.match?.proxy?.proxyVersion
    // A longer one never matches (maxProxyVersionLen).
    if (version && version.length <= 1024) versions.set(patch, RE2JS.compile(version))
  })
  return { object, patches, versions }
}

const isOldType = ({ message }: Problem): boolean =>
  /^unknown type "\S+\.v[12](?:(?:alpha|beta)\d*)?\.\w+"$/.test(message)

const isUnknownField = ({ message }: Problem): boolean => message.startsWith('unknown field')

function compilePatch(object: Filter, entry: EnvoyConfigObjectPatch, index: number, flaws: Flaw[]): Patch | undefined {
  const { applyTo, patch } = entry
  if (applyTo === undefined || !(applyTo in VALUES) || !patch) return undefined
  const path = ['spec', 'configPatches', index]
  const { message, problems: found } = decodeJson(schemaOf(VALUES[applyTo as ApplyTo]), patch.value ?? {})
  for (const problem of found) {
    // istiod leaves out fields that it does not know; a value with any other flaw makes it leave out the patch.
    flaws.push({
      object,
      path: [...path, 'patch', 'value', ...problem.path],
      text: `patch.value.${problemText(problem)}${isOldType(problem) ? ': the v2 API is gone; write the v3 type' : ''}`,
      field: isUnknownField(problem),
    })
  }
  if (!found.every(isUnknownField)) return undefined
  const stated = patch.operation as Operation
  const operation = stated.startsWith('INSERT') && !INSERTABLE.has(applyTo) ? 'ADD' : stated
  return {
    applyTo: applyTo as ApplyTo,
    operation,
    match: entry.match ?? {},
    value: message as unknown as Patch['value'],
    place: placeOf(object, path),
    hits: 0,
    failure: undefined,
    undiscovered: false,
    idle: idleOperation(entry) !== undefined,
    sought: new Sought(),
  }
}
