/** Labels, as selectors match them and as Istio derives names from them. */
export type Labels = Readonly<Record<string, string>>

/** Whether every label of `selector` is among `labels`; an empty selector matches everything. */
export function selects(selector: Labels | undefined, labels: Labels): boolean {
  for (const key in selector) if (labels[key] !== selector[key]) return false
  return true
}

/** Whether both have the same labels. */
export function sameLabels(a: Labels | undefined, b: Labels | undefined): boolean {
  return selects(a, b ?? {}) && selects(b, a ?? {})
}

const NAME_LABELS = ['service.istio.io/canonical-name', 'app.kubernetes.io/name', 'app']
const REVISION_LABELS = ['service.istio.io/canonical-revision', 'app.kubernetes.io/version', 'version']

function first(labels: Labels, keys: string[]): string | undefined {
  for (const key of keys) if (labels[key] !== undefined) return labels[key]
  return undefined
}

/** The canonical service of a workload (pkg/kube/labels). */
export const canonicalName = (labels: Labels, workloadName: string): string =>
  first(labels, NAME_LABELS) ?? workloadName

/** The canonical revision of a workload. */
export const canonicalRevision = (labels: Labels): string => first(labels, REVISION_LABELS) ?? 'latest'

/** `region/zone/subzone`, or '' when there is no region. */
export type Locality = string

/** The three parts of a locality. */
export function splitLocality(locality: Locality): [region: string, zone: string, subzone: string] {
  const [region = '', zone = '', subzone = ''] = locality.split('/')
  return [region, zone, subzone]
}

/** The labels that istiod adds to an endpoint's own, for locality rules to match (serviceregistry/util/label). */
export function augmentLabels(
  labels: Labels,
  clusterId: string,
  locality: Locality,
  node: string,
  network: string,
): Labels {
  const [region, zone, subzone] = splitLocality(locality)
  const out: Record<string, string> = { ...labels }
  if (region) out['topology.kubernetes.io/region'] = region
  if (zone) out['topology.kubernetes.io/zone'] = zone
  if (subzone) out['topology.istio.io/subzone'] = subzone
  if (clusterId) out['topology.istio.io/cluster'] = clusterId
  if (node) out['kubernetes.io/hostname'] = node
  if (network && !out['topology.istio.io/network']) out['topology.istio.io/network'] = network
  return out
}
