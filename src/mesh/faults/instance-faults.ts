import { formatFault, parseFault } from '../../api/server-fault.ts'
import type { ProxyServer } from '../../proxy/server.ts'
import type { Host } from '../../proxy/upstream/host.ts'
import type { Workload } from '../../registry/model.ts'
import type { Runtime } from '../../runtime.ts'
import type { SocketAddress } from '../address-book.ts'
import type { FaultView } from '../control/api.ts'
import { FaultDoor } from './door.ts'
import { FaultState } from './fault-state.ts'
import { Holds } from './holds.ts'

/** What the faults of an instance need of it. */
export interface FaultHost {
  readonly workload: Workload
  readonly runtime: Runtime
  /** Where nothing listens. */
  readonly refusing: SocketAddress
  /** Container port to where the app really is. */
  apps(): ReadonlyMap<number, SocketAddress>
  /** The sidecars whose connections lead to the app: its own, or those of all others where it has none. */
  sidecars(): Iterable<ProxyServer>
  /** Doors have come or gone: the address book should know. */
  publish(): void
}

/**
 * The faults of one instance's app. While some are set, doors stand before its ports; otherwise nothing does. Their
 * chance and their time are the runtime's.
 */
export class InstanceFaults {
  readonly #host: FaultHost
  readonly #doors = new Map<number, FaultDoor>()
  readonly #holds: Holds
  #state: FaultState | undefined
  #wasDown = new Set<number>()
  #work: Promise<void> = Promise.resolve()
  /** The fault that its annotation asked for last. */
  #annotated: string | undefined

  constructor(host: FaultHost) {
    this.#host = host
    this.#holds = new Holds(host.runtime)
  }

  /** What is set, and how often it has struck. */
  view(): FaultView {
    const { namespace, name, workloadName: workload } = this.#host.workload
    const fault = this.#state ? formatFault(this.#state.rules) : ''
    return { namespace, name, workload, fault, rules: this.#state?.views() ?? [] }
  }

  /** Follows the annotation: a change of it sets or clears faults, whoever has set them meanwhile. */
  async annotate(text: string | undefined): Promise<void> {
    if (text === this.#annotated) return
    this.#annotated = text
    if (text === undefined) await this.clear()
    else await this.set(text)
  }

  /**
   * Puts these faults in the place of what there was, and resolves once they are in force. What waits because of the
   * old ones goes on. Throws FaultSyntaxError, and leaves all as it was then.
   */
  set(text: string): Promise<void> {
    const rules = parseFault(text)
    return this.#next(async () => {
      for (const [port, app] of this.#host.apps())
        if (!this.#doors.has(port)) this.#doors.set(port, await this.#openDoor(port, app))
      this.#replace(new FaultState(rules, this.#host.runtime, () => this.#flapped()))
    })
  }

  /** Takes the faults away; requests that hang or wait go on to the app. */
  clear(): Promise<void> {
    return this.#next(async () => this.#replace(undefined))
  }

  /** Where a connection to the app's port goes: asked each time one is opened. */
  divert(port: number, app: SocketAddress): SocketAddress {
    const state = this.#state
    if (state === undefined) return app
    if (state.refuses(port)) return this.#host.refusing
    return this.#doors.get(port)?.address ?? app
  }

  /** The sockets of doors, so that they are known for what they stand for. */
  get sockets(): ReadonlyMap<number, SocketAddress> {
    return new Map([...this.#doors].map(([port, door]) => [port, door.address]))
  }

  /** The app is elsewhere now, or gone: doors are closed, and opened anew if faults are set. */
  appsChanged(): Promise<void> {
    return this.#next(async () => {
      await this.#closeDoors()
      if (this.#state !== undefined)
        for (const [port, app] of this.#host.apps()) this.#doors.set(port, await this.#openDoor(port, app))
      this.#host.publish()
    })
  }

  async close(): Promise<void> {
    await this.#next(async () => {
      this.#state?.close()
      this.#state = undefined
      await this.#closeDoors()
    })
  }

  #replace(state: FaultState | undefined): void {
    this.#state?.close()
    this.#state = state
    this.#wasDown = new Set()
    this.#holds.release()
    this.#host.publish()
    this.#reroute()
  }

  #openDoor(port: number, app: SocketAddress): Promise<FaultDoor> {
    return FaultDoor.open({
      port,
      app,
      runtime: this.#host.runtime,
      holds: this.#holds,
      faults: () => this.#state,
    })
  }

  async #closeDoors(): Promise<void> {
    const doors = [...this.#doors.values()]
    this.#doors.clear()
    await Promise.all(doors.map((door) => door.close()))
  }

  /** An app that goes down takes its connections with it. */
  #flapped(): void {
    let fell = false
    const down = new Set<number>()
    for (const [port, door] of this.#doors) {
      if (!this.#state?.isDown(port)) continue
      down.add(port)
      if (this.#wasDown.has(port)) continue
      door.reset()
      fell = true
    }
    this.#wasDown = down
    this.#reroute(fell)
  }

  /** Open connections to the app come again, when they are through; `broken`: those without HTTP break. */
  #reroute(broken = false): void {
    const { ip, injected } = this.#host.workload
    const matches = ({ address }: Host) => address.ip === ip || (injected && address.ip.startsWith('127.'))
    for (const sidecar of this.#host.sidecars())
      for (const cluster of sidecar.clusters.all()) {
        cluster.drainConnections(matches)
        if (broken) cluster.resetByteConnections(matches)
      }
  }

  #next(step: () => Promise<void>): Promise<void> {
    const result = this.#work.then(step)
    this.#work = result.catch(() => {})
    return result
  }
}
