import type { Message } from '@bufbuild/protobuf'
import type { Duration } from '@bufbuild/protobuf/wkt'
import type {
  Cluster_CommonLbConfig_ZoneAwareLbConfig,
  Cluster as ClusterProto,
  LoadBalancingPolicy,
} from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { RuntimeDouble } from '#gen/envoy/config/core/v3/base_pb.js'
import type {
  ConsistentHashingLbConfig,
  LocalityLbConfig,
  LocalityLbConfig_ZoneAwareLbConfig,
} from '#gen/envoy/extensions/load_balancing_policies/common/v3/common_pb.js'
import type { Percent } from '#gen/envoy/type/v3/percent_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { typeNameOf, unpack } from '../../../xds/messages.ts'
import { durationMs, type Problems } from '../../http/config.ts'
import type { BalancerStats, CommonSettings, LoadBalancer } from './balancer.ts'
import { HashingBalancer } from './hashing.ts'
import type { HostSourceBalancer } from './host-source.ts'
import { LeastRequest, type LeastRequestSettings } from './least-request.ts'
import { MaglevTable } from './maglev.ts'
import { Random } from './random.ts'
import { HashRing, type RingHashSettings } from './ring-hash.ts'
import { RoundRobin } from './round-robin.ts'
import type { SlowStart } from './slow-start.ts'
import { SubsetBalancer } from './subset.ts'
import { compileSubsets } from './subset-config.ts'
import type { LocalHosts, ZoneSettings } from './zone-aware.ts'

/** Makes one balancer; a subset balancer makes one per subset. */
export type BalancerFactory = (runtime: Runtime, stats: BalancerStats, local?: LocalHosts) => LoadBalancer

const LB = { ROUND_ROBIN: 0, LEAST_REQUEST: 1, RING_HASH: 2, RANDOM: 3, MAGLEV: 5 } as const
const POLICIES = 'envoy.extensions.load_balancing_policies'
const WEIGHTED_BY_CLIENT = `${POLICIES}.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin`
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
    zones:
      common?.localityConfigSpecifier.case === 'zoneAwareLbConfig'
        ? zoneSettings(common.localityConfigSpecifier.value)
        : undefined,
  }
  const policy = cluster.loadBalancingPolicy
  if (policy) return compilePolicy(policy, settings, 'load_balancing_policy', problems)
  const inner = compileEnum(cluster, settings, problems)
  const subsets = cluster.lbSubsetConfig
  if (!subsets || subsets.subsetSelectors.length === 0 || inner === undefined) return inner
  const compiled = compileSubsets(subsets, 'lb_subset_config', problems)
  return (runtime, stats, local) => new SubsetBalancer(compiled, () => inner(runtime, stats, local), stats)
}

function compileEnum(cluster: ClusterProto, settings: CommonSettings, problems: Problems): BalancerFactory | undefined {
  const { lbConfig } = cluster
  const hashing = cluster.commonLbConfig?.consistentHashingLbConfig
  const factor = balanceFactor(hashing?.hashBalanceFactor, 'common_lb_config.consistent_hashing_lb_config', problems)
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
      return random(settings)
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
        factor,
      )
    }
    case LB.MAGLEV: {
      const size = lbConfig.case === 'maglevLbConfig' ? lbConfig.value.tableSize : undefined
      return maglev(settings, size, useHostname, factor, 'maglev_lb_config', problems)
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
        return random(withLocality(settings, unpack(any, `${POLICIES}.random.v3.Random`)!.localityLbConfig))
      }
      case `${POLICIES}.ring_hash.v3.RingHash`: {
        const own = unpack(any, `${POLICIES}.ring_hash.v3.RingHash`)!
        refuseHashPolicy(own.consistentHashingLbConfig, at, problems)
        const factor = balanceFactor(
          own.consistentHashingLbConfig?.hashBalanceFactor ?? own.hashBalanceFactor,
          at,
          problems,
        )
        const useHostname = own.consistentHashingLbConfig?.useHostnameForHashing ?? own.useHostnameForHashing
        const common = { ...settings, localityWeighted: own.localityWeightedLbConfig !== undefined }
        return ringHash(
          common,
          ringSettings(own.minimumRingSize, own.maximumRingSize, own.hashFunction === 2, useHostname, at, problems),
          factor,
        )
      }
      case `${POLICIES}.maglev.v3.Maglev`: {
        const own = unpack(any, `${POLICIES}.maglev.v3.Maglev`)!
        refuseHashPolicy(own.consistentHashingLbConfig, at, problems)
        const factor = balanceFactor(own.consistentHashingLbConfig?.hashBalanceFactor, at, problems)
        const common = { ...settings, localityWeighted: own.localityWeightedLbConfig !== undefined }
        return maglev(
          common,
          own.tableSize,
          own.consistentHashingLbConfig?.useHostnameForHashing ?? false,
          factor,
          at,
          problems,
        )
      }
      case `${POLICIES}.wrr_locality.v3.WrrLocality`: {
        const own = unpack(any, `${POLICIES}.wrr_locality.v3.WrrLocality`)!
        const picking = own.endpointPickingPolicy?.policies[0]?.typedExtensionConfig?.typedConfig
        if (picking === undefined || typeNameOf(picking.typeUrl) !== WEIGHTED_BY_CLIENT)
          problems.add(
            at,
            'Currently WrrLocalityLoadBalancer only supports ClientSideWeightedRoundRobinLoadBalancer as its endpoint picking policy.',
          )
        else problems.add(`${at}.endpoint_picking_policy`, `${WEIGHTED_BY_CLIENT} is not supported`)
        return undefined
      }
      case `${POLICIES}.subset.v3.Subset`: {
        const own = unpack(any, `${POLICIES}.subset.v3.Subset`)!
        const compiled = compileSubsets(own, at, problems)
        const inner =
          own.subsetLbPolicy && compilePolicy(own.subsetLbPolicy, settings, `${at}.subset_lb_policy`, problems)
        return (
          inner && ((runtime, stats, local) => new SubsetBalancer(compiled, () => inner(runtime, stats, local), stats))
        )
      }
      case `${POLICIES}.cluster_provided.v3.ClusterProvided`:
        return undefined
    }
  }
  problems.add(path, `Didn't find a registered load balancer factory with names from [${names.join(', ')}]`)
  return undefined
}

/** Hashes are made by routes; a balancer's own policy, which would go before theirs, is not looked at. */
function refuseHashPolicy(config: ConsistentHashingLbConfig | undefined, path: string, problems: Problems): void {
  if (config && config.hashPolicy.length > 0)
    problems.add(`${path}.consistent_hashing_lb_config.hash_policy`, 'not supported')
}

/** Percent of the average load that a host takes at most; 0 = no bound. */
function balanceFactor(factor: number | undefined, path: string, problems: Problems): number {
  if (factor !== undefined && factor < 100)
    problems.add(`${path}.hash_balance_factor`, 'value must be greater than or equal to 100')
  return factor ?? 0
}

function zoneSettings(
  config: LocalityLbConfig_ZoneAwareLbConfig | Cluster_CommonLbConfig_ZoneAwareLbConfig,
): ZoneSettings {
  return {
    minClusterSize: Number(config.minClusterSize ?? 6n),
    routingEnabled: Math.round(config.routingEnabled?.value ?? 100),
  }
}

/** A policy extension has its own locality settings, beside the panic threshold of the cluster. */
function withLocality(settings: CommonSettings, own: LocalityLbConfig | undefined): CommonSettings {
  const specifier = own?.localityConfigSpecifier
  return {
    panicThreshold: settings.panicThreshold,
    localityWeighted:
      specifier === undefined ? settings.localityWeighted : specifier.case === 'localityWeightedLbConfig',
    failTrafficOnPanic: specifier?.case === 'zoneAwareLbConfig' && specifier.value.failTrafficOnPanic,
    zones: specifier?.case === 'zoneAwareLbConfig' ? zoneSettings(specifier.value) : settings.zones,
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
  return (runtime, stats, local) => within(local, new RoundRobin(runtime, stats, settings, slow))
}

function random(settings: CommonSettings): BalancerFactory {
  return (runtime, stats, local) => within(local, new Random(runtime, stats, settings))
}

function within<S>(local: LocalHosts | undefined, balancer: HostSourceBalancer<S>): HostSourceBalancer<S> {
  return local === undefined ? balancer : balancer.useLocal(local)
}

function leastRequest(settings: CommonSettings, own: LeastRequestSettings): BalancerFactory {
  return (runtime, stats, local) => within(local, new LeastRequest(runtime, stats, settings, own))
}

function ringHash(settings: CommonSettings, own: RingHashSettings, factor: number): BalancerFactory {
  return (runtime, stats) => new HashingBalancer(runtime, stats, settings, (hosts) => new HashRing(hosts, own), factor)
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
  factor: number,
  path: string,
  problems: Problems,
): BalancerFactory {
  const tableSize = Number(size ?? 65_537n)
  if (tableSize > MAX_MAGLEV) problems.add(`${path}.table_size`, `value must be less than or equal to ${MAX_MAGLEV}`)
  else if (!isPrime(tableSize)) problems.add(`${path}.table_size`, 'The table size of maglev must be prime number')
  return (runtime, stats) =>
    new HashingBalancer(runtime, stats, settings, (hosts) => new MaglevTable(hosts, { tableSize, useHostname }), factor)
}

function isPrime(n: number): boolean {
  if (n < 2) return false
  for (let i = 2; i * i <= n; i++) if (n % i === 0) return false
  return true
}
