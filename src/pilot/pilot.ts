import type { Node as XdsNode } from '#gen/envoy/config/core/v3/base_pb.js'
import type { ApiObject } from '../api/objects.ts'
import { type Ca, renewAt } from '../ca/ca.ts'
import { type AddressAllotter, ClusterAllotter } from '../registry/addresses.ts'
import type { Registry } from '../registry/registry.ts'
import type { Runtime, Timer } from '../runtime.ts'
import { keepUnchanged, overlaid } from '../store/overlay.ts'
import type { Snapshot as ObjectSnapshot, Store } from '../store/store.ts'
import { SECRET_TYPE } from '../xds/resource-types.ts'
import type { ResourceSource } from '../xds/server.ts'
import type { AdsConnection } from '../xds/server-connection.ts'
import type { Resources, Snapshot, VersionedResource } from '../xds/snapshot.ts'
import { type PilotEnv, pilotEnv } from './env.ts'
import { PatchReport } from './envoyfilter/report.ts'
import { StatusBook } from './gateway-api/status-book.ts'
import { type Node, NodeError, type ProxyNode, proxyOf } from './proxy.ts'
import { resourcesOf } from './resources.ts'
import { PushContext } from './scope/push-context.ts'
import { identityOf } from './secrets.ts'
import { Versions } from './versions.ts'

/** What a pilot is made of. */
export interface PilotOptions {
  store: Store
  runtime: Runtime
  /** Without one, no certificates are served. */
  ca?: Ca
  /** Default: the addresses of an ordinary cluster. */
  allotter?: AddressAllotter
  /** istiod's switches; default: none set. */
  env?: Readonly<Record<string, string | undefined>>
  /** Who may have private keys over its stream. Default: clients in this process and on the loopback interface. */
  servesSecrets?: (connection: Pick<AdsConnection, 'peer'>) => boolean
  /** Objects to add to those of the store, made anew from each snapshot of it: what a cluster would have besides. */
  additions?: (snapshot: ObjectSnapshot) => readonly ApiObject[]
  /** Takes a line for the log. */
  log?: (line: string) => void
  /** Told of configuration that turns out to have no effect, with its place. Default: the log. */
  warn?: (line: string) => void
  /**
   * Told of each new context before the proxies are sent it; while the promise is pending they go on with the one
   * before. For who has to start what it speaks of.
   */
  beforePush?: (context: PushContext) => Promise<void> | undefined
}

/** A connected proxy, and what it was given. */
interface Client {
  connection: AdsConnection
  node: Node
  snapshot?: Snapshot
}

/**
 * Turns the objects of a store into the resources of each proxy that connects, and sends what changes. A change is
 * pushed at once when nothing was pushed in the last PILOT_DEBOUNCE_AFTER (100 ms), and else when that time is over,
 * with all that came until then: so never later than istiod, which waits that long after the last change, and
 * PILOT_DEBOUNCE_MAX has nothing to bound.
 */
export class Pilot implements ResourceSource {
  readonly env: PilotEnv
  /** What istiod would have written into the status of objects. */
  readonly statuses: StatusBook
  readonly #options: PilotOptions
  readonly #allotter: AddressAllotter
  readonly #clients = new Map<AdsConnection, Client>()
  readonly #listeners = new Set<(context: PushContext) => void>()
  readonly #versions: Versions
  readonly #unsubscribe: () => void
  readonly #patches: PatchReport
  #context: PushContext
  #added: readonly ApiObject[] = []
  #pushes = 1
  #lastPush: number
  #pending: Timer | undefined
  /** While `beforePush` is at work: whether the store has changed again since. */
  #preparing: { changed: boolean } | undefined
  #renewal: Timer | undefined

  constructor(options: PilotOptions) {
    this.#options = options
    this.env = pilotEnv(options.env ?? {})
    this.#allotter = options.allotter ?? new ClusterAllotter()
    this.#patches = new PatchReport(options.runtime, (line) => (options.warn ?? options.log)?.(line))
    this.#versions = new Versions(options.runtime.uuid().slice(0, 8))
    this.#context = new PushContext(this.#read(), this.env, this.#allotter)
    this.statuses = new StatusBook(() => options.runtime.wallNow())
    this.statuses.update(this.#context.gatewayApi.statuses)
    this.#lastPush = Number.NEGATIVE_INFINITY
    this.#unsubscribe = options.store.subscribe(() => this.#changed())
  }

  /** The store as it is, with the additions. */
  #read(): ObjectSnapshot {
    const { store, additions } = this.#options
    if (!additions) return store.snapshot
    this.#added = keepUnchanged(this.#added, additions(store.snapshot))
    return overlaid(store.snapshot, this.#added)
  }

  /** What the latest push was made from. */
  get context(): PushContext {
    return this.#context
  }

  /** Services, workloads and endpoints as of the latest push. */
  get registry(): Registry {
    return this.#context.registry
  }

  /** Calls `listener` after each change of the context, just before proxies are sent it; returns the way to stop that. */
  onPush(listener: (context: PushContext) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Whether a change of the store waits to be pushed. */
  get pushPending(): boolean {
    return this.#pending !== undefined || this.#preparing !== undefined
  }

  /** How a node is seen. Throws `NodeError` for one that cannot be served. */
  proxy(node: Node): ProxyNode {
    return proxyOf(node, this.registry, this.env.clusterId)
  }

  /** Ends the following of the store. Connections stay; their server closes them. */
  close(): void {
    this.#unsubscribe()
    this.#pending?.cancel()
    this.#renewal?.cancel()
    this.#patches.close()
  }

  connected(connection: AdsConnection): void {
    const client: Client = { connection, node: nodeOf(connection.node) }
    try {
      this.proxy(client.node)
    } catch (error) {
      if (!(error instanceof NodeError)) throw error
      this.#options.log?.(`pilot: ${connection.id}: ${error.message}`)
      connection.disconnect({ code: 3, message: error.message })
      return
    }
    this.#clients.set(connection, client)
    this.#serve(client)
    this.#scheduleRenewal()
  }

  subscribed(connection: AdsConnection, typeUrl: string): void {
    const client = this.#clients.get(connection)
    const names = connection.watched(typeUrl)
    if (!client || !names || names === '*') return
    // Most names are of what the client has been given already.
    const known = client.snapshot?.types.get(typeUrl)
    if ([...names].some((name) => !known?.has(name))) this.#serve(client)
  }

  disconnected(connection: AdsConnection): void {
    this.#clients.delete(connection)
  }

  #changed(): void {
    if (this.#preparing) this.#preparing.changed = true
    if (this.#pending || this.#preparing) return
    const { runtime } = this.#options
    const wait = this.#lastPush + this.env.debounceAfter - runtime.now()
    if (wait <= 0) {
      this.#push()
      return
    }
    this.#pending = runtime.after(wait, () => {
      this.#pending = undefined
      this.#push()
    })
  }

  #push(): void {
    this.#lastPush = this.#options.runtime.now()
    this.#pushes++
    this.#context = new PushContext(this.#read(), this.env, this.#allotter, this.#context)
    this.statuses.update(this.#context.gatewayApi.statuses)
    const preparation = this.#options.beforePush?.(this.#context)
    if (!preparation) {
      this.#serveAll()
      return
    }
    const preparing = { changed: false }
    this.#preparing = preparing
    const go = () => {
      this.#preparing = undefined
      this.#serveAll()
      if (preparing.changed) this.#changed()
    }
    preparation.then(go, (error: Error) => {
      this.#options.log?.(`pilot: ${error.message}`)
      go()
    })
  }

  #serveAll(): void {
    for (const listener of this.#listeners) listener(this.#context)
    for (const client of this.#clients.values()) this.#serve(client)
  }

  /** Works out a client's resources and hands over those that changed. */
  #serve(client: Client): void {
    const { connection } = client
    const proxy = this.proxy(client.node)
    const made = resourcesOf(this.#context, proxy, {
      ca: this.#mayHaveSecrets(connection) ? this.#options.ca : undefined,
      watched: (typeUrl) => {
        const names = connection.watched(typeUrl)
        return names === undefined || names === '*' ? [] : names
      },
    })
    this.#patches.served(this.#context.envoyFilters)
    const before = client.snapshot?.types
    const types = new Map<string, Resources>()
    const changed: string[] = []
    for (const [typeUrl, messages] of made) {
      const old = before?.get(typeUrl)
      const resources = new Map<string, VersionedResource>()
      let same = old?.size === messages.size
      for (const [name, message] of messages) {
        const known = old?.get(name)
        const resource = this.#versions.of(message, known)
        same &&= resource === known
        resources.set(name, resource)
      }
      types.set(typeUrl, same && old ? old : resources)
      if (!same) changed.push(typeUrl)
    }
    if (client.snapshot && changed.length === 0) return
    client.snapshot = { version: String(this.#pushes), types }
    connection.push(client.snapshot, before ? changed : undefined)
  }

  #mayHaveSecrets(connection: AdsConnection): boolean {
    return (this.#options.servesSecrets ?? isLocal)(connection)
  }

  /** Certificates are renewed at half of their lives: then those who have them are served anew. */
  #scheduleRenewal(): void {
    const { ca, runtime } = this.#options
    if (!ca || this.#renewal) return
    const due = [...this.#clients.values()]
      .filter((client) => client.snapshot?.types.get(SECRET_TYPE)?.size)
      .map((client) => renewAt(identityOf(this.#context, ca, this.proxy(client.node))))
    if (due.length === 0) return
    const wait = Math.max(1000, Math.min(...due) - runtime.wallNow())
    this.#renewal = runtime.after(wait, () => {
      this.#renewal = undefined
      for (const client of this.#clients.values()) this.#serve(client)
      this.#scheduleRenewal()
    })
  }
}

/** In this process, or on the loopback interface of this machine. */
function isLocal({ peer }: Pick<AdsConnection, 'peer'>): boolean {
  return peer === 'in-process' || /^(?:ipv4:)?127\.|^(?:ipv6:)?\[?::1\]?(?::|$)/.test(peer)
}

function nodeOf(node: XdsNode): Node {
  const { region = '', zone = '', subZone = '' } = node.locality ?? {}
  return {
    id: node.id,
    cluster: node.cluster,
    metadata: node.metadata,
    locality: region || zone || subZone ? { region, zone, subZone } : undefined,
  }
}
