import type { LabelSelector } from '../../api/kinds/label-selector.ts'
import type { MeshConfig } from '../../api/kinds/mesh-config.ts'
import type { Service } from '../../registry/model.ts'
import type { Snapshot } from '../../store/store.ts'
import { labelsMatch } from '../gateway-api/label-selector.ts'
import { namespaceLabels } from '../namespace-labels.ts'

/**
 * Where a service may be seen, under MeshConfig's serviceEntryVisibility: that of a ServiceEntry's namespace narrows
 * what its exportTo says, and never widens it (pilot/pkg/model/push_context.go serviceExportTo).
 */
export function cappedExportTo(
  service: Service,
  stated: readonly string[],
  visibility: MeshConfig['serviceEntryVisibility'],
  snapshot: Snapshot,
): readonly string[] {
  if (!visibility?.applyToSidecars || service.registry !== 'External') return stated
  if (stated.length === 1 && stated[0] === '~') return stated
  const namespace = snapshot.get('Namespace', '', service.namespace)
  const labels = namespace ? namespaceLabels(namespace) : {}
  const policy = visibility.policies?.find(({ matchingRules = [] }) =>
    matchingRules.every(
      ({ namespaceSelector }) => namespaceSelector && labelsMatch(namespaceSelector as LabelSelector, labels),
    ),
  )
  switch (policy ? policy.visibility : visibility.defaultVisibility) {
    case 'NONE':
      return ['~']
    case 'NAMESPACE':
      return stated.some((to) => to === '*' || to === '.' || to === service.namespace) ? ['.'] : ['~']
    default:
      return stated
  }
}
