import type { Message } from '@bufbuild/protobuf'
import type { Node as XdsNode } from '#gen/envoy/config/core/v3/base_pb.js'
import type { ApiObject } from '../api/objects.ts'
import { type Ca, spiffeId } from '../ca/ca.ts'
import { type AddressAllotter, ClusterAllotter } from '../registry/addresses.ts'
import type { Registry } from '../registry/registry.ts'
import type { Runtime, Timer } from '../runtime.ts'
import { keepUnchanged, overlaid } from '../store/overlay.ts'
import type { Snapshot as ObjectSnapshot, Store } from '../store/store.ts'
import { SECRET_TYPE } from '../xds/resource-types.ts'
import type { ResourceSource } from '../xds/server.ts'
import type { AdsConnection } from '../xds/server-connection.ts'
import type { Resources, Snapshot, VersionedResource } from '../xds/snapshot.ts'
import { GRPC_PERMISSION_DENIED, IN_PROCESS } from '../xds/stream.ts'
import { IssuerKeys } from './authn/issuer-keys.ts'
import type { MeshDial } from './authn/mesh-dial.ts'
import { type PilotEnv, pilotEnv } from './env.ts'
import { PatchReport } from './envoyfilter/report.ts'
import { StatusBook } from './gateway-api/status-book.ts'
import { type Node, NodeError, type ProxyNode, proxyOf } from './proxy.ts'
import { resourcesOf, secretsFor } from './resources.ts'
import { PushContext } from './scope/push-context.ts'
import { SecretRenewal } from './secret-renewal.ts'
import { identityOf } from './secrets.ts'
import { strangerTo } from './stranger.ts'
import { Troubles } from './troubles.ts'
import { SpiffeAnchors } from './trust/spiffe-anchors.ts'
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
  /** Objects to add to those of the store, made anew from each snapshot of it: what a cluster would have besides. */
  additions?: (snapshot: ObjectSnapshot) => readonly ApiObject[]
  /** Takes a line for the log. */
  log?: (line: string) => void
  /** Told of configuration that turns out to have no effect, with its place. Default: the log. */
  warn?: (line: string) => void
  /** How keys are fetched from services of the mesh. Default: what they are named is asked of the system. */
  meshDial?: MeshDial
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
  readonly #troubles: Troubles
  readonly #keys: IssuerKeys
  readonly #anchors: SpiffeAnchors
  /** Those that wait for keys, as istiod does not answer before it has them. */
  readonly #held = new Set<Client>()
  /** Told when nobody waits for keys any more. */
  readonly #awaitingKeys: (() => void)[] = []
  #context: PushContext
  /** What it was made of. */
  #snapshot!: ObjectSnapshot
  #added: readonly ApiObject[] = []
  #pushes = 1
  #lastPush: number
  #pending: Timer | undefined
  /** While `beforePush` is at work: whether the store has changed again since. */
  #preparing: { changed: boolean } | undefined
  readonly #renewal: SecretRenewal<Client> | undefined

  constructor(options: PilotOptions) {
    this.#options = options
    this.env = pilotEnv(options.env ?? {})
    this.#allotter = options.allotter ?? new ClusterAllotter()
    const warn = (line: string) => (options.warn ?? options.log)?.(line)
    this.#patches = new PatchReport(options.runtime, warn)
    this.#troubles = new Troubles({ runtime: options.runtime, tell: warn, onChange: () => this.#serveSecrets() })
    const { runtime, meshDial } = options
    const { variable } = this.env
    this.#keys = new IssuerKeys({ runtime, variable, dial: meshDial, onChange: () => this.#keysChanged(), warn })
    this.#anchors = new SpiffeAnchors({ runtime, variable, dial: meshDial, onChange: () => this.#changed(), warn })
    const { ca } = options
    this.#renewal = ca && this.#renewalOf(ca, warn)
    this.#versions = new Versions(options.runtime.uuid().slice(0, 8))
    this.#context = this.#contextOf(this.#read())
    this.statuses = new StatusBook(() => options.runtime.wallNow())
    this.statuses.update(this.#context.gatewayApi.statuses)
    this.#troubles.pushed(this.#context)
    this.#lastPush = Number.NEGATIVE_INFINITY
    this.#unsubscribe = options.store.subscribe(() => this.#changed())
  }

  /** The store as it is, with the additions. */
  #read(): ObjectSnapshot {
    const { store, additions } = this.#options
    this.#snapshot = store.snapshot
    if (additions) {
      this.#added = keepUnchanged(this.#added, additions(store.snapshot))
      this.#snapshot = overlaid(store.snapshot, this.#added)
    }
    this.#anchors.follow(this.#snapshot)
    return this.#snapshot
  }

  #contextOf(snapshot: ObjectSnapshot, before?: PushContext): PushContext {
    const fetched = { jwks: this.#keys.known, anchors: this.#anchors.roots }
    return new PushContext(snapshot, this.env, this.#allotter, before, fetched)
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
    return this.#pending !== undefined || this.#preparing !== undefined || this.#held.size > 0
  }

  /** Resolves once no proxy waits for keys of a JWT issuer. */
  async keysFetched(): Promise<void> {
    if (this.#held.size > 0) await new Promise<void>((resolve) => this.#awaitingKeys.push(resolve))
  }

  /**
   * Tries at once to get the keys that services of the mesh did not give because they had not started. Resolves when that
   * is over, and proxies have what came of it.
   */
  retryMeshKeys(): Promise<void> {
    return this.#keys.retryMesh()
  }

  /** How a node is seen. Throws `NodeError` for one that cannot be served. */
  proxy(node: Node): ProxyNode {
    return proxyOf(node, this.registry, this.env.clusterId)
  }

  /** Ends the following of the store. Connections stay; their server closes them. */
  close(): void {
    this.#unsubscribe()
    this.#pending?.cancel()
    this.#renewal?.close()
    this.#patches.close()
    this.#troubles.close()
    this.#keys.close()
    this.#anchors.close()
    this.#held.clear()
    for (const tell of this.#awaitingKeys.splice(0)) tell()
  }

  connected(connection: AdsConnection): void {
    const client: Client = { connection, node: nodeOf(connection.node) }
    try {
      const unknown = strangerTo(this.proxy(client.node), connection.identities)
      if (unknown) {
        this.#options.log?.(`pilot: Unauthorized XDS: ${connection.peer}: ${unknown}`)
        connection.disconnect({ code: GRPC_PERMISSION_DENIED, message: `authorization failed: ${unknown}` })
        return
      }
    } catch (error) {
      if (!(error instanceof NodeError)) throw error
      this.#options.log?.(`pilot: ${connection.id}: ${error.message}`)
      connection.disconnect({ code: 3, message: error.message })
      return
    }
    this.#clients.set(connection, client)
    this.#serve(client)
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
    const client = this.#clients.get(connection)
    if (client) this.#release(client)
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

  #release(client: Client): void {
    if (this.#held.delete(client) && this.#held.size === 0) for (const tell of this.#awaitingKeys.splice(0)) tell()
  }

  /**
   * Who waits for keys is sent them at once, even while others have to wait for what a change of the store starts: for
   * those that wait may be just what is starting.
   */
  #keysChanged(): void {
    if (this.#held.size === 0) {
      this.#changed()
      return
    }
    this.#context = this.#contextOf(this.#snapshot, this.#context)
    if (!this.#preparing) this.#serveAll()
    else for (const client of [...this.#held]) this.#serve(client)
  }

  #push(): void {
    this.#lastPush = this.#options.runtime.now()
    this.#pushes++
    this.#context = this.#contextOf(this.#read(), this.#context)
    this.statuses.update(this.#context.gatewayApi.statuses)
    this.#troubles.pushed(this.#context)
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

  /** The places of the EnvoyFilter patches that are in what a proxy refused, by its words for that. */
  refusedPatches(connection: AdsConnection, typeUrl: string, refusal: string): readonly string[] {
    const patches = this.#context.envoyFilters.forProxy(this.proxy(connection.node))
    return patches?.blamed(typeUrl, refusal).map(({ place }) => place) ?? []
  }

  /** Works out a client's resources and hands over those that changed. */
  #serve(client: Client): void {
    const { connection } = client
    const proxy = this.proxy(client.node)
    if (this.#keys.areAwaited(this.#context, proxy)) {
      this.#held.add(client)
      return
    }
    this.#release(client)
    const rights = this.#rightsOf(connection, proxy)
    const made = resourcesOf(this.#context, proxy, rights)
    if (rights.files) this.#troubles.served(rights.watched(SECRET_TYPE), this.#context)
    this.#patches.served(this.#context.envoyFilters)
    const before = client.snapshot?.types
    const types = new Map<string, Resources>()
    const changed: string[] = []
    for (const [typeUrl, messages] of made) {
      const old = before?.get(typeUrl)
      const resources = this.#versioned(messages, old)
      types.set(typeUrl, resources)
      if (resources !== old) changed.push(typeUrl)
    }
    if (client.snapshot && changed.length === 0) return
    client.snapshot = { version: String(this.#pushes), types }
    connection.push(client.snapshot, before ? changed : undefined)
    if (!before) this.#renewal?.schedule([client])
  }

  /** What a client may have of that which is not for all, and what it asks for. */
  #rightsOf(connection: AdsConnection, proxy: ProxyNode): Parameters<typeof resourcesOf>[2] {
    return {
      ca: this.#mayHaveSecrets(connection, proxy) ? this.#options.ca : undefined,
      files: connection.peer === IN_PROCESS,
      watched: (typeUrl) => {
        const names = connection.watched(typeUrl)
        return names === undefined || names === '*' ? [] : names
      },
    }
  }

  /** Resources with versions: the old ones when nothing has changed. */
  #versioned(messages: ReadonlyMap<string, Message>, old: Resources | undefined): Resources {
    const resources = new Map<string, VersionedResource>()
    let same = old?.size === messages.size
    for (const [name, message] of messages) {
      const known = old?.get(name)
      const resource = this.#versions.of(message, known)
      same &&= resource === known
      resources.set(name, resource)
    }
    return same && old ? old : resources
  }

  /** Proxies of this process, and those that have proved to be who they say they are (pilot/pkg/xds/sds.go Generate). */
  #mayHaveSecrets({ peer, identities }: AdsConnection, proxy: ProxyNode): boolean {
    const { trustDomain } = this.#context.mesh
    return (
      peer === IN_PROCESS || identities?.includes(spiffeId(trustDomain, proxy.namespace, proxy.serviceAccount)) === true
    )
  }

  /** Secrets alone, for all who have some: certificates were renewed, or the roots have changed. */
  #serveSecrets(): void {
    this.#pushes++
    for (const client of this.#clients.values()) {
      const { connection, snapshot } = client
      if (!snapshot) continue
      const proxy = this.proxy(client.node)
      const { ca, files, watched } = this.#rightsOf(connection, proxy)
      const made = secretsFor(this.#context, proxy, ca, watched(SECRET_TYPE), files)
      const old = snapshot.types.get(SECRET_TYPE)
      const resources = this.#versioned(made, old)
      if (resources === old) continue
      const types = new Map(snapshot.types).set(SECRET_TYPE, resources)
      client.snapshot = { version: String(this.#pushes), types }
      connection.push(client.snapshot, [SECRET_TYPE])
    }
  }

  #renewalOf(ca: Ca, warn: (line: string) => void): SecretRenewal<Client> {
    const has = ({ snapshot }: Client) => snapshot !== undefined && snapshot.types.get(SECRET_TYPE)?.size !== 0
    const clients = () => [...this.#clients.values()]
    return new SecretRenewal({
      ca,
      runtime: this.#options.runtime,
      clients,
      due: (client) => (has(client) ? identityOf(this.#context, ca, this.proxy(client.node)).renewAt : undefined),
      serve: () => this.#serveSecrets(),
      answered: () => clients().every(({ connection }) => connection.answered(SECRET_TYPE)),
      warn,
    })
  }
}

/** A node as it came over xDS. */
export function nodeOf(node: XdsNode): Node {
  const { region = '', zone = '', subZone = '' } = node.locality ?? {}
  return {
    id: node.id,
    cluster: node.cluster,
    metadata: node.metadata,
    locality: region || zone || subZone ? { region, zone, subZone } : undefined,
  }
}
