import type { Node } from '#gen/envoy/config/core/v3/base_pb.js'
import type { Runtime, Timer } from '../runtime.ts'
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, PUSH_ORDER, ROUTE_TYPE } from './resource-types.ts'
import { DeltaSubscription, type Nack, type ServerSubscription, SotwSubscription } from './server-subscription.ts'
import { NO_RESOURCES, type Snapshot } from './snapshot.ts'
import type { AdsMode, AdsRequest, ServerStream, StreamEnd } from './stream.ts'

/** How long after connecting a client may take to ask for listeners before it counts as one that has none. */
const GRACE_MS = 1000

/** How long listeners and routes wait, at most, for the clusters that were sent before them. */
const WARMING_MS = 1000

const REFERRING = [LISTENER_TYPE, ROUTE_TYPE]

/** What is known of one type at one client, for `proxy-status` and `/debug/syncz`. */
export interface SubscriptionStatus {
  readonly typeUrl: string
  /** The names asked for; `*` when everything is. */
  readonly names: readonly string[]
  readonly sentVersion: string
  readonly sentNonce: string
  /** Wall-clock milliseconds; 0 when nothing was sent. */
  readonly sentAt: number
  readonly ackedVersion: string
  readonly ackedNonce: string
  /** The latest refusal that no acceptance has followed. */
  readonly nack: Nack | undefined
  /** How many resources the client was given. */
  readonly resources: number
}

/** What a connection tells the server of. */
export interface ConnectionEvents {
  /** What the client asks for of a type has changed. */
  subscribed(connection: AdsConnection, typeUrl: string): void
  nacked(connection: AdsConnection, typeUrl: string, nack: Nack): void
  /** A type that no snapshot has. */
  unknownType(typeUrl: string): void
}

/**
 * One client of the ADS server. Its owner pushes snapshots; the connection works out what the client lacks and sends
 * it in push order, and so that no route in use ever points at nothing: changed listeners and routes wait for the
 * answer to new clusters, which Envoy gives when they are warm; removals of clusters and endpoints wait until the
 * listeners and routes of the same push are accepted.
 */
export class AdsConnection {
  /** The node's id and a counter, as istiod names connections. */
  readonly id: string
  readonly node: Node
  readonly peer: string
  /** Who the client has proved to be; undefined where nobody is asked to. */
  readonly identities: readonly string[] | undefined
  readonly mode: AdsMode
  /** Wall-clock milliseconds. */
  readonly connectedAt: number
  private readonly stream: ServerStream
  private readonly runtime: Runtime
  private readonly events: ConnectionEvents
  private readonly subscriptions = new Map<string, ServerSubscription>()
  /** Types whose client waits for an answer. */
  private readonly waiting = new Set<string>()
  private snapshot: Snapshot | undefined
  private readonly acceptedAt: number
  private graceTimer: Timer | undefined
  private congested = false
  /** Set while listeners and routes wait for clusters to warm. */
  private warming: Timer | undefined
  /** The response of clusters that it is no longer waited for. */
  private notWaitedFor: string | undefined
  private nonces = 0

  constructor(id: string, node: Node, stream: ServerStream, runtime: Runtime, events: ConnectionEvents) {
    this.id = id
    this.node = node
    this.peer = stream.peer
    this.identities = stream.identities
    this.mode = stream.mode
    this.connectedAt = runtime.wallNow()
    this.acceptedAt = runtime.now()
    this.stream = stream
    this.runtime = runtime
    this.events = events
  }

  /**
   * Makes a snapshot the one to serve, and sends what has changed. With `changed`, only those types are compared:
   * for an owner who knows that the others are the same.
   */
  push(snapshot: Snapshot, changed?: Iterable<string>): void {
    this.snapshot = snapshot
    this.flush(changed ? new Set(changed) : undefined)
  }

  /** The names that the client asks for of a type; `*` for everything, undefined when it does not ask at all. */
  watched(typeUrl: string): ReadonlySet<string> | '*' | undefined {
    const subscription = this.subscriptions.get(typeUrl)
    return subscription?.wildcard ? '*' : subscription?.names
  }

  /** What was sent, accepted and refused, in push order. */
  status(): SubscriptionStatus[] {
    return this.inOrder().map((s) => ({
      typeUrl: s.typeUrl,
      names: s.wildcard ? ['*', ...s.names] : [...s.names],
      sentVersion: s.sentVersion,
      sentNonce: s.sentNonce,
      sentAt: s.sentAt,
      ackedVersion: s.ackedVersion,
      ackedNonce: s.ackedNonce,
      nack: s.nack,
      resources: s.size,
    }))
  }

  /** Whether the client has accepted everything that it was sent. */
  get synced(): boolean {
    return this.snapshot !== undefined && this.inOrder().every((s) => s.settled)
  }

  /** Whether the client has answered, one way or the other, for all there is of a type that it asked for. */
  answered(typeUrl: string): boolean {
    const subscription = this.subscriptions.get(typeUrl)
    return subscription === undefined || (!subscription.pending && !this.congested && !this.waiting.has(typeUrl))
  }

  /** Ends the stream. */
  disconnect(reason: StreamEnd): void {
    this.stream.end(reason)
  }

  /** A request came in. */
  received(request: AdsRequest): void {
    const { typeUrl } = request
    let subscription = this.subscriptions.get(typeUrl)
    if (!subscription) {
      if (this.snapshot && !this.serves(typeUrl)) {
        this.events.unknownType(typeUrl)
        return
      }
      subscription = this.mode === 'delta' ? new DeltaSubscription(typeUrl) : new SotwSubscription(typeUrl)
      this.subscriptions.set(typeUrl, subscription)
    }
    const { wants, outcome } = subscription.read(request, this.runtime.wallNow())
    if (outcome === 'nack') this.events.nacked(this, typeUrl, subscription.nack!)
    if (wants) {
      this.waiting.add(typeUrl)
      this.events.subscribed(this, typeUrl) // may push, which answers
      if (this.waiting.has(typeUrl)) this.flush(new Set([typeUrl]))
    } else if (outcome === 'ack') this.settle()
    if (outcome && typeUrl === CLUSTER_TYPE && !subscription.pending) this.warm()
  }

  /** The client is gone. */
  closed(): void {
    this.graceTimer?.cancel()
    this.warming?.cancel()
    this.warming = undefined
    this.snapshot = undefined
  }

  /** The client reads again. */
  drained(): void {
    this.congested = false
    this.flush(undefined)
  }

  private flush(types: ReadonlySet<string> | undefined): void {
    if (!this.snapshot) return
    for (const subscription of this.inOrder()) {
      const { typeUrl } = subscription
      const waits = this.waiting.has(typeUrl)
      if (types && !types.has(typeUrl) && !waits) continue
      if (!waits && REFERRING.includes(typeUrl) && this.clustersPending) {
        this.warming ??= this.runtime.after(WARMING_MS, () => {
          this.notWaitedFor = this.subscriptions.get(CLUSTER_TYPE)?.sentNonce
          this.warm()
        })
        continue
      }
      this.answer(subscription, typeUrl !== CLUSTER_TYPE && typeUrl !== ENDPOINT_TYPE)
    }
    this.settle()
  }

  /** The clusters are warm, or it was waited long enough: on with what refers to them. */
  private warm(): void {
    if (!this.warming) return
    this.warming.cancel()
    this.warming = undefined
    if (!this.snapshot) return
    for (const typeUrl of REFERRING) {
      const subscription = this.subscriptions.get(typeUrl)
      if (subscription) this.answer(subscription, true)
    }
    this.settle()
  }

  /** Takes away the clusters and endpoints that are gone, once nothing that the client uses refers to them. */
  private settle(): void {
    if (!this.snapshot || this.warming) return
    // A reconnecting client may hold listeners that it is only about to tell of.
    const grace = GRACE_MS - (this.runtime.now() - this.acceptedAt)
    if (grace > 0 && !this.subscriptions.has(LISTENER_TYPE)) {
      this.graceTimer ??= this.runtime.after(grace, () => this.settle())
      return
    }
    for (const dependent of REFERRING) if (this.subscriptions.get(dependent)?.settled === false) return
    for (const typeUrl of [CLUSTER_TYPE, ENDPOINT_TYPE]) {
      const subscription = this.subscriptions.get(typeUrl)
      if (subscription) this.answer(subscription, true)
    }
  }

  private serves(typeUrl: string): boolean {
    return PUSH_ORDER.includes(typeUrl) || this.snapshot?.types.has(typeUrl) === true
  }

  /** Whether the client has yet to answer for clusters, and has not been waited for long enough. */
  private get clustersPending(): boolean {
    const clusters = this.subscriptions.get(CLUSTER_TYPE)
    return clusters?.pending === true && clusters.sentNonce !== this.notWaitedFor
  }

  private answer(subscription: ServerSubscription, removing: boolean): void {
    if (this.congested) return
    const { typeUrl } = subscription
    if (!this.serves(typeUrl)) {
      this.subscriptions.delete(typeUrl)
      this.waiting.delete(typeUrl)
      this.events.unknownType(typeUrl)
      return
    }
    const { version, types } = this.snapshot!
    const nonce = `${this.nonces + 1}`
    const asked = this.waiting.delete(typeUrl)
    const response = subscription.answer(types.get(typeUrl) ?? NO_RESOURCES, { nonce, version, asked, removing })
    if (!response) return
    this.nonces++
    subscription.sentAt = this.runtime.wallNow()
    this.congested = !this.stream.send(response)
  }

  private inOrder(): ServerSubscription[] {
    const rank = (s: ServerSubscription) => {
      const at = PUSH_ORDER.indexOf(s.typeUrl)
      return at < 0 ? PUSH_ORDER.length : at
    }
    return [...this.subscriptions.values()].sort((a, b) => rank(a) - rank(b))
  }
}
