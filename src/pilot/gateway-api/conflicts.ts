import type { Listener } from '../../api/kinds/gateway-api/gateway.ts'
import type { ApiObject } from '../../api/objects.ts'

/** Reasons of conflicts, by the name of the listener. */
export type Conflicts = ReadonlyMap<string, string>

/**
 * Which listeners of a Gateway and its ListenerSets cannot live beside one that comes before: those of the Gateway come
 * first, then those of the sets, oldest first (gatewaycommon/listener_conflict.go).
 */
export function listenerConflicts(
  gateway: ApiObject<'KubernetesGateway'>,
  sets: readonly ApiObject<'ListenerSet'>[],
): Map<ApiObject<'KubernetesGateway' | 'ListenerSet'>, Conflicts> {
  const accepted: Listener[] = []
  const out = new Map<ApiObject<'KubernetesGateway' | 'ListenerSet'>, Map<string, string>>()
  for (const owner of [gateway, ...sets]) {
    for (const listener of owner.spec.listeners) {
      const prior = accepted.find((other) => !distinct(listener, other))
      if (!prior) {
        accepted.push(listener)
        continue
      }
      const conflicts = out.get(owner) ?? new Map<string, string>()
      out.set(owner, conflicts.set(listener.name, conflictReason(listener, prior)))
    }
  }
  return out
}

const isLayer4 = ({ protocol }: Listener): boolean => protocol === 'TCP' || protocol === 'UDP'
const hasHost = ({ protocol }: Listener): boolean => ['HTTP', 'HTTPS', 'TLS'].includes(protocol)

function distinct(a: Listener, b: Listener): boolean {
  if (a.port !== b.port) return true
  if (hasHost(a) && hasHost(b)) return (a.hostname || '*') !== (b.hostname || '*')
  if ((isLayer4(a) || hasHost(a)) && (isLayer4(b) || hasHost(b))) return false
  return a.protocol !== b.protocol
}

function conflictReason(a: Listener, b: Listener): string {
  return (isLayer4(a) && isLayer4(b)) || a.protocol !== b.protocol ? 'ProtocolConflict' : 'HostnameConflict'
}
