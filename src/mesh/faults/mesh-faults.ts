import type { FaultView } from '../control/api.ts'
import type { Instance } from '../instance.ts'

/** The faults of a mesh's apps, by the names of workloads. */
export class MeshFaults {
  /** The instances that go by a name; all when undefined. Throws UnknownWorkloadError. */
  readonly #named: (name: string | undefined) => readonly Instance[]

  constructor(named: (name: string | undefined) => readonly Instance[]) {
    this.#named = named
  }

  /** Puts faults before the apps of all instances that go by the name; those they had are gone. Throws FaultSyntaxError. */
  async set(name: string, fault: string): Promise<FaultView[]> {
    return this.#each(name, (instance) => instance.faults.set(fault))
  }

  /** Takes the faults away, of the instances that go by the name, or of all. */
  async clear(name?: string): Promise<FaultView[]> {
    return this.#each(name, (instance) => instance.faults.clear())
  }

  /** The faults of those instances that have some, or of those that go by the name. */
  list(name?: string): FaultView[] {
    const views = this.#named(name).map((instance) => instance.faults.view())
    return name === undefined ? views.filter(({ fault }) => fault !== '') : views
  }

  async #each(name: string | undefined, act: (instance: Instance) => Promise<void>): Promise<FaultView[]> {
    const instances = this.#named(name)
    await Promise.all(instances.map(act))
    return instances.map((instance) => instance.faults.view())
  }
}
