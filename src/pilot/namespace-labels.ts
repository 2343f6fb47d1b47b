import type { ApiObject } from '../api/objects.ts'
import type { Labels } from '../registry/labels.ts'

/** A namespace's labels with its name among them, which API servers put there. */
export function namespaceLabels({ metadata }: Pick<ApiObject<'Namespace'>, 'metadata'>): Labels {
  return { ...metadata.labels, 'kubernetes.io/metadata.name': metadata.name }
}
