import type { ConsistentHashLB, LoadBalancerSettings } from '../../api/kinds/traffic-policy.ts'
import type { Service } from '../../registry/model.ts'
import type { Init } from '../../xds/messages.ts'
import type { Mesh } from '../mesh.ts'
import { duration } from '../proto.ts'
import {
  CLUSTER_PROVIDED,
  type ClusterDraft,
  LEAST_REQUEST,
  MAGLEV,
  ORIGINAL_DST,
  RANDOM,
  RING_HASH,
  ROUND_ROBIN,
} from './draft.ts'
import { localityRule } from './locality.ts'

/** The balancer of a cluster (networking/core/cluster_traffic_policy.go applyLoadBalancer). */
export function applyLoadBalancer(
  target: ClusterDraft,
  service: Service,
  settings: LoadBalancerSettings | undefined,
  options: { mesh: Mesh; sendsUnhealthy: boolean },
): void {
  const { cluster } = target
  if (cluster.lbPolicy === CLUSTER_PROVIDED) return
  if (options.sendsUnhealthy && cluster.commonLbConfig?.healthyPanicThreshold === undefined) {
    // Unready endpoints are sent: a panic must not use them.
    cluster.commonLbConfig = { ...cluster.commonLbConfig, healthyPanicThreshold: { value: 0 } }
  }
  applyLocality(target, service, settings, options.mesh)
  if (target.type === ORIGINAL_DST) {
    cluster.lbPolicy = CLUSTER_PROVIDED
    return
  }
  switch (settings?.simple) {
    case 'RANDOM':
      cluster.lbPolicy = RANDOM
      break
    case 'ROUND_ROBIN':
      cluster.lbPolicy = ROUND_ROBIN
      setSlowStart(target, settings, 'roundRobinLbConfig')
      break
    case 'PASSTHROUGH':
      cluster.lbPolicy = CLUSTER_PROVIDED
      target.type = ORIGINAL_DST
      cluster.loadAssignment = undefined
      break
    default:
      cluster.lbPolicy = LEAST_REQUEST
      setSlowStart(target, settings, 'leastRequestLbConfig')
  }
  if (settings?.consistentHash) applyHash(target, settings.consistentHash)
}

function applyLocality(
  target: ClusterDraft,
  service: Service,
  settings: LoadBalancerSettings | undefined,
  mesh: Mesh,
): void {
  const rule = localityRule(mesh, settings, service)
  const { cluster } = target
  if (rule?.kind === 'zone') {
    const size = rule.setting.minClusterSize
    cluster.commonLbConfig = {
      ...cluster.commonLbConfig,
      localityConfigSpecifier: {
        case: 'zoneAwareLbConfig',
        value: {
          minClusterSize: size === undefined ? undefined : BigInt(size),
          ...(rule.setting.enabled === false ? { routingEnabled: { value: 0 } } : {}),
        },
      },
    }
    return
  }
  const setting = rule?.setting
  const failover = (rule?.force || cluster.outlierDetection) && (setting?.failover || setting?.failoverPriority)
  if (failover || setting?.distribute) {
    cluster.commonLbConfig = {
      ...cluster.commonLbConfig,
      localityConfigSpecifier: { case: 'localityWeightedLbConfig', value: {} },
    }
  }
}

function setSlowStart(
  target: ClusterDraft,
  settings: LoadBalancerSettings | undefined,
  kind: 'roundRobinLbConfig' | 'leastRequestLbConfig',
): void {
  const slowStartConfig = slowStart(settings)
  if (slowStartConfig) target.cluster.lbConfig = { case: kind, value: { slowStartConfig } }
}

function slowStart(
  settings: LoadBalancerSettings | undefined,
): Init<'envoy.config.cluster.v3.Cluster.SlowStartConfig'> | undefined {
  const { warmup, warmupDurationSecs } = settings ?? {}
  if (warmup) {
    return {
      slowStartWindow: duration(warmup.duration),
      // The key is required and must name nothing that someone could set.
      aggression: { defaultValue: warmup.aggression ?? 1, runtimeKey: '(' },
      minWeightPercent: { value: warmup.minimumPercent ?? 10 },
    }
  }
  return warmupDurationSecs === undefined ? undefined : { slowStartWindow: duration(warmupDurationSecs) }
}

/** Ring hash (at least 1024 entries when nothing is said) or Maglev; also for proxyless clients. */
export function applyHash(target: ClusterDraft, hash: ConsistentHashLB): void {
  const { cluster } = target
  if (hash.maglev) {
    cluster.lbPolicy = MAGLEV
    cluster.lbConfig = hash.maglev.tableSize
      ? { case: 'maglevLbConfig', value: { tableSize: BigInt(hash.maglev.tableSize) } }
      : undefined
    return
  }
  cluster.lbPolicy = RING_HASH
  const size = hash.ringHash ? hash.ringHash.minimumRingSize : hash.minimumRingSize || 1024
  cluster.lbConfig = size ? { case: 'ringHashLbConfig', value: { minimumRingSize: BigInt(size) } } : undefined
}
