import { parse } from 'yaml'
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

/**
 * What is made for a Gateway, changed as the defaults of its class and its own parameters say: both are ConfigMaps of
 * patches (deploymentcontroller.go render, applyOverlay). One that cannot be applied changes nothing.
 */
export function withParameters<O extends ApiObject>(
  snapshot: Snapshot,
  { spec, metadata }: ApiObject<'KubernetesGateway'>,
  rootNamespace: string,
  objects: readonly O[],
): O[] {
  const defaults = snapshot
    .list('ConfigMap')
    .find(
      (object) =>
        object.metadata.namespace === rootNamespace && object.metadata.labels[DEFAULTS_FOR] === spec.gatewayClassName,
    )
  const ref = spec.infrastructure?.parametersRef
  const own = ref?.group === '' && ref.kind === 'ConfigMap' && snapshot.get('ConfigMap', metadata.namespace, ref.name)
  const overlays = [defaults?.data, own ? own.data : undefined]
  return objects.map((object) => {
    const patches = overlays.flatMap((data) => data?.[KEYS[object.kind] ?? ''] ?? [])
    return patches.reduce(patched, object)
  })
}

function patched<O extends ApiObject>(object: O, text: string): O {
  let patch: unknown
  try {
    patch = parse(text)
  } catch {
    return object
  }
  if (!isFields(patch)) return object
  const { origin, ...content } = object
  const merged = merge(content as Fields, patch) as Fields & { metadata: Fields }
  const { name, namespace } = merged.metadata
  if (name !== object.metadata.name || namespace !== object.metadata.namespace) return object
  const body = KINDS[object.kind].body.safeParse(merged)
  if (!body.success) return object
  const made: unknown = {
    ...(body.data as Fields),
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
