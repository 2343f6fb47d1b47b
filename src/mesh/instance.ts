import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { FAULT_ANNOTATION } from '../api/server-fault.ts'
import type { BootstrapPatch } from '../pilot/envoyfilter/bootstrap.ts'
import { SDS_CLUSTER } from '../pilot/names.ts'
import { type CaptureEntry, CaptureTable } from '../proxy/listener/capture.ts'
import { type Address, formatAddress } from '../proxy/listener/connection.ts'
import { ProxyServer } from '../proxy/server.ts'
import type { Workload } from '../registry/model.ts'
import type { Runtime } from '../runtime.ts'
import type { SocketAddress } from './address-book.ts'
import { type Apps, startApps } from './apps/start-apps.ts'
import { withBootstrapPatches } from './bootstrap-patches.ts'
import { BoundSockets } from './bound-sockets.ts'
import { CaptureRules } from './capture-rules.ts'
import type { WorkloadView } from './control/api.ts'
import { InstanceFaults } from './faults/instance-faults.ts'
import type { InstanceHost } from './instance-host.ts'
import { type InstanceLogs, instanceLogs } from './instance-logs.ts'
import { sidecarBootstrap } from './sidecar-bootstrap.ts'
import type { SidecarSettings } from './sidecar-settings.ts'

const ADMIN_PORT = 15000
/** Ports of a sidecar itself: never an app's, and never given to a capture socket. */
const SIDECAR_PORTS: ReadonlySet<number> = new Set([ADMIN_PORT, 15001, 15006, 15020, 15021, 15090])

/** How long the mesh waits for a sidecar before it goes on without, ms. */
const READY_TIMEOUT_MS = 5000

/** One workload instance: its app, its loopback address, and its sidecar if it has one. */
export class Instance {
  readonly workload: Workload
  readonly address: string
  /** What makes its app fail. */
  readonly faults: InstanceFaults
  readonly settings: SidecarSettings
  /** To the bootstrap of its sidecar. */
  readonly patches: readonly BootstrapPatch[]
  readonly #rules: CaptureRules
  readonly #bound: BoundSockets
  readonly #host: InstanceHost
  readonly #runtime: Runtime
  readonly #ports: readonly number[]
  #capture = new CaptureTable(['inbound'])
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
  #down = false

  private constructor(
    workload: Workload,
    ports: readonly number[],
    settings: SidecarSettings,
    host: InstanceHost,
    patches: readonly BootstrapPatch[],
  ) {
    this.workload = workload
    this.settings = settings
    this.patches = patches
    this.#rules = new CaptureRules(settings.interception, workload.annotations, workload.ip, (message) =>
      host.onProblem(workload, message),
    )
    this.#taken.add(settings.httpProxyPort)
    this.#ports = ports
    this.#host = host
    // A stream of chance for each, so that what one draws does not change what another gets.
    this.#runtime = host.runtime.fork(key(workload))
    this.faults = new InstanceFaults({
      workload,
      runtime: host.runtime.fork(`${key(workload)} faults`),
      refusing: host.addresses.refusing,
      apps: () => this.#apps?.addresses ?? new Map(),
      sidecars: () => (workload.injected ? [this.#proxy ?? []].flat() : host.proxies()),
      publish: () => this.#publish(),
    })
    this.address = host.block.allot(key(workload))
    this.#bound = new BoundSockets({
      workload,
      address: this.address,
      ownAddresses: host.block.ownAddresses,
      httpProxyPort: settings.httpProxyPort,
      reserved: SIDECAR_PORTS,
      taken: this.#taken,
      mayListenOn,
      onProblem: (message) => host.onProblem(workload, message),
    })
  }

  /**
   * Starts the app and the sidecar; resolves once its sockets are known, before the sidecar has its config (see
   * `ready`). `ports`: the container ports that it serves.
   */
  static async start(
    workload: Workload,
    ports: readonly number[],
    settings: SidecarSettings,
    host: InstanceHost,
    patches: readonly BootstrapPatch[] = [],
  ): Promise<Instance> {
    const instance = new Instance(workload, ports, settings, host, patches)
    try {
      await instance.#start()
      await instance.faults.annotate(workload.annotations[FAULT_ANNOTATION])
    } catch (e) {
      await instance.close()
      throw e
    }
    return instance
  }

  async #start(): Promise<void> {
    const { workload } = this
    for (const port of this.#ports) this.#taken.add(port)
    this.#apps = await startApps(workload, workload.gateway ? [] : this.#ports, {
      reach: this.#host.reach(workload),
      handler: this.#host.handler(workload),
      proxyUrl: workload.injected ? `http://${this.address}:${this.settings.httpProxyPort}` : undefined,
      onLine: (line) => this.#host.onLine(workload, line),
      onProblem: (message) => this.#host.onProblem(workload, message),
    })
    for (const [port, at] of this.#apps.addresses) if (!workload.injected) this.#inbound.set(port, at)
    if (workload.injected) await this.#startSidecar()
    this.#publish()
  }

  async #startSidecar(): Promise<void> {
    const { workload } = this
    for (const [port, app] of this.#apps?.addresses ?? []) {
      if (!this.#rules.inbound(port)) {
        this.#inbound.set(port, app)
        continue
      }
      const at = await this.#listen({ ip: workload.ip, port }, 'inbound')
      this.#inbound.set(port, { host: at.ip, port: at.port })
    }
    this.#publish()
    const own = this.#host.block.ownAddresses
    this.#logs = instanceLogs(workload, this.#host.logDir, this.#runtime, (line) => this.#host.onLog(workload, line))
    const bootstrap = sidecarBootstrap(workload, this.#host.identity, this.settings, {
      ip: this.address,
      port: own ? ADMIN_PORT : 0,
    })
    this.#proxy = this.#sidecarOf(bootstrap)
    await this.#proxy.start()
    this.#admin = this.#proxy.adminAddress
    if (workload.gateway) return
    this.#httpProxy = await this.#listen({ ip: '127.0.0.1', port: this.settings.httpProxyPort }, 'outbound')
  }

  /** The sidecar of a bootstrap, with the patches to that as far as they can be used. */
  #sidecarOf(plain: Bootstrap): ProxyServer {
    const { workload } = this
    const told: string[] = []
    const tell = (line: string): void => {
      told.push(line)
      this.#host.onWarning(workload, line)
    }
    // Whether a proxy can be made of a bootstrap is best known by who makes it.
    const usable = (patched: Bootstrap): void => void this.#server(patched, () => {}).stop()
    const bootstrap = withBootstrapPatches(plain, this.patches, usable, tell)
    return this.#server(bootstrap, (line) => {
      // What a patch says without effect has been told with the patch's place.
      if (!told.some((known) => known.endsWith(line))) this.#host.onWarning(workload, line)
    })
  }

  #server(bootstrap: Bootstrap, warn: (line: string) => void): ProxyServer {
    const { workload } = this
    return new ProxyServer({
      bootstrap,
      runtime: this.#runtime,
      adsTransport: this.#host.ads,
      // There is no agent: the control plane of this process has the secrets.
      sdsOverAds: [SDS_CLUSTER],
      resolver: this.#host.resolver,
      captureTable: this.#capture,
      capture: (destination) => this.outbound(destination),
      book: this.#host.addresses.viewOf(workload.ip, () => this.#runtime.random()),
      logs: this.#logs!,
      onStreamComplete: this.#host.observer.watch(workload.ip),
      onOutlier: (cluster, event) => this.#host.onOutlier(workload, cluster, event),
      bindAddress: (configured, name) => this.#bound.bind(configured, name),
      drainTime: this.settings.drainDuration,
      // As istio-agent starts Envoy (pkg/envoy/proxy.go).
      drainStrategy: 'immediate',
      warn,
    })
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
    const ready = proxy.whenReady().catch((error: Error) => {
      // Nothing of its own needs a port that another may have: it is a listener of a patch.
      if (this.patches.length === 0) throw error
      const places = this.patches.map(({ place }) => place).join('; ')
      this.#host.onProblem(
        this.workload,
        `its sidecar serves nothing with its patched bootstrap (${places}): ${error.message}`,
      )
    })
    const isLate = await Promise.race([ready.then(() => false), late])
    clearTimeout(timer)
    if (!isLate) return
    const missing = proxy.waitingFor.join(', ') || proxy.state
    this.#host.onProblem(
      this.workload,
      `its sidecar is not ready after ${READY_TIMEOUT_MS / 1000} s; it waits for ${missing}`,
    )
  }

  get sidecar(): ProxyServer | undefined {
    return this.#proxy
  }

  /** Whether it was killed and not yet restored. */
  get down(): boolean {
    return this.#down
  }

  /**
   * Where a program of the pod connects to reach a destination: its capture socket, opened when first asked for, or
   * what is beneath it where the sidecar does not get such connections. Rejects while the instance is down.
   */
  outbound(destination: Address): Promise<Address> {
    if (this.#down) return Promise.reject(new Error(`${this.workload.name} was killed`))
    if (!this.#rules.outbound(destination) || this.workload.gateway) {
      // A pod's programs reach their own address without coming out of the pod.
      const own = destination.ip === this.workload.ip ? '127.0.0.6' : undefined
      const { host, port } = this.#host.addresses.viewOf(this.workload.ip).dial(destination, own)
      return Promise.resolve({ ip: host, port })
    }
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
      ...(this.workload.injected ? { bound: (ip: string, port: number) => this.#bound.at(this.#proxy, ip, port) } : {}),
      ...(this.workload.injected && !this.workload.gateway
        ? { captures: (port: number) => this.#rules.inbound(port) }
        : {}),
      divert: (port, app) => this.faults.divert(port, app),
      doors: this.faults.sockets,
    })
  }

  /**
   * Ends sidecar and app as a crash of the pod would: nothing is answered any more, connections are reset, new ones
   * are refused. The control plane is not told, so others go on trying. An app that was only given lives on unreached.
   */
  async kill(): Promise<void> {
    if (this.#down) return
    this.#down = true
    this.#inbound.clear()
    const [apps, proxy, logs, capture] = [this.#apps, this.#proxy, this.#logs, this.#capture]
    this.#apps = undefined
    this.#proxy = undefined
    this.#logs = undefined
    this.#publish()
    await capture.close()
    await proxy?.stop({ reset: true })
    capture.reset()
    await apps?.kill()
    await this.faults.appsChanged()
    await logs?.close()
    this.#outbound.clear()
    this.#opening.clear()
    this.#taken.clear()
    for (const port of [...SIDECAR_PORTS, this.settings.httpProxyPort]) this.#taken.add(port)
  }

  /** Starts app and sidecar of a killed instance anew, at the same addresses; faults that were set are so again. */
  async restore(): Promise<void> {
    if (!this.#down) return
    this.#capture = new CaptureTable(['inbound'])
    this.#down = false
    await this.#start()
    await this.faults.appsChanged()
    await this.ready()
  }

  /** Where its proxy listens by itself for a port of the pod; undefined where it does not. */
  boundTo(port: number): SocketAddress | undefined {
    return this.#bound.at(this.#proxy, this.workload.ip, port)
  }

  /** A gateway's ports, and where each is reached: those it is listening on, and those stated that may be so later. */
  #gatewayPorts(): Map<number, SocketAddress> {
    const { ip } = this.workload
    const ports = new Set(this.#ports)
    for (const { active } of this.#proxy?.listeners.all() ?? [])
      for (const address of active?.listener.addresses ?? []) ports.add(address.port)
    const closed = (port: number): SocketAddress =>
      this.#host.block.ownAddresses ? { host: this.address, port } : this.#host.addresses.refusing
    return new Map(
      [...ports].sort((a, b) => a - b).map((port) => [port, this.#bound.at(this.#proxy, ip, port) ?? closed(port)]),
    )
  }

  view(): WorkloadView {
    const { workload } = this
    const reached = workload.gateway ? this.#gatewayPorts() : this.#inbound
    const inbound = [...reached].map(([port, at]) => [String(port), `${at.host}:${at.port}`] as const)
    const outbound = [...this.#outbound].map(([name, at]) => [name, formatAddress(at)] as const)
    return {
      namespace: workload.namespace,
      name: workload.name,
      workload: workload.workloadName,
      ip: workload.ip,
      address: this.address,
      sidecar: workload.injected,
      app: workload.gateway ? 'gateway' : (this.#apps?.how ?? 'none'),
      inbound: Object.fromEntries(inbound),
      outbound: Object.fromEntries(outbound),
      ...(this.#httpProxy && !this.#down ? { httpProxy: formatAddress(this.#httpProxy) } : {}),
      ...(this.#down ? { down: true as const } : {}),
      ...(this.#admin && !this.#down ? { admin: formatAddress(this.#admin) } : {}),
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
    this.#capture.reset()
    await this.#logs?.close()
    await this.#apps?.close()
    await this.faults.close()
    this.#bound.release()
    this.#host.addresses.delete(this.workload.ip)
    this.#host.block.release(key(this.workload))
  }
}

/** Whether this process may listen on a port of a loopback address: those below 1024 need rights. */
function mayListenOn(port: number): boolean {
  return port >= 1024 || process.getuid?.() === 0
}

function key(workload: Workload): string {
  return `${workload.namespace}/${workload.name}`
}
