import type { LabelSelector } from '../../api/kinds/label-selector.ts'
import type { Labels } from '../../registry/labels.ts'

/** Whether labels fulfil a selector; undefined when the selector is not a valid one (metav1.LabelSelectorAsSelector). */
export function labelsMatch(selector: LabelSelector, labels: Labels): boolean | undefined {
  for (const [key, value] of Object.entries(selector.matchLabels ?? {})) if (labels[key] !== value) return false
  let all = true
  for (const { key, operator, values = [] } of selector.matchExpressions ?? []) {
    const value = labels[key]
    switch (operator) {
      case 'In':
        all &&= value !== undefined && values.includes(value)
        break
      case 'NotIn':
        all &&= value === undefined || !values.includes(value)
        break
      case 'Exists':
        all &&= value !== undefined
        break
      case 'DoesNotExist':
        all &&= value === undefined
        break
      default:
        return undefined
    }
  }
  return all
}
