import type { Any } from '@bufbuild/protobuf/wkt'

/** A resource as the control plane holds it: equal versions mean equal resources. */
export interface VersionedResource {
  readonly version: string
  readonly resource: Any
}

/** Resources of one type by name. */
export type Resources = ReadonlyMap<string, VersionedResource>

/** Everything one client may ask for at one moment, by type URL. Immutable; parts may be shared between clients. */
export interface Snapshot {
  readonly version: string
  readonly types: ReadonlyMap<string, Resources>
}

/** No resources. */
export const NO_RESOURCES: Resources = new Map()
