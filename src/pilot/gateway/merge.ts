import type { Server } from '../../api/kinds/gateway.ts'
import type { ApiObject } from '../../api/objects.ts'
import type { Origin, ServiceTarget } from '../../registry/model.ts'
import { isHttp, parseProtocol } from '../../registry/protocol.ts'
import { originAt } from '../provenance.ts'
import { type GatewayServer, isHttpServer, isTlsServer, namespacedHosts, routeNameOf, sniHostsOf } from './servers.ts'

/** A Gateway that selects a workload, and the services through which its ports are found. */
export interface SelectedGateway {
  object: ApiObject<'Gateway'>
  targets: readonly ServiceTarget[]
  /** It names its services (Gateway API); else ports that no service has are taken as they are. */
  byService: boolean
}

/** Servers of one port, protocol and bind address. */
export interface MergedPort {
  port: number
  /** As written. */
  protocol: string
  bind: string
  /** Of plain HTTP servers, which share one. */
  routeName: string
  servers: GatewayServer[]
}

/** All Gateways of a workload as one (pilot/pkg/model/gateway.go MergedGateway). */
export interface MergedGateway {
  /** In the order in which their first servers came. */
  ports: MergedPort[]
  byRoute: ReadonlyMap<string, readonly GatewayServer[]>
  /** Whether any server passes TLS on by the name that Istio's clients ask for. */
  autoPassthrough: boolean
  /** What was left out, and why. */
  skipped: { message: string; origin: Origin }[]
}

const NO_TRANSLATION = 'experimental.istio.io/disable-gateway-port-translation'

/** Puts the Gateways of a workload together, oldest first; what conflicts with one before is left out (mergeGateways). */
export function mergeGateways(selected: readonly SelectedGateway[]): MergedGateway {
  const merger = new Merger()
  for (const gateway of selected) {
    gateway.object.spec.servers?.forEach((_, index) => {
      merger.add(gateway, index)
    })
  }
  return merger
}

const keyOf = (port: number, { port: { protocol }, bind }: Server): string => `${port}\0${protocol}\0${bind ?? ''}`

class Merger implements MergedGateway {
  readonly byRoute = new Map<string, GatewayServer[]>()
  readonly skipped: { message: string; origin: Origin }[] = []
  autoPassthrough = false
  readonly #merged = new Map<string, MergedPort>()
  /** Port to what plain servers have it. */
  readonly #plain = new Map<number, { key: string; protocol: string; bind: string }>()
  readonly #ports = new Set<number>()
  /** Port to hosts of TLS servers, to their bind address. */
  readonly #tlsHosts = new Map<number, Map<string, string>>()

  get ports(): MergedPort[] {
    return [...this.#merged.values()]
  }

  add({ object, targets, byService }: SelectedGateway, index: number): void {
    const { name, namespace } = object.metadata
    const server = object.spec.servers?.[index] as Server
    const hosts = namespacedHosts(server.hosts, namespace)
    for (const port of resolvePorts(server.port.number, targets, byService)) {
      this.#place(port, {
        server,
        gateway: `${namespace}/${name}`,
        object,
        hosts,
        protocol: parseProtocol(server.port.protocol),
        routeName: routeNameOf(server, port, object),
        sniHosts: server.tls ? sniHostsOf(hosts) : [],
        origin: originAt(object, ['spec', 'servers', index]),
      })
    }
  }

  #place(port: number, entry: GatewayServer): void {
    const { server, hosts, routeName } = entry
    const bind = server.bind ?? ''
    if (server.tls) {
      const twice = this.#duplicateHosts(port, hosts, bind)
      if (twice.length) {
        this.#skip(entry, `another TLS server of port ${port} has ${twice.join(', ')}`)
        return
      }
      this.autoPassthrough ||= server.tls.mode === 'AUTO_PASSTHROUGH'
    }
    const current = this.#plain.get(port)
    if (!this.#ports.has(port)) {
      this.#ports.add(port)
      this.#addNew(port, entry)
    } else if (current) {
      if (current.bind !== bind) this.#addBeside(port, entry)
      else if (!isHttp(parseProtocol(current.protocol)) || !isHttp(entry.protocol)) {
        this.#skip(entry, `port ${port} has a server of protocol ${current.protocol}`)
      } else {
        this.#merged.get(current.key)?.servers.push(entry)
        this.#route(routeName, entry)
      }
    } else if (!isTlsServer(server)) {
      this.#addNew(port, entry)
    } else {
      if (isHttpServer(server)) {
        if (this.byRoute.has(routeName)) {
          this.#skip(entry, `another port is named ${server.port.name}`)
          return
        }
        this.byRoute.set(routeName, [entry])
      }
      const known = this.#merged.get(keyOf(port, server))
      if (known) known.servers.push(entry)
      else this.#merged.set(keyOf(port, server), portOf(port, entry, ''))
    }
  }

  #addNew(port: number, entry: GatewayServer): void {
    const { server, routeName } = entry
    const key = keyOf(port, server)
    const { protocol } = server.port
    if (!isTlsServer(server)) this.#plain.set(port, { key, protocol, bind: server.bind ?? '' })
    if (isHttpServer(server)) this.byRoute.set(routeName, [entry])
    this.#merged.set(key, portOf(port, entry, routeName))
  }

  #addBeside(port: number, entry: GatewayServer): void {
    const known = this.#merged.get(keyOf(port, entry.server))
    if (!known) {
      this.#addNew(port, entry)
      return
    }
    known.routeName = entry.routeName
    known.servers.push(entry)
    this.#route(entry.routeName, entry)
  }

  #route(name: string, entry: GatewayServer): void {
    const known = this.byRoute.get(name)
    if (known) known.push(entry)
    else this.byRoute.set(name, [entry])
  }

  /** Hosts that TLS servers of the port have already; without any, these are theirs from now on (CheckDuplicates). */
  #duplicateHosts(port: number, hosts: readonly string[], bind: string): string[] {
    const known = this.#tlsHosts.get(port) ?? new Map<string, string>()
    this.#tlsHosts.set(port, known)
    return claimHosts(known, hosts, bind)
  }

  #skip({ gateway, server, origin }: GatewayServer, why: string): void {
    this.skipped.push({ message: `the server ${server.port.name} of Gateway ${gateway} is left out: ${why}`, origin })
  }
}

/** Hosts that are taken at a bind address; without any, all of these are taken from now on (CheckDuplicates). */
export function claimHosts(known: Map<string, string>, hosts: readonly string[], bind: string): string[] {
  const twice = hosts.filter((host) => known.get(host) === bind)
  if (twice.length === 0) for (const host of hosts) known.set(host, bind)
  return twice
}

const portOf = (port: number, entry: GatewayServer, routeName: string): MergedPort => ({
  port,
  protocol: entry.server.port.protocol,
  bind: entry.server.bind ?? '',
  routeName,
  servers: [entry],
})

/**
 * Where a port is really listened on: the target port of the first service that has it, else itself; of a Gateway that
 * names its services, every target port of theirs (resolvePorts).
 */
function resolvePorts(number: number, targets: readonly ServiceTarget[], byService: boolean): number[] {
  const found = targets.filter(
    ({ service, port }) => port.port === number && (byService || !(NO_TRANSLATION in service.labels)),
  )
  if (byService) return [...new Set(found.map((target) => target.targetPort))]
  return [found[0]?.targetPort ?? number]
}
