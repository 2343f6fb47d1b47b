import type { JsonObject } from '@bufbuild/protobuf'
import type { ApiObject, Kind, ObjectBase, Path } from '../api/objects.ts'
import { type Origin, originOf } from '../registry/model.ts'

/** The key of the filter metadata in which pilot says where a resource comes from. */
export const PROVENANCE = 'dinghy'

/** Filter metadata as messages take it. */
export type FilterMetadata = { filterMetadata: Record<string, JsonObject> }

/** The provenance of an origin. */
export function provenance(origin: Origin): JsonObject {
  const { kind, namespace, name, file, line } = origin
  return { kind, namespace, name, ...(file === undefined ? {} : { file, line: line ?? 0 }) }
}

/** The origin of a part of an object. */
export function originAt(object: ApiObject, path: Path): Origin {
  const at = object.origin.locate(path)
  return { ...originOf(object), ...object.origin.source?.(path), file: at.file, line: at.line }
}

/** Metadata that says where something comes from, and nothing else. */
export const originMetadata = (origin: Origin): FilterMetadata => ({
  filterMetadata: { [PROVENANCE]: provenance(origin) },
})

const API: Partial<Record<Kind, string>> = {
  VirtualService: 'virtual-service',
  DestinationRule: 'destination-rule',
  Sidecar: 'sidecar',
}

/** istiod's path of a configuration object: of version v1, however it was written (networking/util AddConfigInfoMetadata). */
export function configPath(object: ObjectBase<Kind>): string {
  const { namespace, name } = object.metadata
  return `/apis/networking.istio.io/v1/namespaces/${namespace}/${API[object.kind] ?? ''}/${name}`
}

/** Metadata of what a configuration object made: istiod's `config` beside our own. */
export function configMetadata(object: ApiObject, origin: Origin): FilterMetadata {
  return { filterMetadata: { istio: { config: configPath(object) }, [PROVENANCE]: provenance(origin) } }
}
