import { type CaptureEntry, CaptureTable } from '../proxy/listener/capture.ts'
import { type Address, formatAddress } from '../proxy/listener/connection.ts'
import { ProxyServer } from '../proxy/server.ts'
import type { Workload } from '../registry/model.ts'
import type { Runtime } from '../runtime.ts'
import type { AdsTransport } from '../xds/stream.ts'
import type { MeshAddresses, SocketAddress } from './address-book.ts'
import type { Reach } from './apps/identity.ts'
import { type Apps, startApps } from './apps/start-apps.ts'
import type { WorkloadView } from './control/api.ts'
import { type InstanceLogs, instanceLogs } from './instance-logs.ts'
import type { LoopbackBlock } from './loopback-block.ts'
import type { StreamObserver } from './observed.ts'
import { HTTP_PROXY_PORT, type MeshIdentity, sidecarBootstrap } from './sidecar-bootstrap.ts'

/** Ports of a sidecar itself (DESIGN: ports); never an app's, and never given to a capture socket. */
const ADMIN_PORT = 15000
const SIDECAR_PORTS: ReadonlySet<number> = new Set([ADMIN_PORT, 15001, HTTP_PROXY_PORT, 15006, 15020, 15021, 15090])

/** How long connections of a replaced listener may go on: ProxyConfig's drainDuration, ms. */
const DRAIN_DURATION_MS = 45_000

/** How long the mesh waits for a sidecar before it goes on without, ms. */
const READY_TIMEOUT_MS = 5000

/** What an instance needs of its mesh. */
export interface InstanceHost {
  readonly runtime: Runtime
  readonly block: LoopbackBlock
  readonly addresses: MeshAddresses
  readonly identity: MeshIdentity
  /** A stream to the control plane. */
  readonly ads: AdsTransport
  /** Where what sidecars write to their standard streams goes, by namespace and pod. */
  readonly logDir: string | undefined
  /** A line that a sidecar wrote to its standard streams; only without `logDir`. */
  onLog(workload: Workload, line: string): void
  readonly observer: StreamObserver
  /** Where a program of the workload connects to reach a name. */
  reach(workload: Workload): Reach
  onProblem(workload: Workload, message: string): void
  /** Something the sidecar has to say: what of its config has no effect, what failed later. */
  onWarning(workload: Workload, line: string): void
  onLine(workload: Workload, line: string): void
}

/** One workload instance: its app, its loopback address, and its sidecar if it has one. */
export class Instance {
  readonly workload: Workload
  readonly address: string
  readonly #host: InstanceHost
  readonly #capture = new CaptureTable()
  readonly #inbound = new Map<number, SocketAddress>()
  /** Logical `ip:port` to the socket that stands for it. */
  readonly #outbound = new Map<string, Address>()
  readonly #opening = new Map<string, Promise<Address>>()
  readonly #taken = new Set<number>(SIDECAR_PORTS)
  #apps: Apps | undefined
  #proxy: ProxyServer | undefined
  #logs: InstanceLogs | undefined
  #admin: Address | undefined
  #httpProxy: Address | undefined

  private constructor(workload: Workload, host: InstanceHost) {
    this.workload = workload
    this.#host = host
    this.address = host.block.allot(key(workload))
  }

  /**
   * Starts the app and the sidecar; resolves once its sockets are known, before the sidecar has its config (see
   * `ready`). `ports`: the container ports that it serves.
   */
  static async start(workload: Workload, ports: readonly number[], host: InstanceHost): Promise<Instance> {
    const instance = new Instance(workload, host)
    try {
      await instance.#start(ports)
    } catch (e) {
      await instance.close()
      throw e
    }
    return instance
  }

  async #start(ports: readonly number[]): Promise<void> {
    const { workload } = this
    for (const port of ports) this.#taken.add(port)
    this.#apps = await startApps(workload, ports, {
      reach: this.#host.reach(workload),
      proxyUrl: workload.injected ? `http://${this.address}:${HTTP_PROXY_PORT}` : undefined,
      onLine: (line) => this.#host.onLine(workload, line),
      onProblem: (message) => this.#host.onProblem(workload, message),
    })
    for (const [port, at] of this.#apps.addresses) if (!workload.injected) this.#inbound.set(port, at)
    if (workload.injected) await this.#startSidecar()
    this.#publish()
  }

  async #startSidecar(): Promise<void> {
    const { workload } = this
    for (const port of this.#apps?.addresses.keys() ?? []) {
      const at = await this.#listen({ ip: workload.ip, port }, 'inbound')
      this.#inbound.set(port, { host: at.ip, port: at.port })
    }
    this.#publish()
    const own = this.#host.block.ownAddresses
    this.#logs = instanceLogs(workload, this.#host.logDir, this.#host.runtime, (line) =>
      this.#host.onLog(workload, line),
    )
    this.#proxy = new ProxyServer({
      bootstrap: sidecarBootstrap(workload, this.#host.identity, { ip: this.address, port: own ? ADMIN_PORT : 0 }),
      runtime: this.#host.runtime,
      adsTransport: this.#host.ads,
      captureTable: this.#capture,
      capture: (destination) => this.outbound(destination),
      book: this.#host.addresses.viewOf(workload.ip),
      logs: this.#logs,
      onStreamComplete: this.#host.observer.watch(workload.ip),
      drainTime: DRAIN_DURATION_MS,
      warn: (line) => this.#host.onWarning(workload, line),
    })
    await this.#proxy.start()
    this.#admin = this.#proxy.adminAddress
    this.#httpProxy = await this.#listen({ ip: '127.0.0.1', port: HTTP_PROXY_PORT }, 'outbound')
  }

  /**
   * Resolves once the sidecar has its config and serves it; at once without one. One that waits for something that does
   * not come is told of and left to itself, as a pod that does not become ready.
   */
  async ready(): Promise<void> {
    const proxy = this.#proxy
    if (!proxy) return
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(true), READY_TIMEOUT_MS)
    })
    const isLate = await Promise.race([proxy.whenReady().then(() => false), late])
    clearTimeout(timer)
    if (!isLate) return
    const missing = proxy.waitingFor.join(', ') || proxy.state
    this.#host.onProblem(
      this.workload,
      `its sidecar is not ready after ${READY_TIMEOUT_MS / 1000} s; it waits for ${missing}`,
    )
  }

  /** The capture socket of any destination, opened when first asked for. */
  outbound(destination: Address): Promise<Address> {
    const name = formatAddress(destination)
    let opening = this.#opening.get(name)
    if (!opening) {
      opening = this.#listen(destination, 'outbound')
      this.#opening.set(name, opening)
      opening.then(
        (at) => this.#outbound.set(name, at),
        () => this.#opening.delete(name),
      )
    }
    return opening
  }

  /** At the address and port themselves where they are free, else at a port that the system picks. */
  async #listen(destination: Address, direction: CaptureEntry['direction']): Promise<Address> {
    const wanted =
      this.#host.block.ownAddresses &&
      (direction === 'inbound' || !this.#taken.has(destination.port) || destination.ip === '127.0.0.1')
        ? destination.port
        : 0
    if (wanted) this.#taken.add(wanted)
    const entry = (port: number): CaptureEntry => ({
      address: { ip: this.address, port },
      originalDestination: destination,
      direction,
      ...(direction === 'outbound' ? { client: this.workload.ip } : {}),
    })
    try {
      return await this.#capture.add(entry(wanted))
    } catch (e) {
      // A port below 1024 needs rights that a user may not have.
      if (wanted === 0 || (e as { code?: string }).code !== 'EACCES') throw e
      return this.#capture.add(entry(0))
    }
  }

  #publish(): void {
    this.#host.addresses.set({
      ip: this.workload.ip,
      address: this.address,
      apps: this.#apps?.addresses ?? new Map(),
      inbound: this.#inbound,
    })
  }

  view(): WorkloadView {
    const { workload } = this
    const inbound = [...this.#inbound].map(([port, at]) => [String(port), `${at.host}:${at.port}`] as const)
    const outbound = [...this.#outbound].map(([name, at]) => [name, formatAddress(at)] as const)
    return {
      namespace: workload.namespace,
      name: workload.name,
      workload: workload.workloadName,
      ip: workload.ip,
      address: this.address,
      sidecar: workload.injected,
      app: this.#apps?.how ?? 'none',
      inbound: Object.fromEntries(inbound),
      outbound: Object.fromEntries(outbound),
      ...(this.#httpProxy ? { httpProxy: formatAddress(this.#httpProxy) } : {}),
      ...(this.#admin ? { admin: formatAddress(this.#admin) } : {}),
    }
  }

  /**
   * Stops the sidecar, then the app, and gives the address back. `finish`: ms that requests in flight may take first;
   * new connections are refused meanwhile.
   */
  async close(finish = 0): Promise<void> {
    await this.#capture.close()
    if (finish > 0) await this.#proxy?.finish(finish)
    await this.#proxy?.stop()
    await this.#logs?.close()
    await this.#apps?.close()
    this.#host.addresses.delete(this.workload.ip)
    this.#host.block.release(key(this.workload))
  }
}

function key(workload: Workload): string {
  return `${workload.namespace}/${workload.name}`
}
