import net from 'node:net'
import { FAULT_ANNOTATION } from '../api/server-fault.ts'
import type { BootstrapPatch } from '../pilot/envoyfilter/bootstrap.ts'
import type { PushContext } from '../pilot/scope/push-context.ts'
import type { ProxyServer } from '../proxy/server.ts'
import { NO_ADDRESS, type Workload } from '../registry/model.ts'
import type { Registry } from '../registry/registry.ts'
import { type PatchFinder, patchFinder, wordsOfPatches } from './bootstrap-patches.ts'
import type { WorkloadView } from './control/api.ts'
import { Instance } from './instance.ts'
import type { InstanceHost } from './instance-host.ts'
import { type SidecarSettings, sidecarSettings } from './sidecar-settings.ts'

/** Capture sockets are opened ahead for so many pairs of instance and service port; beyond, each when first asked for. */
const MAX_EAGER_SOCKETS = 3000

/** All workload instances of a mesh, kept equal to what the registry says. */
export class Instances {
  readonly #host: InstanceHost
  readonly #byKey = new Map<string, Instance>()
  /** What an instance was started with, to see when it must be started anew. */
  readonly #facts = new Map<string, string>()
  #work: Promise<unknown> = Promise.resolve()

  constructor(host: InstanceHost) {
    this.#host = host
  }

  /** Whether the registry has workloads that do not run, or run otherwise. */
  lacks(push: PushContext): boolean {
    const find = patchFinder(push, this.#host.identity)
    return push.registry.workloads.some((w) => this.#facts.get(keyOf(w)) !== wantedOf(w, push, find).facts)
  }

  /**
   * Starts what is new. What runs otherwise than it should (another app, other ports: its pod was edited in place) is
   * stopped first. Rejects with the first failure when all attempts are over.
   */
  start(push: PushContext): Promise<void> {
    return this.#queue(async () => {
      const find = patchFinder(push, this.#host.identity)
      const all = push.registry.workloads.map((workload) => ({ workload, wanted: wantedOf(workload, push, find) }))
      const starting = all.filter(({ workload, wanted }) => this.#facts.get(keyOf(workload)) !== wanted.facts)
      this.#tellOfPatches(starting)
      await Promise.all(starting.map(({ workload }) => this.#stop(keyOf(workload))))
      const results = await Promise.allSettled(starting.map(({ workload, wanted }) => this.#start(workload, wanted)))
      const failed = results.find((r) => r.status === 'rejected')
      if (failed) throw failed.reason
    })
  }

  /** Sets and clears the faults that the annotations of running instances ask for since they have changed. */
  annotate(registry: Registry): Promise<void> {
    return this.#queue(async () => {
      for (const workload of registry.workloads)
        await this.#byKey.get(keyOf(workload))?.faults.annotate(workload.annotations[FAULT_ANNOTATION])
    })
  }

  /** Kills an instance as a crash would. */
  kill(workload: Workload): Promise<void> {
    return this.#queue(() => this.of(workload).kill())
  }

  /** Starts a killed instance again; resolves once it serves. */
  restore(workload: Workload, registry: Registry): Promise<void> {
    return this.#queue(async () => {
      await this.of(workload).restore()
    }).then(() => this.openOutbound(registry))
  }

  /** Stops what the registry no longer has, when `unused` says that nobody goes there any more. */
  async retire(registry: Registry, unused: () => Promise<void>): Promise<void> {
    const wanted = new Set(registry.workloads.map(keyOf))
    const gone = [...this.#byKey.keys()].filter((key) => !wanted.has(key))
    if (gone.length === 0) return
    await unused()
    await this.#queue(async () => {
      await Promise.all(gone.map((key) => this.#stop(key, true)))
    })
  }

  /** A bootstrap is read once: a changed one takes a new sidecar. */
  #tellOfPatches(starting: readonly { workload: Workload; wanted: Wanted }[]): void {
    const anew = starting.filter(({ workload, wanted }) => {
      const before = this.#byKey.get(keyOf(workload))?.patches
      return before && JSON.stringify(wordsOfPatches(before)) !== JSON.stringify(wordsOfPatches(wanted.patches))
    })
    const [first] = anew
    if (!first) return
    const others = anew.length > 1 ? ` (and ${anew.length - 1} more)` : ''
    const places = [...new Set(anew.flatMap(({ wanted }) => wanted.patches.map(({ place }) => place)))]
    const now = places.length > 0 ? places.join('; ') : 'there are none any more'
    const what = `its sidecar${others} starts anew, as patches to the bootstrap have changed: ${now}`
    this.#host.onProblem(first.workload, what)
  }

  async #start(workload: Workload, wanted: Wanted): Promise<void> {
    const { ports, settings, patches } = wanted
    const instance = await Instance.start(workload, ports, settings, this.#host, patches)
    this.#byKey.set(keyOf(workload), instance)
    this.#facts.set(keyOf(workload), wanted.facts)
  }

  async #stop(key: string, finish = false): Promise<void> {
    const instance = this.#byKey.get(key)
    this.#byKey.delete(key)
    this.#facts.delete(key)
    await instance?.close(finish ? instance.settings.terminationDrain : 0)
  }

  /** Resolves once every sidecar serves its first config. */
  async ready(): Promise<void> {
    await Promise.all([...this.#byKey.values()].map((instance) => instance.ready()))
  }

  /** Opens the capture sockets of all service addresses for all instances, unless they would be too many. */
  openOutbound(registry: Registry): Promise<void> {
    return this.#queue(async () => {
      const destinations = destinationsOf(registry)
      const sidecars = [...this.#byKey.values()].filter(
        ({ workload, down }) => workload.injected && !workload.gateway && !down,
      )
      if (destinations.length * sidecars.length > MAX_EAGER_SOCKETS) return
      await Promise.all(sidecars.flatMap((instance) => destinations.map((to) => instance.outbound(to))))
    })
  }

  /** The running instance of a workload. */
  of(workload: Workload): Instance {
    const instance = this.#byKey.get(keyOf(workload))
    if (!instance) throw new Error(`${workload.name} is not running`)
    return instance
  }

  /** In the order of namespaces and names. */
  views(): WorkloadView[] {
    return this.all().map((instance) => instance.view())
  }

  /** Those that run, or were killed, in the order of namespaces and names. */
  all(): Instance[] {
    return [...this.#byKey.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, instance]) => instance)
  }

  /** The sidecars that run now. */
  sidecars(): ProxyServer[] {
    return [...this.#byKey.values()].flatMap(({ sidecar }) => sidecar ?? [])
  }

  /** Resolves when no start or stop is under way. */
  async idle(): Promise<void> {
    await this.#work
  }

  async close(): Promise<void> {
    await this.#queue(async () => {
      await Promise.all([...this.#byKey.values()].map((instance) => instance.close()))
      this.#byKey.clear()
    })
  }

  #queue(step: () => Promise<void>): Promise<void> {
    const result = this.#work.then(step)
    this.#work = result.catch(() => {})
    return result
  }
}

function keyOf(workload: Workload): string {
  return `${workload.namespace}/${workload.name}`
}

/** What an instance is started with. */
interface Wanted {
  readonly ports: readonly number[]
  readonly settings: SidecarSettings
  readonly patches: readonly BootstrapPatch[]
  readonly facts: string
}

function wantedOf(workload: Workload, push: PushContext, find: PatchFinder): Wanted {
  const settings = sidecarSettings(push, workload)
  const ports = portsOf(workload, push.registry, settings)
  const patches = find(workload, settings)
  return { ports, settings, patches, facts: factsOf(workload, ports, settings, patches) }
}

/**
 * The container ports that an instance serves: those it states, and those that services, the app annotation and a
 * Sidecar's ingress name.
 */
function portsOf(workload: Workload, registry: Registry, settings: SidecarSettings): number[] {
  const stated = workload.containerPorts.filter((port) => port.protocol === 'TCP').map((port) => port.port)
  const served = registry.targets(workload).map((target) => target.targetPort)
  return [...new Set([...stated, ...served, ...(workload.injected ? settings.ports : [])])]
}

function factsOf(
  workload: Workload,
  ports: readonly number[],
  settings: SidecarSettings,
  patches: readonly BootstrapPatch[],
): string {
  const { ip, annotations, labels, serviceAccount, injected, gateway, containers, nodeName, locality } = workload
  const app = Object.entries(annotations).filter(
    ([name]) =>
      (name.startsWith('dinghy.dev/') && name !== FAULT_ANNOTATION) || name.startsWith('traffic.sidecar.istio.io/'),
  )
  return JSON.stringify([
    ip,
    app,
    labels,
    serviceAccount,
    injected,
    gateway,
    containers,
    nodeName,
    locality,
    ports,
    injected ? settings : undefined,
    wordsOfPatches(patches),
  ])
}

/** Every `ip:port` that a program in a pod may connect to for a service. */
function destinationsOf(registry: Registry): { ip: string; port: number }[] {
  const seen = new Map<string, { ip: string; port: number }>()
  const add = (ip: string, port: number) => net.isIP(ip) && seen.set(`${ip}:${port}`, { ip, port })
  for (const service of registry.services)
    for (const { port } of service.ports) {
      if (service.address !== NO_ADDRESS) add(service.address, port)
      else if (service.autoAddress) add(service.autoAddress, port)
      else for (const endpoint of registry.endpointsOfPort(service, port)) add(endpoint.address, endpoint.port)
    }
  return [...seen.values()]
}
