import type {
  LoadBalancerSettings,
  LocalityLoadBalancerSetting,
  ZoneAwareLoadBalancerSetting,
} from '../../api/kinds/traffic-policy.ts'
import { splitLocality } from '../../registry/labels.ts'
import type { Service } from '../../registry/model.ts'
import type { Mesh } from '../mesh.ts'

/** The rule by which localities are preferred (networking/core/loadbalancer GetEffectiveLbSetting). */
export type LocalityRule =
  | { kind: 'locality'; setting: LocalityLoadBalancerSetting; force: boolean }
  | { kind: 'zone'; setting: ZoneAwareLoadBalancerSetting; force: boolean }

const SAME_ZONE = ['topology.istio.io/network', 'topology.kubernetes.io/region', 'topology.kubernetes.io/zone']
const SAME_NODE = [...SAME_ZONE, 'topology.istio.io/subzone', 'kubernetes.io/hostname']

/** DestinationRule before the service's trafficDistribution before the mesh; undefined: switched off. */
export function localityRule(
  mesh: Mesh,
  loadBalancer: LoadBalancerSettings | undefined,
  service: Service | undefined,
): LocalityRule | undefined {
  const zone = (setting: ZoneAwareLoadBalancerSetting): LocalityRule => ({
    kind: 'zone',
    setting,
    force: setting.enabled !== false,
  })
  const locality = (setting: LocalityLoadBalancerSetting): LocalityRule | undefined =>
    setting.enabled === false ? undefined : { kind: 'locality', setting, force: false }
  if (loadBalancer?.zoneAwareLbSetting) return zone(loadBalancer.zoneAwareLbSetting)
  if (loadBalancer?.localityLbSetting) return locality(loadBalancer.localityLbSetting)
  if (service && service.trafficDistribution !== 'ANY') {
    const failoverPriority = service.trafficDistribution === 'SAME_ZONE' ? SAME_ZONE : SAME_NODE
    return { kind: 'locality', setting: { enabled: true, failoverPriority }, force: true }
  }
  if (mesh.zoneAwareLbSetting) return zone(mesh.zoneAwareLbSetting)
  return locality(mesh.localityLbSetting)
}

/** Whether a locality is covered by a rule's `region/zone/subzone`, where `*` and missing parts cover all. */
export function localityMatches(locality: string, rule: string): boolean {
  const own = splitLocality(locality)
  return splitLocality(rule).every((part, index) => part === '*' || (part === '' && index > 0) || part === own[index])
}

/** 0 same sub-zone, 1 same zone, 2 same region, 3 elsewhere. */
export function localityDistance(a: string, b: string): number {
  const [left, right] = [splitLocality(a), splitLocality(b)]
  const differs = left.findIndex((part, index) => part !== right[index])
  return differs < 0 ? 0 : 3 - differs
}
