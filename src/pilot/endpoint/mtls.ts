import type { TrafficPolicy } from '../../api/kinds/traffic-policy.ts'
import type { Endpoint } from '../../registry/model.ts'
import type { MergedRule } from '../scope/destination-rules.ts'
import { modeForPort, type PeerAuthentications } from '../scope/peer-authentication.ts'

/**
 * Whether a client uses Istio's mutual TLS towards an endpoint: a DestinationRule's mode decides; else the endpoint
 * must say that it takes it, and no policy of its workload may forbid it (pilot/pkg/xds/endpoints/mtls_checker.go).
 */
export function usesMtls(
  endpoint: Endpoint,
  rule: MergedRule | undefined,
  subset: string,
  port: number,
  peers: PeerAuthentications,
): boolean {
  const stated = statedMode(rule, subset, port)
  if (stated !== undefined) return stated === 'ISTIO_MUTUAL'
  if (endpoint.tlsMode !== 'istio') return false
  return modeForPort(peers.forWorkload(endpoint.namespace, endpoint.labels), endpoint.port) !== 'DISABLE'
}

type Mode = NonNullable<NonNullable<TrafficPolicy['tls']>['mode']>

/** The TLS mode that a rule states for a port of a service, or of a subset; undefined: clients find out by themselves. */
export function statedMode(rule: MergedRule | undefined, subset: string, port: number): Mode | undefined {
  if (!rule) return undefined
  if (subset === '') return policyMode(rule.trafficPolicy, port)
  const found = rule.subsets.find((known) => known.name === subset)
  return found && (policyMode(found.trafficPolicy, port) ?? policyMode(rule.trafficPolicy, port))
}

// Unlike elsewhere, a port-level entry without tls falls back to the level above; and a tls block without mode is DISABLE.
function policyMode(policy: TrafficPolicy | undefined, port: number): Mode | undefined {
  const entry = policy?.portLevelSettings?.find((known) => known.port?.number === port && known.tls)
  const tls = entry?.tls ?? policy?.tls
  return tls && (tls.mode ?? 'DISABLE')
}
