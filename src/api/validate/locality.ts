import type {
  LocalityLoadBalancerSetting,
  OutlierDetection,
  ZoneAwareLoadBalancerSetting,
} from '../kinds/traffic-policy.ts'
import type { Scope } from './scope.ts'
import { each } from './scope.ts'

const TOPOLOGY = ['topology.kubernetes.io/region', 'topology.kubernetes.io/zone', 'topology.istio.io/subzone']

/** Locality load balancing (agent.ValidateLocalityLbSetting). */
export function checkLocality(
  scope: Scope,
  setting: LocalityLoadBalancerSetting,
  outlierDetection: OutlierDetection | undefined,
): void {
  const { distribute = [], failover = [], failoverPriority = [] } = setting
  if (distribute.length > 0 && failover.length > 0) {
    scope.at('failover').errorAtKey('excludes distribute')
    return
  }
  each(scope.at('failoverPriority'), failoverPriority, (at, label) => {
    if (failover.length > 0 && TOPOLOGY.includes(label)) at.error(`"${label}" excludes failover`)
  })
  const sources: string[] = []
  each(scope.at('distribute'), distribute, (at, { from = '', to = {} }) => {
    sources.push(from)
    let total = 0
    for (const [locality, weight] of Object.entries(to)) {
      if (weight < 1 || weight > 100) at.at('to', locality).error(`a weight is a number from 1 to 100, not ${weight}`)
      total += weight
    }
    if (total !== 100) at.at('to').errorAtKey(`the weights must make 100 together, not ${total}`)
    checkLocalities(at.at('to'), Object.keys(to))
  })
  if (sources.length > 0) checkLocalities(scope.at('distribute'), sources)
  warnWithoutDetection(scope, failover.length + failoverPriority.length, outlierDetection)
  each(scope.at('failover'), failover, checkFailover)
}

/** Zone-aware load balancing (agent.ValidateZoneAwareLbSetting). */
export function checkZoneAware(
  scope: Scope,
  setting: ZoneAwareLoadBalancerSetting,
  outlierDetection: OutlierDetection | undefined,
): void {
  const { failover = [], failoverPriority = [], minClusterSize } = setting
  each(scope.at('failoverPriority'), failoverPriority, (at, label) => {
    if (TOPOLOGY.includes(label)) at.error(`"${label}" is taken care of already`)
  })
  if (minClusterSize === 0) scope.at('minClusterSize').error('must be at least 1, is 0')
  warnWithoutDetection(scope, failover.length + failoverPriority.length, outlierDetection)
  each(scope.at('failover'), failover, checkFailover)
}

function warnWithoutDetection(scope: Scope, failovers: number, outlierDetection: OutlierDetection | undefined): void {
  if (failovers > 0 && !outlierDetection)
    scope.warnAtKey('failover needs outlierDetection beside it, and has no effect without')
}

function checkFailover(
  scope: Scope,
  { from = '', to = '' }: { from?: string | undefined; to?: string | undefined },
): void {
  if (from === to) scope.error('from and to must be different regions')
  if (from.includes('/') || to.includes('/')) scope.error('failover is between regions: no zone, no "/"')
  if (from.includes('*') || to.includes('*')) scope.error('failover is between regions: no "*"')
}

/** Localities must be well-formed, and none may contain another (validateLocalities). */
function checkLocalities(scope: Scope, localities: readonly string[]): void {
  const seen: string[][] = []
  for (const locality of localities) {
    const parts = locality.split('/')
    const stars = locality.split('*').length - 1
    if (stars > 1 || (stars === 1 && !locality.endsWith('*'))) {
      scope.error(`"${locality}": "*" may stand once, at the end`)
      return
    }
    if (parts.includes('')) {
      scope.error(`"${locality}": region, zone and sub-zone must not be empty`)
      return
    }
    const named = parts.slice(0, 3).filter((part) => part !== '*')
    const other = seen.find((earlier) => {
      const shared = Math.min(earlier.length, named.length)
      return earlier.slice(0, shared).every((part, i) => part === named[i])
    })
    if (other && other.length <= named.length) {
      scope.error(`"${locality}" overlaps "${other.join('/') || '*'}"`)
      return
    }
    seen.push(named)
  }
}
