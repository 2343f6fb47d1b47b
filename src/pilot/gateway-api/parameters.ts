import { parse } from 'yaml'
import { findingsOf } from '../../api/issues.ts'
import { KINDS } from '../../api/kinds-table.ts'
import type { ApiObject } from '../../api/objects.ts'
import type { Snapshot } from '../../store/snapshot.ts'

type Fields = Record<string, unknown>

/** Marks ConfigMaps of Istio's namespace that hold the defaults of a class. */
const DEFAULTS_FOR = 'gateway.istio.io/defaults-for-class'
const KEYS: Partial<Record<ApiObject['kind'], string>> = {
  Deployment: 'deployment',
  Service: 'service',
  ServiceAccount: 'serviceAccount',
}

/** Overlays for kinds that nothing is made of here: they are known, and change nothing. */
const WITHOUT_EFFECT = ['horizontalPodAutoscaler', 'podDisruptionBudget']

/** Takes what is wrong with an overlay: the ConfigMap, its key, and why nothing comes of it. */
export type OverlayComplaint = (configMap: ApiObject<'ConfigMap'>, key: string, reason: string) => void

/**
 * What is made for a Gateway, changed as the defaults of its class and its own parameters say: both are ConfigMaps of
 * patches (deploymentcontroller.go render, applyOverlay). One that cannot be applied changes nothing, and is told of.
 */
export function withParameters<O extends ApiObject>(
  snapshot: Snapshot,
  gateway: ApiObject<'KubernetesGateway'>,
  rootNamespace: string,
  objects: readonly O[],
  complain: OverlayComplaint = () => {},
): O[] {
  const overlays = overlaysOf(snapshot, gateway, rootNamespace)
  for (const overlay of overlays)
    for (const key of Object.keys(overlay.data ?? {}))
      if (!Object.values(KEYS).includes(key) && !WITHOUT_EFFECT.includes(key))
        complain(
          overlay,
          key,
          `there is no such overlay; there are ${[...Object.values(KEYS), ...WITHOUT_EFFECT].join(', ')}`,
        )
  return objects.map((object) => {
    const key = KEYS[object.kind] ?? ''
    return overlays.reduce((before, overlay) => {
      const text = overlay.data?.[key]
      if (text === undefined) return before
      const after = patched(before, text)
      if (typeof after !== 'string') return after
      complain(overlay, key, after)
      return before
    }, object)
  })
}

function overlaysOf(
  snapshot: Snapshot,
  { spec, metadata }: ApiObject<'KubernetesGateway'>,
  rootNamespace: string,
): ApiObject<'ConfigMap'>[] {
  const defaults = snapshot
    .list('ConfigMap')
    .find(
      (object) =>
        object.metadata.namespace === rootNamespace && object.metadata.labels[DEFAULTS_FOR] === spec.gatewayClassName,
    )
  const ref = spec.infrastructure?.parametersRef
  const own = ref?.group === '' && ref.kind === 'ConfigMap' && snapshot.get('ConfigMap', metadata.namespace, ref.name)
  return [...(defaults ? [defaults] : []), ...(own ? [own] : [])]
}

/** The object with a patch applied, or why that cannot be. */
function patched<O extends ApiObject>(object: O, text: string): O | string {
  let patch: unknown
  try {
    patch = parse(text)
  } catch (error) {
    return `it is no YAML: ${(error as Error).message.replace(/:?\s*\n[\s\S]*$/, '')}`
  }
  if (!isFields(patch)) return 'it is no map of fields'
  const { origin, ...content } = object
  const merged = merge(content as Fields, patch) as Fields & { metadata: Fields }
  const { name, namespace } = isFields(merged.metadata) ? merged.metadata : {}
  if (name !== object.metadata.name || namespace !== object.metadata.namespace)
    return 'it changes metadata.name or metadata.namespace'
  const { body } = KINDS[object.kind]
  const read = body.safeParse(merged)
  if (!read.success) {
    const [first] = findingsOf(body, merged, read.error)
    return `it makes no ${object.kind}: ${first?.message ?? 'of another form'}`
  }
  const made: unknown = {
    ...(read.data as Fields),
    apiVersion: object.apiVersion,
    kind: object.kind,
    metadata: merged.metadata,
    origin,
  }
  return made as O
}

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** By which fields the entries of a list are told apart; the first that all have counts. */
const MERGE_KEYS: Record<string, readonly string[]> = {
  containers: ['name'],
  initContainers: ['name'],
  volumes: ['name'],
  env: ['name'],
  volumeMounts: ['mountPath'],
  ports: ['containerPort', 'port'],
}

/** As a strategic merge patch: maps are merged, null takes a field away, and some lists are merged by a key. */
function merge(base: Fields, patch: Fields): Fields {
  const out = { ...base }
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) delete out[field]
    else if (isFields(value)) out[field] = merge(isFields(out[field]) ? out[field] : {}, value)
    else if (Array.isArray(value)) out[field] = mergeLists(field, out[field], value)
    else out[field] = value
  }
  return out
}

function mergeLists(field: string, base: unknown, patch: readonly unknown[]): unknown[] {
  const known = Array.isArray(base) ? base : []
  const key = MERGE_KEYS[field]?.find((name) => patch.every((entry) => isFields(entry) && entry[name] !== undefined))
  if (!key) return [...patch]
  const out: Fields[] = [...known]
  for (const entry of patch as Fields[]) {
    const index = out.findIndex((other) => other[key] === entry[key])
    if (entry.$patch === 'delete') out.splice(index, index < 0 ? 0 : 1)
    else if (index < 0) out.push(entry)
    else out[index] = merge(out[index] as Fields, entry)
  }
  return out
}
