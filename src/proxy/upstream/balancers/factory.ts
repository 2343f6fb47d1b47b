import type { Message } from '@bufbuild/protobuf'
import type { Duration } from '@bufbuild/protobuf/wkt'
import type { Cluster as ClusterProto, LoadBalancingPolicy } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { RuntimeDouble } from '#gen/envoy/config/core/v3/base_pb.js'
import type { LocalityLbConfig } from '#gen/envoy/extensions/load_balancing_policies/common/v3/common_pb.js'
import type { Percent } from '#gen/envoy/type/v3/percent_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { typeNameOf, unpack } from '../../../xds/messages.ts'
import { durationMs, type Problems } from '../../http/config.ts'
import type { BalancerStats, CommonSettings, LoadBalancer } from './balancer.ts'
import { HashingBalancer } from './hashing.ts'
import { LeastRequest, type LeastRequestSettings } from './least-request.ts'
import { MaglevTable } from './maglev.ts'
import { Random } from './random.ts'
import { HashRing, type RingHashSettings } from './ring-hash.ts'
import { RoundRobin } from './round-robin.ts'
import type { SlowStart } from './slow-start.ts'
import { compileSubsets, SubsetBalancer } from './subset.ts'

/** Makes one balancer; a subset balancer makes one per subset. */
export type BalancerFactory = (runtime: Runtime, stats: BalancerStats) => LoadBalancer

const LB = { ROUND_ROBIN: 0, LEAST_REQUEST: 1, RING_HASH: 2, RANDOM: 3, MAGLEV: 5 } as const
const POLICIES = 'envoy.extensions.load_balancing_policies'
const MAX_RING = 8_388_608
const MAX_MAGLEV = 5_000_011

/**
 * Compiles `load_balancing_policy`, or `lb_policy` with its config. Undefined when the cluster type brings its own
 * balancer, or when `problems` got entries.
 */
export function compileBalancer(cluster: ClusterProto, problems: Problems): BalancerFactory | undefined {
  const common = cluster.commonLbConfig
  const settings: CommonSettings = {
    panicThreshold: Math.round(common?.healthyPanicThreshold?.value ?? 50),
    failTrafficOnPanic:
      common?.localityConfigSpecifier.case === 'zoneAwareLbConfig' &&
      common.localityConfigSpecifier.value.failTrafficOnPanic,
    localityWeighted: common?.localityConfigSpecifier.case === 'localityWeightedLbConfig',
  }
  const policy = cluster.loadBalancingPolicy
  if (policy) return compilePolicy(policy, settings, 'load_balancing_policy', problems)
  const inner = compileEnum(cluster, settings, problems)
  const subsets = cluster.lbSubsetConfig
  if (!subsets || subsets.subsetSelectors.length === 0 || inner === undefined) return inner
  const compiled = compileSubsets(subsets, 'lb_subset_config', problems)
  return (runtime, stats) => new SubsetBalancer(compiled, () => inner(runtime, stats), stats)
}

function compileEnum(cluster: ClusterProto, settings: CommonSettings, problems: Problems): BalancerFactory | undefined {
  const { lbConfig } = cluster
  const hashing = cluster.commonLbConfig?.consistentHashingLbConfig
  if (hashing?.hashBalanceFactor)
    problems.add('common_lb_config.consistent_hashing_lb_config.hash_balance_factor', 'not supported')
  const useHostname = hashing?.useHostnameForHashing ?? false
  switch (cluster.lbPolicy as number) {
    case LB.ROUND_ROBIN:
      return roundRobin(
        settings,
        lbConfig.case === 'roundRobinLbConfig' ? slowStart(lbConfig.value.slowStartConfig) : undefined,
      )
    case LB.LEAST_REQUEST: {
      const own = lbConfig.case === 'leastRequestLbConfig' ? lbConfig.value : undefined
      return leastRequest(settings, {
        choices: own?.choiceCount ?? 2,
        bias: own?.activeRequestBias?.defaultValue ?? 1,
        fullScan: false,
        slowStart: slowStart(own?.slowStartConfig),
      })
    }
    case LB.RANDOM:
      return (runtime, stats) => new Random(runtime, stats, settings)
    case LB.RING_HASH: {
      const own = lbConfig.case === 'ringHashLbConfig' ? lbConfig.value : undefined
      return ringHash(
        settings,
        ringSettings(
          own?.minimumRingSize,
          own?.maximumRingSize,
          own?.hashFunction === 1,
          useHostname,
          'ring_hash_lb_config',
          problems,
        ),
      )
    }
    case LB.MAGLEV: {
      const size = lbConfig.case === 'maglevLbConfig' ? lbConfig.value.tableSize : undefined
      return maglev(settings, size, useHostname, 'maglev_lb_config', problems)
    }
    default:
      return undefined
  }
}

function compilePolicy(
  policy: LoadBalancingPolicy,
  settings: CommonSettings,
  path: string,
  problems: Problems,
): BalancerFactory | undefined {
  const names: string[] = []
  // The first policy that is known wins, as in Envoy.
  for (let i = 0; i < policy.policies.length; i++) {
    const any = policy.policies[i]!.typedExtensionConfig?.typedConfig
    if (any === undefined) continue
    const at = `${path}.policies[${i}].typed_extension_config`
    const name = typeNameOf(any.typeUrl)
    names.push(name)
    switch (name) {
      case `${POLICIES}.round_robin.v3.RoundRobin`: {
        const own = unpack(any, `${POLICIES}.round_robin.v3.RoundRobin`)!
        return roundRobin(withLocality(settings, own.localityLbConfig), slowStart(own.slowStartConfig))
      }
      case `${POLICIES}.least_request.v3.LeastRequest`: {
        const own = unpack(any, `${POLICIES}.least_request.v3.LeastRequest`)!
        return leastRequest(withLocality(settings, own.localityLbConfig), {
          choices: own.choiceCount ?? 2,
          bias: own.activeRequestBias?.defaultValue ?? 1,
          fullScan: own.selectionMethod === 1 || own.enableFullScan === true,
          slowStart: slowStart(own.slowStartConfig),
        })
      }
      case `${POLICIES}.random.v3.Random`: {
        const common = withLocality(settings, unpack(any, `${POLICIES}.random.v3.Random`)!.localityLbConfig)
        return (runtime, stats) => new Random(runtime, stats, common)
      }
      case `${POLICIES}.ring_hash.v3.RingHash`: {
        const own = unpack(any, `${POLICIES}.ring_hash.v3.RingHash`)!
        refuseBalanceFactor(own.consistentHashingLbConfig?.hashBalanceFactor ?? own.hashBalanceFactor, at, problems)
        const useHostname = own.consistentHashingLbConfig?.useHostnameForHashing ?? own.useHostnameForHashing
        const common = { ...settings, localityWeighted: own.localityWeightedLbConfig !== undefined }
        return ringHash(
          common,
          ringSettings(own.minimumRingSize, own.maximumRingSize, own.hashFunction === 2, useHostname, at, problems),
        )
      }
      case `${POLICIES}.maglev.v3.Maglev`: {
        const own = unpack(any, `${POLICIES}.maglev.v3.Maglev`)!
        refuseBalanceFactor(own.consistentHashingLbConfig?.hashBalanceFactor, at, problems)
        const common = { ...settings, localityWeighted: own.localityWeightedLbConfig !== undefined }
        return maglev(
          common,
          own.tableSize,
          own.consistentHashingLbConfig?.useHostnameForHashing ?? false,
          at,
          problems,
        )
      }
      case `${POLICIES}.wrr_locality.v3.WrrLocality`: {
        const own = unpack(any, `${POLICIES}.wrr_locality.v3.WrrLocality`)!
        if (own.endpointPickingPolicy)
          return compilePolicy(
            own.endpointPickingPolicy,
            { ...settings, localityWeighted: true },
            `${at}.endpoint_picking_policy`,
            problems,
          )
        break
      }
      case `${POLICIES}.subset.v3.Subset`: {
        const own = unpack(any, `${POLICIES}.subset.v3.Subset`)!
        const compiled = compileSubsets(own, at, problems)
        const inner =
          own.subsetLbPolicy && compilePolicy(own.subsetLbPolicy, settings, `${at}.subset_lb_policy`, problems)
        return inner && ((runtime, stats) => new SubsetBalancer(compiled, () => inner(runtime, stats), stats))
      }
      case `${POLICIES}.cluster_provided.v3.ClusterProvided`:
        return undefined
    }
  }
  problems.add(path, `Didn't find a registered load balancer factory with names from [${names.join(', ')}]`)
  return undefined
}

function refuseBalanceFactor(factor: number | undefined, path: string, problems: Problems): void {
  if (factor) problems.add(`${path}.hash_balance_factor`, 'not supported')
}

/** A policy extension has its own locality settings, beside the panic threshold of the cluster. */
function withLocality(settings: CommonSettings, own: LocalityLbConfig | undefined): CommonSettings {
  const specifier = own?.localityConfigSpecifier
  return {
    panicThreshold: settings.panicThreshold,
    localityWeighted:
      specifier === undefined ? settings.localityWeighted : specifier.case === 'localityWeightedLbConfig',
    failTrafficOnPanic: specifier?.case === 'zoneAwareLbConfig' && specifier.value.failTrafficOnPanic,
  }
}

interface SlowStartProto extends Message {
  slowStartWindow?: Duration | undefined
  aggression?: RuntimeDouble | undefined
  minWeightPercent?: Percent | undefined
}

function slowStart(config: SlowStartProto | undefined): SlowStart | undefined {
  const window = durationMs(config?.slowStartWindow) ?? 0
  if (window === 0) return undefined
  return {
    window,
    aggression: config?.aggression?.defaultValue ?? 1,
    minWeight: (config?.minWeightPercent?.value ?? 10) / 100,
  }
}

function roundRobin(settings: CommonSettings, slow: SlowStart | undefined): BalancerFactory {
  return (runtime, stats) => new RoundRobin(runtime, stats, settings, slow)
}

function leastRequest(settings: CommonSettings, own: LeastRequestSettings): BalancerFactory {
  return (runtime, stats) => new LeastRequest(runtime, stats, settings, own)
}

function ringHash(settings: CommonSettings, own: RingHashSettings): BalancerFactory {
  return (runtime, stats) => new HashingBalancer(runtime, stats, settings, (hosts) => new HashRing(hosts, own))
}

function ringSettings(
  min: bigint | undefined,
  max: bigint | undefined,
  murmur: boolean,
  useHostname: boolean,
  path: string,
  problems: Problems,
): RingHashSettings {
  const minimumRingSize = Number(min ?? 1024n)
  const maximumRingSize = Number(max ?? BigInt(MAX_RING))
  if (minimumRingSize > maximumRingSize)
    problems.add(path, `ring hash: minimum_ring_size (${minimumRingSize}) > maximum_ring_size (${maximumRingSize})`)
  if (minimumRingSize > MAX_RING || maximumRingSize > MAX_RING)
    problems.add(path, `value must be less than or equal to ${MAX_RING}`)
  return { minimumRingSize, maximumRingSize, murmur, useHostname }
}

function maglev(
  settings: CommonSettings,
  size: bigint | undefined,
  useHostname: boolean,
  path: string,
  problems: Problems,
): BalancerFactory {
  const tableSize = Number(size ?? 65_537n)
  if (tableSize > MAX_MAGLEV) problems.add(`${path}.table_size`, `value must be less than or equal to ${MAX_MAGLEV}`)
  else if (!isPrime(tableSize)) problems.add(`${path}.table_size`, 'The table size of maglev must be prime number')
  return (runtime, stats) =>
    new HashingBalancer(runtime, stats, settings, (hosts) => new MaglevTable(hosts, { tableSize, useHostname }))
}

function isPrime(n: number): boolean {
  if (n < 2) return false
  for (let i = 2; i * i <= n; i++) if (n % i === 0) return false
  return true
}
