import type { Node } from '#gen/envoy/config/core/v3/base_pb.js'
import type { Runtime, Timer } from '../runtime.ts'
import { decodeResponse } from './client-decode.ts'
import { ClientType, type PendingAck, type TypeHandler, type TypeStats, type Update, versionOf } from './client-type.ts'
import type { AdsMode, AdsRequest, AdsResponse, AdsTransport, ClientStream, StreamEnd } from './stream.ts'

/** Options of the ADS client. */
export interface AdsClientOptions {
  readonly transport: AdsTransport
  readonly runtime: Runtime
  readonly node: Node
  /** `ads_config.api_type`: DELTA_GRPC is delta, GRPC is sotw. */
  readonly mode: AdsMode
  /** Names the node in the first request of a stream only; default false, as Envoy's. */
  readonly setNodeOnFirstMessageOnly?: boolean
  /** Milliseconds until a subscription that nothing came for is given up on; default 15,000, 0 for never. */
  readonly initialFetchTimeoutMs?: number
  /** The control plane has answered on a new stream, or one that it had answered on is lost. */
  readonly onState?: (connected: boolean) => void
  /** A stream ended, or could not be opened; the client tries again after `retryMs`. */
  readonly onStreamEnd?: (end: StreamEnd, retryMs: number) => void
}

/** A subscription to one type of resource. */
export interface Subscription {
  readonly typeUrl: string
  readonly stats: Readonly<TypeStats>
  /** Versions of the resources held, by name. */
  readonly held: ReadonlyMap<string, string>
  /** Asks for more names. */
  add(names: Iterable<string>): void
  /** No longer asks for names; what is held of them is forgotten without an update. */
  remove(names: Iterable<string>): void
}

const BACKOFF_BASE_MS = 500
const BACKOFF_CAP_MS = 30_000
const DEFAULT_FETCH_TIMEOUT_MS = 15_000

/**
 * Envoy's side of ADS (source/extensions/config_subscription/grpc, grpc_mux_impl.cc and new_grpc_mux_impl.cc): one
 * stream for all types, subscriptions, ACK and NACK, and reconnection with what is held kept. While a handler works
 * on an update, requests wait: what it subscribes to goes out as one request per type, before the update's ACK.
 */
export class AdsClient {
  private readonly options: AdsClientOptions
  private readonly types = new Map<string, ClientType>()
  private stream: ClientStream | undefined
  private retry: Timer | undefined
  private backoffMs = BACKOFF_BASE_MS
  private nodeSent = false
  private answered = false
  private busy = 0
  private flushing = false
  private closed = false

  constructor(options: AdsClientOptions) {
    this.options = options
  }

  /** Whether the control plane has answered on the present stream (`control_plane.connected_state`). */
  get connected(): boolean {
    return this.answered
  }

  /** Opens the stream. Subscriptions may be made before and after. */
  start(): void {
    if (!this.stream && !this.retry && !this.closed) this.connect()
  }

  /** Ends the stream; no handler is called any more. */
  close(): void {
    this.closed = true
    this.retry?.cancel()
    this.stream?.close()
    this.stream = undefined
    for (const type of this.types.values()) type.close()
    this.options.transport.close()
  }

  /** Subscribes to a type: to all of it (`*`), or to names, which may follow. Once per type; throws the second time. */
  subscribe(typeUrl: string, names: Iterable<string> | '*', handler: TypeHandler): Subscription {
    if (this.types.has(typeUrl)) throw new Error(`there is a subscription to ${typeUrl} already`)
    const { mode, runtime } = this.options
    const type = new ClientType(typeUrl, names === '*', handler, mode, runtime)
    this.types.set(typeUrl, type)
    if (names === '*') type.expect(['*'], this.fetchTimeoutMs)
    else this.addNames(type, names)
    this.flushSoon()
    return {
      typeUrl,
      stats: type.stats,
      held: type.held,
      add: (more) => this.addNames(type, more),
      remove: (fewer) => this.removeNames(type, fewer),
    }
  }

  private get fetchTimeoutMs(): number {
    return this.options.initialFetchTimeoutMs ?? DEFAULT_FETCH_TIMEOUT_MS
  }

  private addNames(type: ClientType, names: Iterable<string>): void {
    const fresh = [...names].filter((name) => !type.names.has(name))
    if (fresh.length === 0) return
    for (const name of fresh) type.names.add(name)
    type.expect(fresh, this.fetchTimeoutMs)
    type.dirty = true
    this.flushSoon()
  }

  private removeNames(type: ClientType, names: Iterable<string>): void {
    for (const name of names) {
      if (!type.names.delete(name)) continue
      type.held.delete(name)
      type.arrived(name)
      type.dirty = true
    }
    if (type.dirty) this.flushSoon()
  }

  private connect(): void {
    this.nodeSent = false
    const stream = this.options.transport.open(this.options.mode, {
      received: (response) => {
        if (this.stream === stream) this.received(response)
      },
      closed: (end) => {
        if (this.stream === stream) this.lost(end)
      },
    })
    this.stream = stream
    this.flush()
  }

  private lost(end: StreamEnd): void {
    this.stream = undefined
    const wasConnected = this.answered
    this.answered = false
    for (const type of this.types.values()) {
      type.streamLost()
      type.stats.updateFailure++
    }
    // Full jitter: anything up to the present bound, which then doubles.
    const delay = this.options.runtime.random() * this.backoffMs
    this.backoffMs = Math.min(BACKOFF_CAP_MS, this.backoffMs * 2)
    this.retry = this.options.runtime.after(delay, () => {
      this.retry = undefined
      this.connect()
    })
    this.options.onStreamEnd?.(end, delay)
    if (wasConnected) this.options.onState?.(false)
  }

  private received(response: AdsResponse): void {
    this.backoffMs = BACKOFF_BASE_MS
    if (!this.answered) {
      this.answered = true
      this.options.onState?.(true)
    }
    const type = this.types.get(response.typeUrl)
    // Not answered: Envoy, too, ignores what it never asked for.
    if (!type) return
    const ack: PendingAck = { nonce: response.nonce, version: versionOf(response), errors: undefined }
    type.acks.push(ack)
    this.busy++
    const verdict = this.apply(type, response, ack)
    this.busy--
    if (verdict) ack.errors = verdict
    this.flush()
  }

  /** Applies a response; the errors to answer with, or undefined when the answer is held back. */
  private apply(type: ClientType, response: AdsResponse, ack: PendingAck): readonly string[] | undefined {
    type.stats.updateAttempt++
    const { resources, removed, errors } = decodeResponse(response)
    if (errors.length) {
      for (const { name } of resources) type.arrived(name)
      type.arrived('*')
      type.handler.onUnreadable?.()
      return this.rejected(type, errors)
    }
    const changes = type.changes(response, resources, removed)
    let held = false
    const update: Update = {
      ...changes,
      hold: () => {
        held = true
        return (later = []) => {
          if (ack.errors || !type.acks.includes(ack)) return // given already, or of a stream that is gone
          ack.errors = later.length ? this.rejected(type, later) : this.accepted(type, changes.version)
          this.flush()
        }
      },
    }
    let refused: readonly string[] | undefined
    try {
      refused = type.handler.onUpdate(update)
    } catch (error) {
      refused = [error instanceof Error ? error.message : String(error)]
    }
    type.applied(changes.added, changes.removed, !!refused?.length)
    if (refused?.length) return this.rejected(type, refused)
    return held ? undefined : this.accepted(type, changes.version)
  }

  private accepted(type: ClientType, version: string): readonly string[] {
    type.stats.updateSuccess++
    type.stats.version = version
    type.stats.updateTime = this.options.runtime.wallNow()
    return []
  }

  private rejected(type: ClientType, errors: readonly string[]): readonly string[] {
    type.stats.updateRejected++
    return errors
  }

  private flushSoon(): void {
    if (this.flushing || this.busy) return
    this.flushing = true
    queueMicrotask(() => {
      this.flushing = false
      this.flush()
    })
  }

  /** Sends changed subscriptions, then the answers that are ready. */
  private flush(): void {
    if (!this.stream || this.busy) return
    for (const type of this.types.values()) {
      if (!type.dirty || (this.options.mode === 'sotw' && type.acks[0]?.errors)) continue
      const request = type.subscription()
      if (request) this.send(request)
    }
    for (const type of this.types.values()) while (type.acks[0]?.errors) this.send(type.answer(type.acks.shift()!))
  }

  private send(request: AdsRequest): void {
    if (!this.nodeSent || !this.options.setNodeOnFirstMessageOnly) request.node = this.options.node
    this.nodeSent = true
    this.stream!.send(request)
  }
}
