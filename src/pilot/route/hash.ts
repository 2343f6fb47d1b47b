import type { ConsistentHashLB, TrafficPolicy } from '../../api/kinds/traffic-policy.ts'
import type { Destination } from '../../api/kinds/virtual-service.ts'
import type { Init } from '../../xds/messages.ts'
import { duration } from '../proto.ts'
import type { MergedRule } from '../scope/destination-rules.ts'

/** What of a request is hashed, from the balancer of its destination (ConsistentHashToHashPolicy). */
export function hashPolicy(
  hash: ConsistentHashLB | undefined,
): Init<'envoy.config.route.v3.RouteAction.HashPolicy'> | undefined {
  if (!hash) return undefined
  if (hash.httpHeaderName !== undefined) {
    return { policySpecifier: { case: 'header', value: { headerName: hash.httpHeaderName } } }
  }
  if (hash.httpCookie) {
    const { name, path, ttl, attributes } = hash.httpCookie
    return { policySpecifier: { case: 'cookie', value: { name, path, ttl: duration(ttl), attributes } } }
  }
  if (hash.useSourceIp !== undefined) {
    return { policySpecifier: { case: 'connectionProperties', value: { sourceIp: hash.useSourceIp } } }
  }
  if (hash.httpQueryParameterName !== undefined) {
    return { policySpecifier: { case: 'queryParameter', value: { name: hash.httpQueryParameterName } } }
  }
  return undefined
}

const hashOf = (policy: TrafficPolicy | undefined): ConsistentHashLB | undefined => policy?.loadBalancer?.consistentHash

function portHash(policy: TrafficPolicy | undefined, port: number | undefined): ConsistentHashLB | undefined {
  if (port === undefined) return undefined
  return policy?.portLevelSettings?.find((known) => known.port?.number === port)?.loadBalancer?.consistentHash
}

/** For a VirtualService's destination: subset's port, subset, port, rule; only ports that the destination names count. */
export function destinationHash(rule: MergedRule | undefined, destination: Destination): ConsistentHashLB | undefined {
  if (!rule) return undefined
  const subset = rule.subsets.find((known) => known.name === (destination.subset ?? ''))?.trafficPolicy
  const port = destination.port?.number
  return portHash(subset, port) ?? hashOf(subset) ?? portHash(rule.trafficPolicy, port) ?? hashOf(rule.trafficPolicy)
}

/** For a service without VirtualService: port, rule. */
export function serviceHash(rule: MergedRule | undefined, port: number): ConsistentHashLB | undefined {
  return portHash(rule?.trafficPolicy, port) ?? hashOf(rule?.trafficPolicy)
}
