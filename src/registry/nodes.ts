import type { ApiObject } from '../api/objects.ts'
import type { Labels, Locality } from './labels.ts'

/** The nodes of the cluster, as far as localities go. */
export class Nodes {
  readonly #labels = new Map<string, Labels>()

  constructor(nodes: Iterable<ApiObject<'Node'>>) {
    for (const node of nodes) this.#labels.set(node.metadata.name, node.metadata.labels)
  }

  /** Names, in the order given. */
  names(): string[] {
    return [...this.#labels.keys()]
  }

  /** Where a node is; '' when unknown. */
  locality(name: string): Locality {
    const labels = this.#labels.get(name)
    if (!labels) return ''
    const region = labels['topology.kubernetes.io/region'] ?? labels['failure-domain.beta.kubernetes.io/region'] ?? ''
    const zone = labels['topology.kubernetes.io/zone'] ?? labels['failure-domain.beta.kubernetes.io/zone'] ?? ''
    const subzone = labels['topology.istio.io/subzone'] ?? ''
    return region || zone || subzone ? `${region}/${zone}/${subzone}` : ''
  }
}

/** Where a pod is: its label `istio-locality`, else its node (serviceregistry/kube/controller getPodLocality). */
export function localityOfPod(labels: Labels, nodeName: string, nodes: Nodes): Locality {
  return localityLabel(labels) || nodes.locality(nodeName)
}

/** The label `istio-locality`; dots stand for slashes, which a label's value cannot have. */
export function localityLabel(labels: Labels): Locality {
  const label = labels['istio-locality'] ?? ''
  return label.includes('/') ? label : label.replaceAll('.', '/')
}
