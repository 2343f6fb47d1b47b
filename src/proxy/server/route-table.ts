import type { RouteConfiguration } from '#gen/envoy/config/route/v3/route_pb.js'
import { sameMessage } from '../../xds/same-message.ts'
import type { VersionedResource } from '../admin/view.ts'
import type { RouteSubscriptions } from '../context.ts'

interface Subscriber {
  readonly onUpdate: (config: RouteConfiguration) => void
  readonly onUnreadable: (() => void) | undefined
}

interface Entry {
  config: RouteConfiguration | undefined
  version: string
  updated: number
  readonly subscribers: Set<Subscriber>
}

/** Route configurations by name, for those who use them, and the names to ask RDS for. */
export class RouteTable implements RouteSubscriptions {
  private readonly entries = new Map<string, Entry>()
  private readonly wallNow: () => number
  /** Told when a name is first needed, and when nobody needs it any more. */
  onWanted: ((name: string, wanted: boolean) => void) | undefined

  constructor(wallNow: () => number) {
    this.wallNow = wallNow
  }

  /** The names that somebody uses. */
  get wanted(): readonly string[] {
    return [...this.entries.keys()]
  }

  subscribe(
    name: string,
    onUpdate: (config: RouteConfiguration) => void,
    onUnreadable?: () => void,
  ): { close(): void } {
    let entry = this.entries.get(name)
    if (!entry) {
      entry = { config: undefined, version: '', updated: 0, subscribers: new Set() }
      this.entries.set(name, entry)
      this.onWanted?.(name, true)
    }
    const { subscribers } = entry
    const own: Subscriber = { onUpdate, onUnreadable }
    subscribers.add(own)
    if (entry.config) onUpdate(entry.config)
    let open = true
    return {
      close: () => {
        if (!open) return
        open = false
        subscribers.delete(own)
        if (subscribers.size > 0) return
        this.entries.delete(name)
        this.onWanted?.(name, false)
      },
    }
  }

  /**
   * Takes an RDS resource. Throws when a user of it refuses it; the last good one stays then. One that says what is there
   * already changes nothing: what filters count by route goes on (rds_route_config_subscription.cc compares hashes).
   */
  set(config: RouteConfiguration, version: string): void {
    const entry = this.entries.get(config.name)
    if (!entry || (entry.config && sameMessage(entry.config, config))) return
    const errors = new Set<string>()
    for (const subscriber of [...entry.subscribers]) {
      try {
        subscriber.onUpdate(config)
      } catch (error) {
        errors.add(error instanceof Error ? error.message : String(error))
      }
    }
    if (errors.size > 0) throw new Error([...errors].join('; '))
    entry.config = config
    entry.version = version
    entry.updated = this.wallNow()
  }

  /** A response could not be read: whoever has no routes yet learns that none will come of it. */
  unreadable(): void {
    for (const { config, subscribers } of [...this.entries.values()]) {
      if (!config) for (const subscriber of [...subscribers]) subscriber.onUnreadable?.()
    }
  }

  /** What is held, by name, for admin. */
  resources(): VersionedResource[] {
    return [...this.entries].flatMap(([name, { config, version, updated }]) =>
      config ? [{ name, message: config, version, updated }] : [],
    )
  }
}
