import { isLoopback } from '../proxy/http/addresses.ts'
import type { Address, AddressBook } from '../proxy/listener/connection.ts'

/** A place on this machine where something listens. */
export interface SocketAddress {
  readonly host: string
  readonly port: number
}

/** What the book knows of one workload instance. */
export interface BookEntry {
  /** The address that config and logs speak of. */
  readonly ip: string
  /** The loopback address beneath. */
  readonly address: string
  /** Container port to where the app really is. */
  readonly apps: ReadonlyMap<number, SocketAddress>
  /** Container port to where it is reached from outside its pod: through its sidecar if it has one. */
  readonly inbound: ReadonlyMap<number, SocketAddress>
  /** Where its sidecar listens by itself for an address and port of the pod's: listeners that bind their ports. */
  readonly bound?: (ip: string, port: number) => SocketAddress | undefined
  /** Whether connections to a port come to the sidecar, whatever the port. Default: no. */
  readonly captures?: (port: number) => boolean
  /** Where a connection to the app goes instead just now, because of a fault; asked each time. */
  readonly divert?: (port: number, app: SocketAddress) => SocketAddress
  /** What stands before the app then. */
  readonly doors?: ReadonlyMap<number, SocketAddress>
}

/** Where pods, services and ServiceEntries get their addresses when they state none (registry/addresses.ts). */
const CLUSTER_NETWORKS = ['10.244.', '10.96.', '240.240.']

/** The endpoints of a service address, as kube-proxy would spread connections over them. */
export type ServiceEndpoints = (ip: string, port: number) => readonly Address[]

/**
 * The one table that translates between the addresses that config and logs speak of (pod IPs, ClusterIPs)
 * and the loopback sockets beneath. It does what the kernel and kube-proxy do in a cluster.
 */
export class MeshAddresses {
  readonly #byIp = new Map<string, BookEntry>()
  readonly #byAddress = new Map<string, BookEntry>()
  readonly #bySocket = new Map<string, Address>()
  readonly #ownAddresses: boolean
  /** Nothing listens there. */
  readonly refusing: SocketAddress
  readonly #random: () => number
  /** Set once the registry is there; until then no service has endpoints. */
  endpoints: ServiceEndpoints = () => []

  /**
   * `refusing`: a socket address where nothing listens, for ports that no one serves. `ownAddresses`: false where
   * every instance shares 127.0.0.1, and peers are therefore known by socket only.
   */
  constructor(refusing: SocketAddress, ownAddresses: boolean, random: () => number) {
    this.refusing = refusing
    this.#ownAddresses = ownAddresses
    this.#random = random
  }

  /** Adds an instance, or replaces it. */
  set(entry: BookEntry): void {
    this.delete(entry.ip)
    this.#byIp.set(entry.ip, entry)
    if (this.#ownAddresses) this.#byAddress.set(entry.address, entry)
    for (const sockets of [entry.inbound, entry.apps, entry.doors ?? []])
      for (const [port, at] of sockets) this.#bySocket.set(`${at.host}:${at.port}`, { ip: entry.ip, port })
  }

  delete(ip: string): void {
    const entry = this.#byIp.get(ip)
    if (!entry) return
    this.#byIp.delete(ip)
    this.#byAddress.delete(entry.address)
    for (const sockets of [entry.inbound, entry.apps, entry.doors ?? new Map<number, SocketAddress>()])
      for (const at of sockets.values()) this.#bySocket.delete(`${at.host}:${at.port}`)
  }

  entry(ip: string): BookEntry | undefined {
    return this.#byIp.get(ip)
  }

  /**
   * The book as one instance's proxy sees it: its own address is its app's. `random`: the chance by which endpoints are
   * picked for it; default the book's own.
   */
  viewOf(ip: string, random: () => number = this.#random): AddressBook {
    return {
      dial: (to, bind) => this.#dial(ip, to, bind, random),
      logical: (socket) => this.#logical(socket),
    }
  }

  #dial(
    self: string,
    to: Address,
    bind: string | undefined,
    random: () => number,
  ): SocketAddress & { localAddress: string | undefined } {
    const me = this.#byIp.get(self)
    const localAddress = this.#localAddress(me, bind)
    // What the sidecar sends to its own pod comes back to it, unless it comes from there (as 127.0.0.6).
    if (to.ip === self && bind === undefined && me?.captures?.(to.port)) {
      return { ...(me.inbound.get(to.port) ?? this.refusing), localAddress }
    }
    if (to.ip === self || isLoopback(to.ip)) {
      const bound = me?.bound?.(to.ip, to.port)
      if (bound) return { ...bound, localAddress }
      const app = me?.apps.get(to.port)
      if (app) return { ...(me?.divert?.(to.port, app) ?? app), localAddress }
      // A loopback address in config that is no port of the pod's is this machine's own.
      if (to.ip !== self) return { host: to.ip, port: to.port, localAddress: undefined }
      return { ...this.refusing, localAddress }
    }
    const other = this.#byIp.get(to.ip)
    if (other) {
      const own = other.captures?.(to.port) ? undefined : other.bound?.(to.ip, to.port)
      const at = own ?? other.inbound.get(to.port) ?? this.refusing
      // Without a sidecar before it, the app itself is what others reach.
      const isApp = at === other.apps.get(to.port)
      return { ...((isApp && other.divert?.(to.port, at)) || at), localAddress }
    }
    const endpoints = this.endpoints(to.ip, to.port)
    if (endpoints.length > 0) {
      const picked = endpoints[Math.floor(random() * endpoints.length)]!
      if (picked.ip !== to.ip) return this.#dial(self, picked, bind, random)
    }
    // An address of the cluster's own networks that nobody has leads nowhere, least of all out of this machine.
    if (CLUSTER_NETWORKS.some((prefix) => to.ip.startsWith(prefix))) return { ...this.refusing, localAddress }
    return { host: to.ip, port: to.port, localAddress: undefined }
  }

  #localAddress(me: BookEntry | undefined, bind: string | undefined): string | undefined {
    if (!this.#ownAddresses) return undefined
    if (bind !== undefined && isLoopback(bind)) return bind
    return me?.address
  }

  #logical(socket: Address): Address {
    const known = this.#bySocket.get(`${socket.ip}:${socket.port}`)
    if (known) return known
    const entry = this.#byAddress.get(socket.ip)
    return entry ? { ip: entry.ip, port: socket.port } : socket
  }
}
