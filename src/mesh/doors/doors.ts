import type { Runtime } from '../../runtime.ts'
import { adsHandlers, type GrpcListener, listenGrpc } from '../../xds/grpc-server.ts'
import type { ControlPlane } from '../control-plane.ts'

/** `host:port`, taken apart; port 0 picks a free one. */
export interface SocketPlace {
  readonly host: string
  readonly port: number
}

/** Where a control plane serves those of other processes; nothing is open that is not asked for. */
export interface DoorPlaces {
  /** ADS in plaintext, without secrets: istiod's 15010. */
  readonly grpcAddress?: SocketPlace | undefined
  /** ADS and certificates over TLS: istiod's 15012. */
  readonly tlsAddress?: SocketPlace | undefined
  /** SDS on a loopback address. */
  readonly sdsAddress?: SocketPlace | undefined
  /** SDS on a unix socket. */
  readonly sdsSocket?: string | undefined
}

/** What doors need besides the control plane. */
export interface DoorOptions {
  readonly runtime: Runtime
  /** istiod's switches. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Takes a line for the log. */
  readonly log?: ((line: string) => void) | undefined
  /** Takes, instead, only lines of the log that tell of something wrong. */
  readonly complain?: ((line: string) => void) | undefined
}

/** Lines of the log that say that all is well. */
const FINE = /^(?:ADS|SDS): (?:new )?connection|^CA: signed/

/** Open doors, with the addresses that were bound. */
export class Doors {
  readonly #open = new Map<keyof DoorPlaces, GrpcListener>()

  /** Opens what is asked for. Rejects, with nothing left open, when one cannot be bound. */
  static async open(plane: ControlPlane, places: DoorPlaces, options: DoorOptions): Promise<Doors> {
    const doors = new Doors()
    const { complain, log = (line) => FINE.test(line) || complain?.(line) } = options
    try {
      await doors.#openAll(plane, places, { ...options, log })
      return doors
    } catch (error) {
      await doors.close()
      throw error
    }
  }

  async #openAll(plane: ControlPlane, places: DoorPlaces, options: DoorOptions): Promise<void> {
    const { grpcAddress, tlsAddress, sdsAddress, sdsSocket } = places
    if (grpcAddress) {
      const { host, port } = grpcAddress
      const at = `${host.includes(':') ? `[${host}]` : host}:${port}`
      this.#open.set('grpcAddress', await listenGrpc(at, [adsHandlers(plane.ads)]))
    }
    if (tlsAddress) {
      const { openTlsDoor } = await import('./tls-door.ts')
      this.#open.set('tlsAddress', await openTlsDoor(plane, tlsAddress, options))
    }
    if (!sdsAddress && sdsSocket === undefined) return
    const { openSdsDoor } = await import('./sds-door.ts')
    if (sdsAddress) this.#open.set('sdsAddress', await openSdsDoor(plane, sdsAddress, options))
    if (sdsSocket !== undefined) this.#open.set('sdsSocket', await openSdsDoor(plane, { socket: sdsSocket }, options))
  }

  /** Where a door is; undefined for one that nobody asked for. */
  address(door: keyof DoorPlaces): string | undefined {
    return this.#open.get(door)?.address
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open.values()].map((door) => door.close()))
  }
}
