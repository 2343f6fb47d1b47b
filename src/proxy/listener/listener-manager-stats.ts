import type { Counter, Gauge, StatsStore } from '../observe/stats.ts'

/** Counters of `listener_manager.` (source/common/listener_manager/listener_manager_impl.h). */
export class ListenerManagerStats {
  readonly added: Counter
  readonly modified: Counter
  readonly removed: Counter
  readonly inPlace: Counter
  readonly created: Counter
  readonly failed: Counter
  readonly stopped: Counter
  readonly active: Gauge
  readonly warming: Gauge
  /** Filter chains whose connections may still finish. */
  readonly draining: Gauge
  readonly workersStarted: Gauge

  constructor(stats: StatsStore) {
    const counter = (name: string) => stats.counter(`listener_manager.${name}`)
    const gauge = (name: string) => stats.gauge(`listener_manager.${name}`)
    this.added = counter('listener_added')
    this.modified = counter('listener_modified')
    this.removed = counter('listener_removed')
    this.inPlace = counter('listener_in_place_updated')
    this.created = counter('listener_create_success')
    this.failed = counter('listener_create_failure')
    this.stopped = counter('listener_stopped')
    this.active = gauge('total_listeners_active')
    this.warming = gauge('total_listeners_warming')
    this.draining = gauge('total_filter_chains_draining')
    this.workersStarted = gauge('workers_started')
    gauge('total_listeners_draining')
  }
}
