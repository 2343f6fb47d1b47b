import type { Problem } from '../api/problems.ts'
import { hasErrors } from '../api/problems.ts'
import type { Ca } from '../ca/ca.ts'
import { pilotEnv } from '../pilot/env.ts'
import { envoyFilterProblems } from '../pilot/envoyfilter/problems.ts'
import type { PushContext } from '../pilot/scope/push-context.ts'
import type { ProxyServer } from '../proxy/server.ts'
import type { Workload } from '../registry/model.ts'
import type { Registry } from '../registry/registry.ts'
import type { Runtime } from '../runtime.ts'
import { SeededRuntime, SystemRuntime } from '../runtime-system.ts'
import { type FilesSource, openFiles } from '../store/files.ts'
import { type Change, createStore, type Store } from '../store/store.ts'
import { memoryTransport } from '../xds/memory-transport.ts'
import { MeshAddresses, type SocketAddress } from './address-book.ts'
import { Complaints } from './complaints.ts'
import type { CallAnswer, CallRequest, WorkloadView } from './control/api.ts'
import { call } from './control/call.ts'
import type { LinksView } from './control/link-view.ts'
import { announce } from './control/running.ts'
import { type ControlServer, type ControlTarget, startControl } from './control/server.ts'
import { type ControlPlane, createControlPlane } from './control-plane.ts'
import { describeChange } from './describe-change.ts'
import type { DoorPlaces, Doors } from './doors/doors.ts'
import { exampleUrl } from './example-url.ts'
import { MeshFaults } from './faults/mesh-faults.ts'
import { findWorkload, findWorkloads } from './find-workload.ts'
import { type GatewayExample, gatewayExamples, withServicePorts } from './gateway-examples.ts'
import { Instances } from './instances.ts'
import { keyServers } from './key-servers.ts'
import { LinkChanges, linksView } from './links.ts'
import { Recordings } from './load/recordings.ts'
import { runLoad } from './load/run.ts'
import type { LoadOptions, LoadReport } from './load/types.ts'
import { type LoopbackBlock, takeLoopbackBlock } from './loopback-block.ts'
import type { MeshEvent } from './mesh-event.ts'
import { ConfigurationError, type MeshOptions } from './mesh-options.ts'
import { resolveName } from './names.ts'
import { objectsView } from './object-views.ts'
import { StreamObserver } from './observed.ts'
import { outlierReport } from './outliers.ts'
import { gatewayFor, OUTSIDE } from './outside.ts'
import { endpointsAt } from './service-endpoints.ts'
import { standInGateways } from './stand-in-gateways.ts'
import { keysFetched, synced } from './synced.ts'

/** The control interface's port, istiod's for debugging and monitoring. */
const CONTROL_PORT = 15014
/** A port of the control plane's address where nothing ever listens: what a closed port of a pod becomes. */
const REFUSING_PORT = 1

/**
 * Filters that pilot puts into every sidecar for telemetry, as istiod does: that they do nothing yet stands in the table
 * of what is not enforced, and is no news to the author of any file.
 */
const IN_EVERY_SIDECAR = /^not enforced yet: .*istio\.(?:metadata_exchange|stats)$/

export type { MeshEvent } from './mesh-event.ts'

/**
 * Both halves in one process: the control plane on the objects of some files, and per workload instance an app,
 * a loopback address and a sidecar that is joined to the control plane in memory.
 */
export class Mesh {
  readonly #options: MeshOptions
  readonly #runtime: Runtime
  readonly #block: LoopbackBlock
  readonly #store: Store
  readonly #observer = new StreamObserver()
  readonly #complaints = new Complaints()
  readonly #linkChanges = new LinkChanges()
  readonly #addresses: MeshAddresses
  readonly #domain: string
  readonly #recordings: Recordings
  /** What makes apps fail. */
  readonly faults = new MeshFaults((name) =>
    name === undefined
      ? this.#instances.all()
      : findWorkloads(this.registry.workloads, name).map((workload) => this.#instances.of(workload)),
  )
  #files: FilesSource | undefined
  #started = false
  readonly #warnings = new Set<string>()
  #plane!: ControlPlane
  #instances!: Instances
  #control: ControlServer | undefined
  #doors: Doors | undefined
  #retract: (() => void) | undefined
  #unsubscribe: (() => void) | undefined

  private constructor(options: MeshOptions, block: LoopbackBlock, runtime: Runtime) {
    this.#options = options
    this.#runtime = runtime
    this.#block = block
    this.#store = createStore(runtime)
    this.#recordings = new Recordings({
      observer: this.#observer,
      route: (from, host, port) => this.#target().route(from, host, port),
      instanceAt: (address) => this.#target().instanceAt(address),
      sidecarOf: (workload) => this.sidecarOf(workload),
    })
    this.#domain = pilotEnv(options.env ?? process.env).domain
    const refusing = { host: block.control, port: REFUSING_PORT }
    this.#addresses = new MeshAddresses(refusing, block.ownAddresses, () => runtime.random())
  }

  /**
   * Reads the files and starts everything; resolves when every sidecar has its config and listens. Rejects with
   * ConfigurationError when the files have errors, and with the first failure of anything else; nothing is left running.
   */
  static async start(options: MeshOptions): Promise<Mesh> {
    const runtime =
      options.runtime ?? (options.seed === undefined ? new SystemRuntime() : new SeededRuntime(options.seed))
    const mesh = new Mesh(options, await takeLoopbackBlock(), runtime)
    try {
      await mesh.#start()
      return mesh
    } catch (e) {
      await mesh.stop()
      throw e
    }
  }

  async #start(): Promise<void> {
    const { sources, strict, watch, env = process.env } = this.#options
    if (this.#options.objects) this.#problems(this.#store.apply(this.#options.objects))
    this.#files = await openFiles({
      store: this.#store,
      runtime: this.#runtime,
      paths: sources,
      strict,
      watch,
      admit: envoyFilterProblems,
      onReport: ({ problems }) => this.#problems(problems),
    })
    this.#problems(this.#files.report.problems)
    if (hasErrors(this.#files.report.problems))
      throw new ConfigurationError('nothing was started, because of the errors above')
    this.#plane = createControlPlane({
      store: this.#store,
      runtime: this.#runtime,
      ca: this.#options.ca,
      dataDir: this.#options.dataDir,
      env,
      additions: this.#options.gateways === false ? undefined : (snapshot) => standInGateways(snapshot, this.#domain),
      beforePush: (context) => this.#prepare(context),
      meshDial: keyServers(this.#addresses, this.#domain, () => this.#plane.pilot.context),
      onRejected: (workload, typeUrl, message, patches) =>
        this.#event({ type: 'rejected', workload, typeUrl, message, patches }),
      warn: (message) => this.#event({ type: 'warning', message }),
      onCa: (summary) => this.#event({ type: 'changed', summary }),
    })
    this.#addresses.endpoints = (ip, port) => endpointsAt(this.registry, ip, port)
    this.#instances = new Instances({
      runtime: this.#runtime,
      block: this.#block,
      addresses: this.#addresses,
      identity: { domain: this.#domain, clusterId: pilotEnv(env).clusterId },
      ads: memoryTransport(this.#plane.ads),
      logDir: this.#options.logDir,
      observer: this.#observer,
      handler: (workload) => this.#options.handler?.(workload),
      proxies: () => this.#instances.sidecars(),
      resolver: this.#options.resolver,
      onOutlier: (workload, cluster, event) => {
        // Of what is only detected, statistics tell; to tell of each would be noise.
        if (event.action === 'EJECT' && !event.enforced) return
        this.#event({ type: 'outlier', ...outlierReport(workload, cluster, event, this.registry, this.#runtime) })
      },
      reach: (workload) => (host, port) => this.#reach(workload, host, port),
      onProblem: (workload, message) => this.#event({ type: 'workload', workload: workload.name, message }),
      onWarning: (workload, line) => this.#warned(workload, line),
      onLine: (workload, line) => this.#event({ type: 'output', workload: workload.name, line }),
      onLog: (workload, line) => this.#event({ type: 'log', workload: workload.name, line }),
    })
    await this.#instances.start(this.#plane.pilot.context)
    await keysFetched(this.#plane.pilot)
    await this.#instances.ready()
    await this.#instances.openOutbound(this.registry)
    // Key servers in the mesh may have started after they were asked first.
    await keysFetched(this.#plane.pilot, true)
    await synced(this.#plane)
    this.#started = true
    this.#problems(this.#complaints.news(this.#plane.pilot.context, this.#runtime.wallNow()))
    this.#linkChanges.news(this.#plane.pilot.context)
    const unfollow = this.#plane.pilot.onPush((context) => this.#pushed(context))
    const unwatch = this.#store.subscribe((change) => this.#changed(change))
    this.#unsubscribe = () => {
      unfollow()
      unwatch()
    }
    await this.#openDoors()
  }

  async #openDoors(): Promise<void> {
    const { grpcAddress, tlsAddress, sdsAddress, sdsSocket, env = process.env } = this.#options
    if (grpcAddress || tlsAddress || sdsAddress || sdsSocket) {
      const { Doors } = await import('./doors/doors.ts')
      this.#doors = await Doors.open(this.#plane, this.#options, {
        runtime: this.#runtime,
        env,
        complain: (message) => this.#event({ type: 'warning', message }),
      })
    }
    this.#control = await startControl(this.#target(), this.#block.control, this.#block.ownAddresses ? CONTROL_PORT : 0)
    if (this.#options.announce !== false)
      this.#retract = announce({
        pid: process.pid,
        control: this.#control.url,
        sources: this.#options.sources,
        cwd: process.cwd(),
        startedAt: new Date(this.#runtime.wallNow()).toISOString(),
      })
  }

  get registry(): Registry {
    return this.#plane.pilot.registry
  }

  get controlUrl(): string {
    return this.#control?.url ?? ''
  }

  /** Where proxies of other processes are served; undefined unless asked for. */
  doorAddress(door: keyof DoorPlaces): string | undefined {
    return this.#doors?.address(door)
  }

  /** Signs the certificates of the workloads. */
  get ca(): Ca {
    return this.#plane.ca
  }

  get store(): Store {
    return this.#store
  }

  /** All instances, in the order of namespaces and names. */
  workloads(): WorkloadView[] {
    return this.#instances.all().map((instance) => withServicePorts(instance, this.#plane.pilot.context))
  }

  /** Sends requests from a workload through its sidecar. Rejects when there is no such workload, or no such host. */
  call(request: CallRequest): Promise<CallAnswer[]> {
    return call(request, this.#target())
  }

  /**
   * Ends app and sidecar of an instance as a crash would: connections are reset, new ones refused; the control plane goes
   * on naming it to others. Throws UnknownWorkloadError.
   */
  async kill(name: string): Promise<void> {
    await this.#instances.kill(findWorkload(this.registry.workloads, name))
  }

  /** Starts a killed instance again, at the same addresses; resolves once it serves. */
  async restore(name: string): Promise<void> {
    await this.#instances.restore(findWorkload(this.registry.workloads, name), this.registry)
  }

  /** Every sidecar that runs, with its workload. */
  sidecars(): { workload: Workload; proxy: ProxyServer }[] {
    return this.#instances.all().flatMap(({ workload, sidecar }) => (sidecar ? { workload, proxy: sidecar } : []))
  }

  /** The sidecar of an instance, to look into; undefined without one. */
  sidecarOf(name: string): ProxyServer | undefined {
    return this.#instances.of(findWorkload(this.registry.workloads, name)).sidecar
  }

  /** Sends many requests from a workload through its sidecar, and reports what came of them and why some failed. */
  load(options: LoadOptions): Promise<LoadReport> {
    return runLoad(options, this.#recordings)
  }

  /** Which connections between workloads are mutual TLS, what decides that, and what was seen of them. */
  links(): LinksView {
    return linksView(this.#plane.pilot.context, this.sidecars())
  }

  /** How clients outside the mesh reach its gateways. */
  gatewayExamples(): GatewayExample[] {
    return gatewayExamples(this.#plane.pilot.context, this.#instances.views())
  }

  /** A URL that is worth calling, for the hint of `dinghy up`. */
  exampleUrl(caller?: string): string | undefined {
    return exampleUrl(this.registry, caller)
  }

  /** The capture socket of a destination, as a program of the workload would use it. */
  async captureOf(workload: string, ip: string, port: number): Promise<SocketAddress> {
    const instance = this.#instances.of(findWorkload(this.registry.workloads, workload))
    const at = await instance.outbound({ ip, port })
    return { host: at.ip, port: at.port }
  }

  /** Resolves once everything that the store holds now has reached the sidecars and is in force there. */
  async settled(): Promise<void> {
    await synced(this.#plane)
    await this.#instances.idle()
    await synced(this.#plane)
  }

  async #reach(workload: Workload, host: string, port: number): Promise<SocketAddress> {
    const ip = await resolveName(this.registry, this.#domain, workload.namespace, host)
    if (!workload.injected || workload.gateway) {
      const to = this.#addresses.viewOf(workload.ip).dial({ ip, port }, undefined)
      return { host: to.host, port: to.port }
    }
    const at = await this.#instances.of(workload).outbound({ ip, port })
    return { host: at.ip, port: at.port }
  }

  #target(): ControlTarget {
    const find = (name: string) => findWorkload(this.registry.workloads, name)
    return {
      runtime: this.#runtime,
      workloads: () => this.workloads(),
      recordings: this.#recordings,
      faults: this.faults,
      links: () => this.links(),
      workload: (name) => this.#instances.of(find(name)).view(),
      objects: (kinds, namespace) =>
        objectsView(this.#plane.pilot.context, this.#plane.pilot.statuses, kinds, namespace),
      route: async (from, host, port) => {
        if (from === OUTSIDE) {
          const gateways = this.#instances.all().filter(({ workload, down }) => workload.gateway && !down)
          return { ...gatewayFor(this.#plane.pilot.context, gateways, host, port), localAddress: undefined }
        }
        const workload = find(from)
        const to = await this.#reach(workload, host, port)
        return {
          podIp: workload.ip,
          to,
          localAddress: this.#block.ownAddresses ? this.#instances.of(workload).address : undefined,
        }
      },
      controlPlane: () => ({ tls: this.doorAddress('tlsAddress'), roots: this.ca.rootPem }),
      createToken: (request) => this.#plane.accounts.issue(request),
      want: (podIp, id) => this.#observer.want(podIp, id),
      take: (id, wait) => this.#observer.take(id, wait),
      instanceAt: (hostPort) => {
        const workload = this.registry.workloadByIp(hostPort.slice(0, hostPort.lastIndexOf(':')))
        return workload && { name: workload.name, workload: workload.workloadName }
      },
    }
  }

  /** What a new registry speaks of is started before any sidecar is told of it. */
  #prepare(push: PushContext): Promise<void> | undefined {
    if (!this.#started || !this.#instances.lacks(push)) return undefined
    const started = this.#instances.start(push).then(() => keysFetched(this.#plane.pilot))
    return started.then(() => this.#instances.ready())
  }

  /** What is gone from it stops once every sidecar has heard of that. */
  #pushed(context: PushContext): void {
    const { registry } = context
    this.#problems(this.#complaints.news(context, this.#runtime.wallNow()))
    for (const summary of this.#linkChanges.news(context)) this.#event({ type: 'changed', summary })
    this.#instances
      .retire(registry, () => synced(this.#plane))
      .then(() => this.#instances.annotate(registry))
      .then(() => this.#instances.openOutbound(registry))
      .catch((e: Error) => this.#event({ type: 'workload', workload: 'mesh', message: e.message }))
  }

  /** Many sidecars have the same to say: the first one speaks for all. */
  #warned(workload: Workload, line: string): void {
    if (this.#warnings.has(line) || IN_EVERY_SIDECAR.test(line)) return
    this.#warnings.add(line)
    this.#event({ type: 'workload', workload: workload.name, message: line })
  }

  #changed(change: Change): void {
    const summary = describeChange(change)
    if (summary) this.#event({ type: 'changed', summary })
  }

  #problems(problems: readonly Problem[]): void {
    if (problems.length > 0) this.#event({ type: 'problems', problems })
  }

  #event(event: MeshEvent): void {
    this.#options.onEvent?.(event)
  }

  /** Stops sidecars, apps and the control plane, and gives the addresses back. Safe to call at any time, and again. */
  async stop(): Promise<void> {
    this.#retract?.()
    this.#unsubscribe?.()
    await this.#control?.close()
    await this.#files?.close()
    await this.#instances?.close()
    await this.#doors?.close()
    this.#plane?.close()
    await this.#block.close()
  }
}
