import type { JsonObject } from '@bufbuild/protobuf'

/** One section of the dump: an `envoy.admin.v3.…ConfigDump` message as JSON. */
export interface DumpSection {
  readonly type: string
  readonly fields: JsonObject
  /** The element type of each repeated field, for `?resource=`. */
  readonly elements: Readonly<Record<string, string>>
}
