import type { LocalHosts } from './balancers/zone-aware.ts'
import type { HostTable } from './host-table.ts'
import { buildHostSet, DEFAULT_POLICY, type HostSet } from './priority-set.ts'

/** The cluster that the proxy itself belongs to (`local_cluster_name`): no hosts until that cluster is made. */
export class LocalCluster implements LocalHosts {
  readonly name: string
  private table: HostTable | undefined
  private readonly listeners = new Set<() => void>()

  constructor(name: string) {
    this.name = name
  }

  get hosts(): HostSet {
    return this.table?.first ?? NOBODY
  }

  onChange(fn: () => void): () => void {
    this.listeners.add(fn)
    return () => this.listeners.delete(fn)
  }

  get attached(): boolean {
    return this.table !== undefined
  }

  /** The cluster is there. */
  attach(table: HostTable): void {
    this.table = table
    table.onDelivery(() => {
      for (const fn of this.listeners) fn()
    })
  }
}

const NOBODY = buildHostSet(0, [], DEFAULT_POLICY)
