import type { ClusterControl } from '../upstream/cluster-manager.ts'

/** Who waits for the clusters that are warming. */
export class ClusterReadiness {
  private readonly clusters: ClusterControl
  private readonly waiting: (() => void)[] = []

  constructor(clusters: ClusterControl) {
    this.clusters = clusters
    clusters.onWarm(() => this.check())
  }

  get ready(): boolean {
    return this.clusters.warmingNames().length === 0
  }

  /** Calls `fn` once, when no cluster is warming. */
  whenReady(fn: () => void): void {
    this.waiting.push(fn)
    this.check()
  }

  /** Looks again: a cluster that was waited for may have been removed. */
  check(): void {
    if (!this.ready) return
    for (const fn of this.waiting.splice(0)) fn()
  }
}
