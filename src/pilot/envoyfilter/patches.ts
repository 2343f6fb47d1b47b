import { RE2JS } from 're2js'
import type { Messages } from '#gen/types.js'
import type { EnvoyConfigObjectMatch, EnvoyConfigObjectPatch } from '../../api/kinds/envoy-filter.ts'
import type { ApiObject } from '../../api/objects.ts'
import { decodeJson } from '../../xds/json-decode.ts'
import { type MessageName, schemaOf } from '../../xds/messages.ts'
import { problemText } from '../../xds/problem.ts'
import { attachesTo } from '../policy-attachment.ts'
import type { ProxyNode } from '../proxy.ts'

/** What a patch may be applied to, with the message that its value is. */
const VALUES = {
  LISTENER: 'envoy.config.listener.v3.Listener',
  LISTENER_FILTER: 'envoy.config.listener.v3.ListenerFilter',
  FILTER_CHAIN: 'envoy.config.listener.v3.FilterChain',
  NETWORK_FILTER: 'envoy.config.listener.v3.Filter',
  HTTP_FILTER: 'envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter',
  ROUTE_CONFIGURATION: 'envoy.config.route.v3.RouteConfiguration',
  VIRTUAL_HOST: 'envoy.config.route.v3.VirtualHost',
  HTTP_ROUTE: 'envoy.config.route.v3.Route',
  CLUSTER: 'envoy.config.cluster.v3.Cluster',
} as const satisfies Record<string, MessageName>

/** What can be patched; other values of `applyTo` (BOOTSTRAP, EXTENSION_CONFIG) are told as not enforced. */
export type ApplyTo = keyof typeof VALUES
/** The message that patches to something are. */
export type ValueOf<A extends ApplyTo> = Messages[(typeof VALUES)[A]]
/** Whose resources are patched. */
export type PatchContext = 'SIDECAR_INBOUND' | 'SIDECAR_OUTBOUND' | 'GATEWAY'
/** What a patch does to what it matches. */
export type Operation =
  | 'MERGE'
  | 'MERGE_AND_REPLACE_LIST'
  | 'ADD'
  | 'REMOVE'
  | 'INSERT_BEFORE'
  | 'INSERT_AFTER'
  | 'INSERT_FIRST'
  | 'REPLACE'

/** One entry of `configPatches`, with its value read. */
export interface Patch<A extends ApplyTo = ApplyTo> {
  readonly applyTo: A
  readonly operation: Operation
  readonly match: EnvoyConfigObjectMatch
  readonly value: ValueOf<A>
  /** `file:line:col` and the object's name, for messages. */
  readonly place: string
  /** How often it has been applied. */
  hits: number
  /** Why it could not be merged; like istiod, nothing that comes after it is then applied there. */
  failure: string | undefined
}

/** The patches of one proxy, in the order of their application. */
export class PatchSet {
  private readonly patches: ReadonlyMap<ApplyTo, readonly Patch[]>

  constructor(patches: readonly Patch[]) {
    const byKind = new Map<ApplyTo, Patch[]>()
    for (const patch of patches) byKind.set(patch.applyTo, [...(byKind.get(patch.applyTo) ?? []), patch])
    this.patches = byKind
  }

  /** Those to one kind of thing that are meant for a context. */
  of<A extends ApplyTo>(applyTo: A, context: PatchContext): readonly Patch<A>[] {
    const all = (this.patches.get(applyTo) ?? []) as readonly Patch<A>[]
    return all.filter(({ match }) => (match.context ?? 'ANY') === 'ANY' || match.context === context)
  }

  /** Whether there is anything for these kinds of things. */
  has(...kinds: ApplyTo[]): boolean {
    return kinds.some((kind) => this.patches.has(kind))
  }
}

/** Whether an operation merges, lists included or replaced. */
export const merges = (operation: Operation): boolean => operation === 'MERGE' || operation === 'MERGE_AND_REPLACE_LIST'

/** Whether a patch without a context adds whole objects there: to clients' sides alone. */
export const addsTo = ({ match }: Patch, context: PatchContext): boolean =>
  (match.context ?? 'ANY') !== 'ANY' || context === 'SIDECAR_OUTBOUND' || context === 'GATEWAY'

/** Kinds of things before or behind whose members something can be inserted; elsewhere an insertion adds. */
const INSERTABLE = new Set<string>(['HTTP_FILTER', 'NETWORK_FILTER', 'HTTP_ROUTE', 'LISTENER_FILTER'])

type Filter = ApiObject<'EnvoyFilter'>

interface Compiled {
  readonly object: Filter
  readonly patches: readonly Patch[]
  /** RE2 over the proxy's version, by patch. */
  readonly versions: ReadonlyMap<Patch, RE2JS>
}

/** The EnvoyFilters of a snapshot (pilot/pkg/model/envoyfilter.go). */
export class EnvoyFilters {
  /** Why parts of them have no effect, with their places. */
  readonly problems: readonly string[]
  readonly #filters: readonly Compiled[]
  readonly #rootNamespace: string
  readonly #sets = new Map<string, PatchSet | undefined>()

  constructor(objects: readonly Filter[], rootNamespace: string) {
    this.#rootNamespace = rootNamespace
    const problems: string[] = []
    this.#filters = objects.map((object) => compile(object, problems)).sort((a, b) => this.#compare(a.object, b.object))
    this.problems = problems
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

function compile(object: Filter, problems: string[]): Compiled {
  const patches: Patch[] = []
  const versions = new Map<Patch, RE2JS>()
  object.spec.configPatches?.forEach((entry, index) => {
    const patch = compilePatch(object, entry, index, problems)
    if (!patch) return
    patches.push(patch)
    const version = entry.match?.proxy?.proxyVersion
    // A longer one never matches (maxProxyVersionLen).
    if (version && version.length <= 1024) versions.set(patch, RE2JS.compile(version))
  })
  return { object, patches, versions }
}

function compilePatch(
  object: Filter,
  entry: EnvoyConfigObjectPatch,
  index: number,
  problems: string[],
): Patch | undefined {
  const { applyTo, patch } = entry
  if (applyTo === undefined || !(applyTo in VALUES) || !patch) return undefined
  const { file, line, col } = object.origin.locate(['spec', 'configPatches', index])
  const { namespace, name } = object.metadata
  const place = `${file}:${line}:${col}: EnvoyFilter ${namespace}/${name}: spec.configPatches[${index}]`
  const { message, problems: found } = decodeJson(schemaOf(VALUES[applyTo as ApplyTo]), patch.value ?? {})
  for (const problem of found) {
    // istiod leaves out fields that it does not know; a value with any other flaw makes it leave out the patch.
    problems.push(`${place}: patch.value.${problemText(problem)}`)
  }
  if (found.some((problem) => !problem.message.startsWith('unknown field'))) return undefined
  const stated = patch.operation as Operation
  const operation = stated.startsWith('INSERT') && !INSERTABLE.has(applyTo) ? 'ADD' : stated
  return {
    applyTo: applyTo as ApplyTo,
    operation,
    match: entry.match ?? {},
    value: message as unknown as Patch['value'],
    place,
    hits: 0,
    failure: undefined,
  }
}
