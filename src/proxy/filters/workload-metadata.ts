import { fromBinary, fromJson, type JsonObject, toBinary, toJson } from '@bufbuild/protobuf'
import { StructSchema } from '@bufbuild/protobuf/wkt'

/** Who a peer is, as sidecars tell each other (istio/proxy extensions/common/metadata_object.h). Empty: not told. */
export interface WorkloadMetadata {
  readonly instanceName: string
  readonly namespace: string
  readonly workloadName: string
  readonly clusterId: string
  readonly owner: string
  readonly canonicalName: string
  readonly canonicalRevision: string
  readonly app: string
  readonly version: string
  /** Labels that the config names besides the fixed ones. */
  readonly labels: Readonly<Record<string, string>>
}

const CANONICAL_NAME = 'service.istio.io/canonical-name'
const CANONICAL_REVISION = 'service.istio.io/canonical-revision'
const text = (value: unknown): string => (typeof value === 'string' ? value : '')

/** Reads a node's metadata, or what a peer sent. */
export function workloadMetadata(
  struct: Readonly<Record<string, unknown>>,
  extra: readonly string[],
): WorkloadMetadata {
  const labels = (typeof struct.LABELS === 'object' && struct.LABELS !== null ? struct.LABELS : {}) as Record<
    string,
    unknown
  >
  const own: Record<string, string> = {}
  for (const name of extra) if (typeof labels[name] === 'string') own[name] = labels[name]
  return {
    instanceName: text(struct.NAME),
    namespace: text(struct.NAMESPACE),
    workloadName: text(struct.WORKLOAD_NAME),
    clusterId: text(struct.CLUSTER_ID),
    owner: text(struct.OWNER),
    canonicalName: text(labels[CANONICAL_NAME]),
    canonicalRevision: text(labels[CANONICAL_REVISION]),
    app: text(labels.app),
    version: text(labels.version),
    labels: own,
  }
}

/** What an endpoint's metadata `istio.workload` says: `name;namespace;canonical;revision;cluster`. */
export function endpointWorkload(value: string): WorkloadMetadata | undefined {
  const parts = value.split(';')
  if (parts.length < 5) return undefined
  const [workloadName, namespace, canonicalName, canonicalRevision, clusterId] = parts as [
    string,
    string,
    string,
    string,
    string,
  ]
  return {
    instanceName: '',
    namespace,
    workloadName,
    clusterId,
    owner: '',
    canonicalName,
    canonicalRevision,
    app: '',
    version: '',
    labels: {},
  }
}

/** The value of `x-envoy-peer-metadata`: a Struct in base64. */
export function encodeWorkload(m: WorkloadMetadata): string {
  const labels: Record<string, string> = { ...m.labels }
  const put = (to: Record<string, unknown>, name: string, value: string) => {
    if (value !== '') to[name] = value
  }
  put(labels, CANONICAL_NAME, m.canonicalName)
  put(labels, CANONICAL_REVISION, m.canonicalRevision)
  put(labels, 'app', m.app)
  put(labels, 'version', m.version)
  const struct: Record<string, unknown> = {}
  put(struct, 'NAME', m.instanceName)
  put(struct, 'NAMESPACE', m.namespace)
  put(struct, 'WORKLOAD_NAME', m.workloadName)
  put(struct, 'CLUSTER_ID', m.clusterId)
  put(struct, 'OWNER', m.owner)
  struct.LABELS = labels
  return Buffer.from(toBinary(StructSchema, fromJson(StructSchema, struct as JsonObject))).toString('base64')
}

/** The reverse; undefined when it is no such value. */
export function decodeWorkload(value: string, extra: readonly string[]): WorkloadMetadata | undefined {
  try {
    const struct = fromBinary(StructSchema, Buffer.from(value, 'base64'))
    return workloadMetadata(toJson(StructSchema, struct) as Record<string, unknown>, extra)
  } catch {
    return undefined
  }
}
