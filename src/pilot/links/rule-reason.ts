import type { TrafficPolicy } from '../../api/kinds/traffic-policy.ts'
import type { Path } from '../../api/objects.ts'
import { originAt } from '../provenance.ts'
import type { MergedRule } from '../scope/destination-rules.ts'
import type { LinkReason } from './link.ts'

/** The place of the tls block that decides for a port of a service or subset. */
export function ruleReason(rule: MergedRule, subset: string, port: number): LinkReason {
  const index = (rule.object.spec.subsets ?? []).findIndex(({ name }) => name === subset)
  const stated = rule.object.spec.subsets?.[index]
  const inSubset = stated && pathOf(stated.trafficPolicy, port)
  if (inSubset) return reason(rule, ['spec', 'subsets', index, 'trafficPolicy', ...inSubset])
  // Rules that were united with the first one have their places elsewhere.
  const own = rule.object.spec.trafficPolicy === rule.trafficPolicy && pathOf(rule.trafficPolicy, port)
  if (own) return reason(rule, ['spec', 'trafficPolicy', ...own])
  return { text: '', origin: rule.subsets.find(({ name }) => name === subset)?.origin ?? rule.origin }
}

function pathOf(policy: TrafficPolicy | undefined, port: number): Path | undefined {
  const index = policy?.portLevelSettings?.findIndex((entry) => entry.port?.number === port && entry.tls) ?? -1
  if (index >= 0) return ['portLevelSettings', index, 'tls']
  return policy?.tls && ['tls']
}

const reason = ({ object }: MergedRule, path: Path): LinkReason => ({ text: '', origin: originAt(object, path) })
