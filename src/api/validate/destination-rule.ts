import type { DestinationRule } from '../kinds/destination-rule.ts'
import { checkSubsetName } from './destination.ts'
import { checkExportTo, checkLabels, checkSelector, wildcardFault } from './names.ts'
import type { Scope } from './scope.ts'
import { each } from './scope.ts'
import { checkTrafficPolicy } from './traffic-policy.ts'

/** DestinationRule (ValidateDestinationRule). */
export function checkDestinationRule(scope: Scope, spec: DestinationRule, namespace: string): void {
  const fault = wildcardFault(spec.host)
  if (fault !== undefined) scope.at('host').error(fault)
  if (spec.trafficPolicy) checkTrafficPolicy(scope.at('trafficPolicy'), spec.trafficPolicy, namespace)
  const names = new Set<string>()
  each(scope.at('subsets'), spec.subsets, (at, subset) => {
    if (names.has(subset.name)) at.at('name').error(`a subset "${subset.name}" is there already`)
    names.add(subset.name)
    checkSubsetName(at.at('name'), subset.name)
    checkLabels(at.at('labels'), subset.labels)
    if (subset.trafficPolicy) checkTrafficPolicy(at.at('trafficPolicy'), subset.trafficPolicy, namespace)
  })
  const { workloadSelector } = spec
  checkExportTo(scope.at('exportTo'), spec.exportTo, { namespace, selective: workloadSelector !== undefined })
  checkSelector(scope.at('workloadSelector'), workloadSelector)
}
