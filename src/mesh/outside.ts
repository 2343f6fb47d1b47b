import type { PushContext } from '../pilot/scope/push-context.ts'
import { hostWithin } from '../registry/host.ts'
import type { Workload } from '../registry/model.ts'
import type { SocketAddress } from './address-book.ts'
import { UnknownHostError } from './names.ts'

/** The name by which a client outside the mesh calls, by way of a gateway. */
export const OUTSIDE = 'outside'

/** A gateway that runs. */
export interface RunningGateway {
  readonly workload: Workload
  /** Where a port of it is reached; undefined where it does not listen. */
  boundTo(port: number): SocketAddress | undefined
}

/**
 * The gateway that a client outside the mesh would get for a host and a port, as the port of its service or its own: one
 * that has a server for the host, else one that listens there at all. Throws UnknownHostError.
 */
export function gatewayFor(
  context: PushContext,
  running: readonly RunningGateway[],
  host: string,
  port: number,
): { podIp: string; to: SocketAddress } {
  let listening: { podIp: string; to: SocketAddress } | undefined
  const known: string[] = []
  for (const gateway of running) {
    const { name, namespace, labels, ip } = gateway.workload
    const targets = context.registry.targets(gateway.workload)
    for (const merged of context.gateways.of({ type: 'router', labels, targets })?.ports ?? []) {
      const to = gateway.boundTo(merged.port)
      if (!to) continue
      for (const { server, hosts } of merged.servers) {
        known.push(`${server.port.number} of ${name}.${namespace}`)
        if (server.port.number !== port && merged.port !== port) continue
        listening ??= { podIp: ip, to }
        if (hosts.some((entry) => hostWithin(host, entry.slice(entry.indexOf('/') + 1)))) return { podIp: ip, to }
      }
    }
  }
  if (listening) return listening
  const hint = known.length ? `; they listen on ${[...new Set(known)].join(', ')}` : ''
  throw new UnknownHostError(`no gateway listens on port ${port}${hint}`)
}
