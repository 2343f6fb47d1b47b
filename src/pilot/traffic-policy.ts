import type { MeshConfig } from '../api/kinds/mesh-config.ts'
import type { TrafficPolicy } from '../api/kinds/traffic-policy.ts'
import type { MergedRule } from './scope/destination-rules.ts'

/**
 * The policy for a port: a port-level entry replaces the four blocks wholesale, and what it leaves out takes defaults,
 * not the level above (networking/util GetPortLevelTrafficPolicy).
 */
export function portPolicy(
  policy: TrafficPolicy | undefined,
  port: number,
): { policy?: TrafficPolicy; portLevel: boolean } {
  const entry = policy?.portLevelSettings?.find((known) => known.port?.number === port)
  if (!entry) return { policy, portLevel: false }
  const { connectionPool, loadBalancer, outlierDetection, tls } = entry
  return { policy: { connectionPool, loadBalancer, outlierDetection, tls }, portLevel: true }
}

/** The policy of a subset for a port: the rule's, with each block that the subset states put in its place. */
export function subsetPolicy(
  original: TrafficPolicy | undefined,
  subset: TrafficPolicy | undefined,
  port: number,
): TrafficPolicy | undefined {
  const above = portPolicy(original, port).policy
  if (!subset) return above
  const { policy: own = {}, portLevel } = portPolicy(subset, port)
  if (!above) return own
  const block = <K extends 'connectionPool' | 'loadBalancer' | 'outlierDetection' | 'tls'>(key: K): TrafficPolicy[K] =>
    portLevel ? own[key] : (own[key] ?? above[key])
  return {
    connectionPool: block('connectionPool'),
    loadBalancer: block('loadBalancer'),
    outlierDetection: block('outlierDetection'),
    tls: block('tls'),
    tunnel: own.tunnel ?? above.tunnel,
    proxyProtocol: own.proxyProtocol ?? above.proxyProtocol,
    retryBudget: own.retryBudget ?? above.retryBudget,
  }
}

/** Puts the mesh's connection pool and outlier detection where the policy states none. */
export function withMeshDefaults(
  policy: TrafficPolicy | undefined,
  defaults: MeshConfig['defaultTrafficPolicy'],
): TrafficPolicy | undefined {
  const { connectionPool, outlierDetection } = defaults ?? {}
  if ((!connectionPool || policy?.connectionPool) && (!outlierDetection || policy?.outlierDetection)) return policy
  return {
    ...policy,
    connectionPool: policy?.connectionPool ?? connectionPool,
    outlierDetection: policy?.outlierDetection ?? outlierDetection,
  }
}

/** The policy of one cluster, without the mesh's defaults: of a subset, or of the whole service. */
export function clusterPolicy(rule: MergedRule | undefined, port: number, subset: string): TrafficPolicy | undefined {
  if (!rule) return undefined
  if (subset === '') return portPolicy(rule.trafficPolicy, port).policy
  const found = rule.subsets.find((known) => known.name === subset)
  return subsetPolicy(rule.trafficPolicy, found?.trafficPolicy, port)
}
