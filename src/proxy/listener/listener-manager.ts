import type net from 'node:net'
import type { Listener as ListenerProto } from '#gen/envoy/config/listener/v3/listener_pb.js'
import type { Timer } from '../../runtime.ts'
import type { BindError } from './bound-socket.ts'
import type { CaptureEntry } from './capture.ts'
import { type Address, formatAddress } from './connection.ts'
import type { DrainStrategy } from './drain-state.ts'
import type { FilterChain } from './filter-chain.ts'
import { Listener, type ListenerDeps } from './listener.ts'
import { ListenerManagerStats } from './listener-manager-stats.ts'
import { type BindTarget, ListenerSockets } from './listener-sockets.ts'

/** A generation of a listener with the response that brought it. */
export interface ListenerVersion {
  readonly listener: Listener
  readonly version: string
  /** Wall clock, ms. */
  readonly updated: number
}

/** A listener under its name: the generation that serves, and the one that warms. */
export interface ManagedListener {
  readonly name: string
  readonly dynamic: boolean
  active: ListenerVersion | undefined
  warming: ListenerVersion | undefined
  error: { proto: ListenerProto | undefined; details: string; attempted: number; version: string } | undefined
  readonly sockets: ListenerSockets
}

/** What a listener manager is built with besides what its listeners need. */
export interface ListenerManagerOptions {
  readonly deps: Omit<ListenerDeps, 'byDestination' | 'drainTime' | 'drainStrategy'>
  /** ms during which connections of removed listeners and chains may finish. Envoy's default is 600 s. */
  readonly drainTime: number
  readonly drainStrategy: DrainStrategy
  /** The socket beneath a configured address; undefined: do not bind it. */
  readonly bindAddress: (configured: Address, listener: string) => BindTarget | undefined
  /** The listener that redirected connections enter by has come, and is about to serve, or has gone. */
  readonly onEntrance?: (direction: 'inbound' | 'outbound', served: boolean) => Promise<void> | undefined
  /** Told of what happens later than the call that caused it, such as a bind that failed. */
  readonly onError: (message: string) => void
}

/** Names of Istio's two listeners that redirected traffic enters by. */
const CAPTURE_LISTENERS = { inbound: 'virtualInbound', outbound: 'virtualOutbound' } as const
const ANY_ADDRESS = ['0.0.0.0', '::']

/** All listeners of one proxy (source/common/listener_manager/listener_manager_impl.cc). */
export class ListenerManager {
  private readonly byName = new Map<string, ManagedListener>()
  private readonly options: ListenerManagerOptions
  private readonly deps: ListenerDeps
  /** Active listeners by address, for hand-off. */
  private byAddress = new Map<string, Listener>()
  private readonly draining = new Map<FilterChain, Timer>()
  private readonly stats: ListenerManagerStats
  private started = false
  private stoppedDirections: 'none' | 'inbound' | 'all' = 'none'
  private readonly waiting = new Set<() => void>()
  /** Listeners whose sockets are being opened: the name, and what went wrong in the end. */
  private readonly binding = new Map<string, Promise<string | undefined>>()

  constructor(options: ListenerManagerOptions) {
    this.options = options
    this.deps = {
      ...options.deps,
      drainTime: options.drainTime,
      drainStrategy: options.drainStrategy,
      byDestination: (destination) => this.byDestination(destination),
    }
    this.stats = new ListenerManagerStats(options.deps.context.stats)
  }

  /**
   * Adds or replaces a listener. Answers false when the config is the one that is there. The new generation serves
   * once it is warm. Throws with Envoy's words when it cannot be used; what was there goes on.
   */
  addOrUpdate(proto: ListenerProto, version: string, dynamic: boolean): boolean {
    const { runtime } = this.deps.context
    const name = proto.name === '' ? runtime.uuid() : proto.name
    const known = this.byName.get(name)
    if (this.isStopped(proto)) return false
    if (known?.active?.listener.sameAs(proto)) {
      known.error = undefined
      if (!known.warming) return false
      this.abandonWarming(known)
      this.stats.modified.inc()
      return true
    }
    if (known?.warming?.listener.sameAs(proto)) return false
    if (known && !known.dynamic) return false
    let listener: Listener
    try {
      listener = new Listener(proto, name, this.deps, known?.active?.listener ?? known?.warming?.listener)
    } catch (error) {
      this.stats.failed.inc()
      this.refused(name, proto, error instanceof Error ? error.message : String(error), version, dynamic)
      throw error
    }
    const managed = known ?? this.create(name, dynamic)
    managed.error = undefined
    ;(known ? this.stats.modified : this.stats.added).inc()
    if (managed.warming) this.abandonWarming(managed)
    const generation: ListenerVersion = { listener, version, updated: runtime.wallNow() }
    managed.warming = generation
    this.count()
    listener.whenWarm(() => {
      if (managed.warming === generation && this.started) void this.activate(managed)
      else this.settle()
    })
    return true
  }

  /** Remembers that a listener was refused, for `/config_dump`. */
  refused(name: string, proto: ListenerProto | undefined, details: string, version: string, dynamic: boolean): void {
    const managed = this.byName.get(name) ?? this.create(name, dynamic)
    managed.error = { proto, details, attempted: this.deps.context.runtime.wallNow(), version }
  }

  private create(name: string, dynamic: boolean): ManagedListener {
    const managed: ManagedListener = {
      name,
      dynamic,
      active: undefined,
      warming: undefined,
      error: undefined,
      sockets: new ListenerSockets(this.options.bindAddress, (socket, target) => {
        if (managed.active) managed.active.listener.accept(socket, boundEntry(target))
        else socket.resetAndDestroy()
      }),
    }
    this.byName.set(name, managed)
    return managed
  }

  private abandonWarming(managed: ManagedListener): void {
    this.retire(managed.warming)
    managed.warming = undefined
    this.count()
  }

  /** Removes a listener that came by LDS. Its socket closes at once; its connections may drain. */
  remove(name: string): boolean {
    const managed = this.byName.get(name)
    if (!managed?.dynamic) return false
    this.byName.delete(name)
    this.retire(managed.warming)
    this.retire(managed.active)
    managed.sockets.close()
    void this.entrance(name, false)
    this.stats.removed.inc()
    this.index()
    this.settle()
    return true
  }

  /**
   * Starts to serve: every listener that is warm gets its socket, those that are not follow when they are.
   * Rejects with a BindError if a static one cannot be bound.
   */
  async start(): Promise<void> {
    this.started = true
    this.stats.workersStarted.set(1)
    const ready = [...this.byName.values()].filter((m) => m.warming?.listener.warm)
    const results = await Promise.allSettled(
      ready.map(async (managed) => {
        const problem = await this.activate(managed)
        if (problem !== undefined && !managed.dynamic) throw problem
      }),
    )
    const failed = results.find((r) => r.status === 'rejected')
    if (failed) throw failed.reason
  }

  /** Calls `fn` once, when no listener is waiting for its first routes and secrets. */
  whenWarm(fn: () => void): void {
    this.waiting.add(fn)
    this.settle()
  }

  private settle(): void {
    for (const managed of this.byName.values()) {
      if (!managed.active && managed.warming && !managed.warming.listener.warm) return
    }
    const done = [...this.waiting]
    this.waiting.clear()
    for (const fn of done) fn()
  }

  /**
   * Resolves when the sockets that are being opened now are open, with the problems of those that could not be:
   * `[name, why]`. Undefined when none is being opened.
   */
  bindings(): Promise<[string, string][]> | undefined {
    if (this.binding.size === 0) return undefined
    const all = [...this.binding].map(async ([name, done]) => [name, await done] as const)
    return Promise.all(all).then((done) =>
      done.flatMap(([name, problem]): [string, string][] => (problem === undefined ? [] : [[name, problem]])),
    )
  }

  /**
   * The warm generation takes over the sockets; connections of the old one stay with it until they have drained.
   * Answers what went wrong: the generation is dropped then.
   */
  private activate(managed: ManagedListener): Promise<BindError | undefined> {
    const generation = managed.warming!
    // One after the other: a second update must find the sockets that the first one opened.
    const before = this.binding.get(managed.name)
    const bind = async () => {
      await managed.sockets.adjust(generation.listener)
      if (!managed.active) await this.entrance(managed.name, true)
    }
    const activation = (before ? before.then(bind) : bind()).then(
      () => this.takeOver(managed, generation),
      (error: BindError) => this.bindFailed(managed, generation, error),
    )
    const words = activation.then((error) => error?.message)
    this.binding.set(managed.name, words)
    void words.then(() => {
      if (this.binding.get(managed.name) === words) this.binding.delete(managed.name)
    })
    return activation
  }

  private entrance(name: string, served: boolean): Promise<void> | undefined {
    if (name === CAPTURE_LISTENERS.inbound) return this.options.onEntrance?.('inbound', served)
    return name === CAPTURE_LISTENERS.outbound ? this.options.onEntrance?.('outbound', served) : undefined
  }

  private takeOver(managed: ManagedListener, generation: ListenerVersion): undefined {
    if (managed.warming !== generation) return
    const old = managed.active
    managed.warming = undefined
    managed.active = generation
    if (generation.listener.inPlace) this.stats.inPlace.inc()
    this.stats.created.inc()
    this.index()
    this.retire(old)
    this.settle()
  }

  private bindFailed(managed: ManagedListener, generation: ListenerVersion, error: BindError): BindError {
    const { listener, version } = generation
    if (managed.warming === generation) this.abandonWarming(managed)
    this.stats.failed.inc()
    if (this.byName.get(managed.name) !== managed) return error
    this.refused(managed.name, listener.proto, error.message, version, managed.dynamic)
    if (managed.dynamic) this.options.onError(`listener '${managed.name}': ${error.message}`)
    this.settle()
    return error
  }

  private retire(generation: ListenerVersion | undefined): void {
    for (const chain of generation?.listener.release() ?? []) this.drain(chain)
    this.count()
  }

  private drain(chain: FilterChain): void {
    if (chain.connections.size === 0) {
      chain.destroy()
      return
    }
    const timer = this.deps.context.runtime.after(this.options.drainTime, () => {
      this.draining.delete(chain)
      chain.destroy()
      this.count()
    })
    this.draining.set(chain, timer)
  }

  private count(): void {
    let active = 0
    let warming = 0
    for (const managed of this.byName.values()) {
      if (managed.active) active++
      if (managed.warming) warming++
    }
    this.stats.active.set(active)
    this.stats.warming.set(warming)
    this.stats.draining.set(this.draining.size)
  }

  private index(): void {
    const byAddress = new Map<string, Listener>()
    for (const { active } of this.byName.values()) {
      for (const address of active?.listener.addresses ?? []) byAddress.set(formatAddress(address), active!.listener)
    }
    this.byAddress = byAddress
    this.count()
  }

  /** The listener of a destination: its own address, else any address with its port. */
  private byDestination(destination: Address): Listener | undefined {
    const exact = this.byAddress.get(formatAddress(destination))
    if (exact) return exact
    for (const ip of ANY_ADDRESS) {
      const any = this.byAddress.get(formatAddress({ ip, port: destination.port }))
      if (any) return any
    }
    return undefined
  }

  /** Takes a connection from a capture socket: it enters as if the kernel had redirected it. */
  capture(socket: net.Socket, entry: CaptureEntry): void {
    const redirecting = this.byName.get(CAPTURE_LISTENERS[entry.direction])?.active
    // At a gateway nothing is redirected: what comes to a port belongs to the listener that binds it.
    const owner = redirecting ? undefined : this.byDestination(entry.originalDestination)
    const entrance = redirecting?.listener ?? (owner?.bindToPort ? owner : undefined)
    if (entrance) entrance.accept(socket, entry)
    else socket.resetAndDestroy()
  }

  /** Open connections of inbound listeners, those of old generations included. */
  get inboundConnections(): number {
    let count = 0
    for (const { active } of this.byName.values()) {
      if (active?.listener.direction === 'inbound') count += active.listener.connections
    }
    for (const chain of this.draining.keys()) count += chain.connections.size
    return count
  }

  /** All listeners, for admin. */
  all(): readonly ManagedListener[] {
    return [...this.byName.values()]
  }

  private isStopped(proto: ListenerProto): boolean {
    return this.stoppedDirections === 'all' || (this.stoppedDirections === 'inbound' && proto.trafficDirection === 1)
  }

  /** Closes the sockets of all, or of inbound, listeners, and takes no new ones; connections go on. */
  stopListening(inboundOnly: boolean): void {
    this.stoppedDirections = inboundOnly && this.stoppedDirections !== 'all' ? 'inbound' : 'all'
    for (const managed of this.byName.values()) {
      if (inboundOnly && managed.active?.listener.direction !== 'inbound') continue
      if (managed.sockets.addresses.length > 0) this.stats.stopped.inc()
      managed.sockets.close()
    }
  }

  /** Closes everything at once; resolves when every connection is closed and logged. `reset`: by a reset. */
  async close(reset = false): Promise<void> {
    const gone: FilterChain[] = []
    for (const managed of this.byName.values()) {
      managed.sockets.close()
      gone.push(...[managed.active, managed.warming].flatMap((g) => g?.listener.release() ?? []))
    }
    this.byName.clear()
    for (const [chain, timer] of this.draining) {
      timer.cancel()
      gone.push(chain)
    }
    this.draining.clear()
    this.index()
    await Promise.all(gone.map((chain) => chain.destroy(reset)))
  }
}

/** A connection to a socket that stands for another address; undefined where it is the listener's own. */
function boundEntry({ as, client, ip, port }: BindTarget): CaptureEntry | undefined {
  if (as === undefined) return undefined
  const direction = client === undefined ? 'inbound' : 'outbound'
  return { address: { ip, port }, originalDestination: as, direction, ...(client === undefined ? {} : { client }) }
}
