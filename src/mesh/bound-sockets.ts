import { isLoopback } from '../proxy/http/addresses.ts'
import { type Address, isPipe } from '../proxy/listener/connection.ts'
import type { BindTarget } from '../proxy/listener/listener-sockets.ts'
import type { ProxyServer } from '../proxy/server.ts'
import type { Workload } from '../registry/model.ts'
import type { SocketAddress } from './address-book.ts'

/** Listeners that stand for what redirected traffic enters by: nobody connects to them. */
const REDIRECTED = ['virtualInbound', 'virtualOutbound']
const ANY_ADDRESS = ['0.0.0.0', '::']
/** Unix sockets that sidecars of this process listen on, and for whom: its meshes share the machine's files. */
const PATHS = new Map<string, BoundSockets>()

/** Whose listeners they are, and what of its address is taken. */
export interface BoundSocketsOptions {
  readonly workload: Workload
  /** The instance's loopback address. */
  readonly address: string
  /** Whether it has that address for itself. */
  readonly ownAddresses: boolean
  readonly httpProxyPort: number
  /** Ports of the sidecar itself. */
  readonly reserved: ReadonlySet<number>
  /** Ports of the address that something listens on; those that are given out here are added. */
  readonly taken: Set<number>
  /** Whether this process may listen on a port. */
  mayListenOn(port: number): boolean
  onProblem(message: string): void
}

/** The sockets beneath those listeners of a pod's proxy that bind their ports, not being redirected to. */
export class BoundSockets {
  readonly #options: BoundSocketsOptions

  constructor(options: BoundSocketsOptions) {
    this.#options = options
  }

  /** The socket beneath a listener's address: the same port where it is free, else any; undefined: none. */
  bind(configured: Address, listener: string): BindTarget | undefined {
    const { workload, address, ownAddresses, taken, httpProxyPort } = this.#options
    const { gateway, ip } = workload
    if (gateway) return this.#ofGateway(configured, listener)
    if (REDIRECTED.includes(listener) || configured.port === httpProxyPort) return undefined
    if (isPipe(configured)) return this.#path(configured)
    const port = ownAddresses && !taken.has(configured.port) ? configured.port : 0
    if (port) taken.add(port)
    const loopback = isLoopback(configured.ip)
    const as = loopback ? configured : { ip, port: configured.port }
    return { ip: address, port, as, ...(loopback ? { client: ip } : {}) }
  }

  /** A gateway's listener is reached from everywhere: at its own port, else at any. */
  #ofGateway(configured: Address, listener: string): BindTarget | undefined {
    const { workload, address, ownAddresses, reserved, mayListenOn, onProblem } = this.#options
    const { ip } = workload
    if (configured.ip !== ip && !ANY_ADDRESS.includes(configured.ip)) {
      if (!isLoopback(configured.ip))
        onProblem(`its listener ${listener} is not served: ${configured.ip} is none of its addresses`)
      return undefined
    }
    const free = ownAddresses && !reserved.has(configured.port) && mayListenOn(configured.port)
    return { ip: address, port: free ? configured.port : 0, as: { ip, port: configured.port } }
  }

  /** All pods share the files of this machine: the first one has the path. */
  #path(configured: Address): BindTarget | undefined {
    const { workload, onProblem } = this.#options
    const holder = PATHS.get(configured.ip)
    if (holder && holder !== this) {
      onProblem(`its sidecar does not listen on ${configured.ip}, which another pod's has`)
      return undefined
    }
    PATHS.set(configured.ip, this)
    return { ...configured, client: workload.ip }
  }

  /** Where the proxy listens by itself for an address and port of its pod. */
  at(proxy: ProxyServer | undefined, ip: string, port: number): SocketAddress | undefined {
    for (const { active, sockets } of proxy?.listeners.all() ?? []) {
      if (sockets.addresses.length === 0) continue
      for (const address of active?.listener.addresses ?? []) {
        if (address.port !== port || (address.ip !== ip && !ANY_ADDRESS.includes(address.ip))) continue
        const at = sockets.boundFor(address)
        if (at) return { host: at.ip, port: at.port }
      }
    }
    return undefined
  }

  /** The pod is gone: others may have its paths. */
  release(): void {
    for (const [path, holder] of PATHS) if (holder === this) PATHS.delete(path)
  }
}
