import type { Problem } from '../api/problems.ts'
import type { FaultView, WorkloadView } from '../mesh/control/api.ts'
import { Mesh, type MeshEvent } from '../mesh/mesh.ts'
import { ConfigurationError } from '../mesh/mesh-options.ts'
import { formatAddress } from '../proxy/listener/connection.ts'
import { MovableRuntime } from '../runtime-movable.ts'
import { handlerOf } from './apps.ts'
import { callRequest, callResult, loadOptions } from './call.ts'
import { configError, Documents, filesIn, refsIn, type Update } from './documents.ts'
import { milliseconds } from './duration.ts'
import { EventLog } from './event-log.ts'
import type {
  CallInit,
  CallResult,
  ClusterView,
  EventOf,
  LoadInit,
  LoadReport,
  MeshClock,
  MeshObject,
  ObjectRef,
  TestMesh,
  TestMeshEvent,
  TestMeshOptions,
} from './types.ts'

export { MeshConfigError } from './mesh-config-error.ts'
export type * from './types.ts'

/** How long `waitFor` waits, real ms. */
const WAIT_MS = 5000

/**
 * Starts a mesh within a test: control plane, sidecars and apps in this process, on loopback addresses of its own.
 * Resolves when every sidecar has its config. Rejects with MeshConfigError when the YAML has errors.
 *
 *     const mesh = await startMesh({ files: ['k8s/', 'istio/'], apps: { reviews: (req, res) => res.end('ok') } })
 *     const answer = await mesh.call('productpage', 'http://reviews:9080/')
 */
export async function startMesh(options: TestMeshOptions | string): Promise<TestMesh> {
  return InProcessMesh.start(typeof options === 'string' ? { yaml: options } : options)
}

class InProcessMesh implements TestMesh {
  readonly clock: MeshClock
  readonly #log = new EventLog()
  readonly #documents: Documents
  readonly #runtime: MovableRuntime
  #mesh!: Mesh
  #applied = 0
  #closing: Promise<void> | undefined

  private constructor(options: TestMeshOptions) {
    this.#documents = new Documents(options.strict ?? false)
    this.#runtime = new MovableRuntime(options.seed ?? 1)
    this.clock = {
      now: () => this.#runtime.wallNow(),
      advance: (by) => this.#runtime.advance(milliseconds(by)),
    }
  }

  static async start(options: TestMeshOptions): Promise<InProcessMesh> {
    const mesh = new InProcessMesh(options)
    const objects: Update = new Map()
    const texts = [
      ...(options.files ?? []).flatMap(filesIn),
      ...[options.yaml ?? []].flat().map((text, i) => ({ file: i === 0 ? 'yaml' : `yaml[${i}]`, text })),
      ...(options.objects ?? []).map((object, i) => ({ file: `objects[${i}]`, text: JSON.stringify(object) })),
    ]
    for (const { file, text } of texts) mesh.#problems(mesh.#documents.read(file, text, objects))
    mesh.#mesh = await Mesh.start({
      sources: [],
      objects,
      strict: options.strict,
      runtime: mesh.#runtime,
      env: options.env ?? {},
      logDir: options.logDir,
      announce: false,
      handler: (workload) => handlerOf(workload, options.apps ?? {}),
      onEvent: (event) => mesh.#happened(event),
    }).catch((error: unknown) => {
      if (error instanceof ConfigurationError) throw configError(mesh.#log.events.filter((e) => e.type === 'problem'))
      throw error
    })
    return mesh
  }

  get events(): readonly TestMeshEvent[] {
    return this.#log.events
  }

  workloads(): readonly WorkloadView[] {
    return this.#mesh.workloads()
  }

  async call(from: string, url: string, init: CallInit = {}): Promise<CallResult> {
    const [answer] = await this.#mesh.call(callRequest(from, url, init))
    return callResult(answer!)
  }

  async split(from: string, url: string, count: number, init: CallInit = {}): Promise<Record<string, number>> {
    const counts: Record<string, number> = {}
    for (let i = 0; i < count; i++) {
      const { instance, workload, status, error } = await this.call(from, url, init)
      const found = instance && this.#mesh.registry.workloads.find((w) => w.name === instance)
      const failed = status === 0 ? (error ?? 'no response') : String(status)
      const name = (found ? found.labels.version : undefined) ?? workload ?? failed
      counts[name] = (counts[name] ?? 0) + 1
    }
    return counts
  }

  load(from: string, url: string, init: LoadInit = {}): Promise<LoadReport> {
    return this.#mesh.load(loadOptions(from, url, init))
  }

  async apply(what: string | MeshObject | readonly MeshObject[]): Promise<void> {
    const update: Update = new Map()
    const name = `apply[${this.#applied++}]`
    const text =
      typeof what === 'string' ? what : JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [what].flat() })
    this.#problems(this.#documents.read(name, text, update))
    await this.#update(update)
  }

  async delete(what: string | ObjectRef | readonly ObjectRef[]): Promise<void> {
    const update: Update = new Map()
    this.#documents.remove(typeof what === 'string' ? refsIn(what) : [what as ObjectRef | ObjectRef[]].flat(), update)
    await this.#update(update)
  }

  async edit(ref: ObjectRef, change: (object: MeshObject & Record<string, never>) => unknown): Promise<void> {
    const copy = this.#documents.copy(ref)
    const changed = (await change(copy as MeshObject & Record<string, never>)) as MeshObject | undefined
    await this.apply(typeof changed === 'object' && changed !== null ? changed : copy)
  }

  async #update(update: Update): Promise<void> {
    this.#problems(this.#mesh.store.apply(update))
    await this.settled()
  }

  settled(): Promise<void> {
    return this.#mesh.settled()
  }

  fault(workload: string, fault: string): Promise<FaultView[]> {
    return this.#mesh.faults.set(workload, fault)
  }

  async clearFault(workload?: string): Promise<void> {
    await this.#mesh.faults.clear(workload)
  }

  faults(): FaultView[] {
    return this.#mesh.faults.list()
  }

  kill(instance: string): Promise<void> {
    return this.#mesh.kill(instance)
  }

  restore(instance: string): Promise<void> {
    return this.#mesh.restore(instance)
  }

  stats(workload: string, name: string): number
  stats(workload: string, names: RegExp): Record<string, number>
  stats(workload: string, name: string | RegExp): number | Record<string, number> {
    const { counters, gauges } = this.#sidecar(workload).stats
    const all = [...counters.values(), ...gauges.values()]
    if (typeof name === 'string') {
      const exact = counters.get(name) ?? gauges.get(name)
      return (exact ?? all.find((stat) => stat.name.replace(';.', '.') === name))?.value ?? 0
    }
    return Object.fromEntries(all.filter((stat) => name.test(stat.name)).map((stat) => [stat.name, stat.value]))
  }

  clusters(workload: string): ClusterView[] {
    return this.#clustersOf(this.#sidecar(workload))
  }

  ejected(): { workload: string; cluster: string; address: string; instance: string | undefined }[] {
    return this.#mesh
      .sidecars()
      .flatMap(({ workload, proxy }) =>
        this.#clustersOf(proxy).flatMap(({ name: cluster, hosts }) =>
          hosts
            .filter(({ ejected }) => ejected)
            .map(({ address, instance }) => ({ workload: workload.name, cluster, address, instance })),
        ),
      )
  }

  #sidecar(workload: string): Sidecar {
    const sidecar = this.#mesh.sidecarOf(workload)
    if (!sidecar) throw new Error(`${workload} has no sidecar, or was killed`)
    return sidecar
  }

  #clustersOf(proxy: Sidecar): ClusterView[] {
    return proxy.clusters.describe().map(({ name, hosts }) => ({
      name,
      hosts: hosts.map(({ host, healthFlags, weight, priority, stats }) => ({
        address: host.pipe ?? formatAddress(host.address),
        instance: this.#mesh.registry.workloadByIp(host.address.ip)?.name,
        ejected: healthFlags.includes('failed_outlier_check'),
        health: healthFlags,
        weight,
        priority,
        stats: Object.fromEntries(stats),
      })),
    }))
  }

  on<T extends TestMeshEvent['type']>(type: T, listener: (event: EventOf<T>) => void): () => void {
    return this.#log.on(type, listener)
  }

  follow<T extends TestMeshEvent['type']>(type: T): AsyncIterableIterator<EventOf<T>> {
    return this.#log.follow(type)
  }

  waitFor<T extends TestMeshEvent['type']>(
    type: T,
    matches: (event: EventOf<T>) => boolean = () => true,
    { timeout = WAIT_MS }: { timeout?: number } = {},
  ): Promise<EventOf<T>> {
    return this.#log.waitFor(type, matches, timeout)
  }

  close(): Promise<void> {
    this.#closing ??= this.#mesh.stop().finally(() => this.#log.close())
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #happened(event: MeshEvent): void {
    if (event.type === 'problems') this.#problems(event.problems)
    else this.#log.add(event)
  }

  #problems(problems: readonly Problem[]): void {
    for (const { severity, message, file, line, col } of problems)
      this.#log.add({ type: 'problem', severity, message, file, line, col })
  }
}

type Sidecar = NonNullable<ReturnType<Mesh['sidecarOf']>>
