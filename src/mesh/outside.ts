import type { PushContext } from '../pilot/scope/push-context.ts'
import { hostWithin } from '../registry/host.ts'
import type { ServiceTarget, Workload } from '../registry/model.ts'
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
        const published = publishedPorts(targets, merged.port, server.port.number)
        known.push(...published.map((number) => `${number} of ${name}.${namespace}`))
        if (!published.includes(port) && server.port.number !== port && merged.port !== port) continue
        listening ??= { podIp: ip, to }
        if (hosts.some((entry) => hostWithin(host, entry.slice(entry.indexOf('/') + 1)))) return { podIp: ip, to }
      }
    }
  }
  if (listening) return listening
  const hint = known.length ? `; they listen on ${[...new Set(known)].join(', ')}` : ''
  throw new UnknownHostError(`no gateway listens on port ${port}${hint}`)
}

/**
 * The ports at which clients find a gateway's server: those of its services that lead to where it listens (80 for a
 * server on 8080, with an installed Istio's service); the server's own port where none does.
 */
export function publishedPorts(targets: readonly ServiceTarget[], listening: number, server: number): number[] {
  const ports = targets.filter(({ targetPort }) => targetPort === listening).map(({ port }) => port.port)
  return ports.length === 0 || ports.includes(server) ? [server] : [...new Set(ports)]
}
