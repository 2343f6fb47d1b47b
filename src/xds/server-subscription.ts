import type { DeltaDiscoveryRequest, DiscoveryRequest, Resource } from '#gen/envoy/service/discovery/v3/discovery_pb.js'
import { make } from './messages.ts'
import { isNamedOnly, isNeverRemoved, isWholeState } from './resource-types.ts'
import type { Resources, VersionedResource } from './snapshot.ts'
import type { AdsRequest, AdsResponse } from './stream.ts'

/** A response that the client refused. */
export interface Nack {
  /** The snapshot version that was refused. */
  readonly version: string
  readonly nonce: string
  /** The client's words. */
  readonly message: string
  /** Wall-clock milliseconds. */
  readonly at: number
}

/** What a request turned out to be. */
export interface Reading {
  /** Whether the client now waits for a response. */
  readonly wants: boolean
  readonly outcome: 'ack' | 'nack' | undefined
}

/** How a response is to be made. */
export interface Answering {
  readonly nonce: string
  /** The snapshot's version. */
  readonly version: string
  /** Answer even when nothing has changed, because the client asked. */
  readonly asked: boolean
  /** Whether resources that are gone may be taken away now; otherwise they stay until a later response. */
  readonly removing: boolean
}

/** What one client asked for of one type, and what it has. */
export abstract class ServerSubscription {
  readonly typeUrl: string
  wildcard = false
  readonly names = new Set<string>()
  sentNonce = ''
  sentVersion = ''
  sentAt = 0
  ackedNonce = ''
  ackedVersion = ''
  /** The latest refusal; cleared by the next acceptance. */
  nack: Nack | undefined
  /** Snapshot versions of the responses that are not answered yet, by nonce. */
  protected readonly unanswered = new Map<string, string>()

  constructor(typeUrl: string) {
    this.typeUrl = typeUrl
  }

  /** Whether the client has taken everything that was sent. */
  get settled(): boolean {
    return this.unanswered.size === 0 && this.nack === undefined
  }

  /** Whether a response waits for its answer. */
  get pending(): boolean {
    return this.unanswered.size > 0
  }

  /** How many resources the client has. */
  abstract get size(): number

  abstract read(request: AdsRequest, now: number): Reading

  /** The response that brings the client from what it has to `resources`; undefined when it has them. */
  abstract answer(resources: Resources, how: Answering): AdsResponse | undefined

  protected wants(name: string): boolean {
    return this.wildcard || this.names.has(name)
  }

  protected sent(how: Answering): void {
    this.sentNonce = how.nonce
    this.sentVersion = how.version
    this.unanswered.set(how.nonce, how.version)
  }

  /** Takes note of an ACK or NACK; undefined when the nonce is of no response that waits for one. */
  protected settle(nonce: string, error: { message: string } | undefined, now: number): 'ack' | 'nack' | undefined {
    const version = this.unanswered.get(nonce)
    if (version === undefined) return undefined
    this.unanswered.delete(nonce)
    if (error) {
      this.nack = { version, nonce, message: error.message, at: now }
      return 'nack'
    }
    this.ackedNonce = nonce
    this.ackedVersion = version
    this.nack = undefined
    return 'ack'
  }
}

/** The state-of-the-world variant. */
export class SotwSubscription extends ServerSubscription {
  private started = false
  private held: Map<string, VersionedResource> = new Map()

  get size(): number {
    return this.held.size
  }

  read(request: AdsRequest, now: number): Reading {
    const { resourceNames, responseNonce, errorDetail } = request as DiscoveryRequest
    if (!this.started) {
      this.started = true
      this.subscribe(resourceNames)
      return { wants: true, outcome: undefined }
    }
    // An answer to anything but the latest response is outdated: the client will answer the latest too.
    if (responseNonce !== this.sentNonce) return { wants: false, outcome: undefined }
    const outcome = this.settle(responseNonce, errorDetail, now)
    for (const nonce of this.unanswered.keys()) if (nonce !== responseNonce) this.unanswered.delete(nonce)
    const added = this.subscribe(resourceNames)
    // The same request again, after its answer was taken: Envoy does so for a cluster that warms anew, and waits.
    const again = outcome === undefined && errorDetail === undefined && resourceNames.length > 0
    return { wants: added || again, outcome }
  }

  answer(resources: Resources, how: Answering): AdsResponse | undefined {
    const wanted = new Map<string, VersionedResource>()
    if (this.wildcard) for (const [name, resource] of resources) wanted.set(name, resource)
    else
      for (const name of this.names) {
        const resource = resources.get(name)
        if (resource) wanted.set(name, resource)
      }
    let due = how.asked
    for (const [name, resource] of wanted) if (this.held.get(name)?.version !== resource.version) due = true
    if (isWholeState(this.typeUrl)) {
      for (const [name, resource] of this.held) {
        if (wanted.has(name)) continue
        if (how.removing) due = true
        else wanted.set(name, resource)
      }
    } else if (wanted.size === 0) {
      // An empty response would not say that a name does not exist, but Envoy would take it for an answer.
      this.held = wanted
      return undefined
    }
    if (!due) {
      this.held = wanted
      return undefined
    }
    this.held = wanted
    this.sent(how)
    return make('envoy.service.discovery.v3.DiscoveryResponse', {
      versionInfo: how.version,
      typeUrl: this.typeUrl,
      nonce: how.nonce,
      resources: Array.from(wanted.values(), ({ resource }) => resource),
    })
  }

  /** Takes a list of names; true when it has a new one. */
  private subscribe(list: readonly string[]): boolean {
    const wildcard = list.includes('*') || (list.length === 0 && !isNamedOnly(this.typeUrl) && this.names.size === 0)
    let added = wildcard && !this.wildcard
    this.wildcard = wildcard
    const names = new Set(list)
    names.delete('*')
    for (const name of names) if (!this.names.has(name)) added = true
    for (const name of this.names) if (!names.has(name)) this.names.delete(name)
    for (const name of names) this.names.add(name)
    return added
  }
}

/** The incremental variant. */
export class DeltaSubscription extends ServerSubscription {
  private started = false
  private readonly held = new Map<string, string>()
  /** Names asked for since the last response: for each the client waits for the resource, or word that there is none. */
  private readonly asked = new Set<string>()

  get size(): number {
    return this.held.size
  }

  read(request: AdsRequest, now: number): Reading {
    const { resourceNamesSubscribe, resourceNamesUnsubscribe, initialResourceVersions, responseNonce, errorDetail } =
      request as DeltaDiscoveryRequest
    const first = !this.started
    this.started = true
    if (first) {
      for (const [name, version] of Object.entries(initialResourceVersions)) this.held.set(name, version)
      // A first request without names means everything.
      this.wildcard = resourceNamesSubscribe.length === 0
    }
    for (const name of resourceNamesUnsubscribe) {
      if (name === '*') this.wildcard = false
      else this.names.delete(name)
      this.asked.delete(name)
    }
    if (resourceNamesUnsubscribe.length) {
      for (const name of this.held.keys()) if (!this.wants(name)) this.held.delete(name)
    }
    for (const name of resourceNamesSubscribe) {
      if (name === '*') this.wildcard = true
      else {
        this.names.add(name)
        this.asked.add(name)
        // A name that is subscribed to again is sent again; what a reconnecting client still has, is not.
        if (!first) this.held.delete(name)
      }
    }
    const outcome = responseNonce ? this.settle(responseNonce, errorDetail, now) : undefined
    return { wants: first || resourceNamesSubscribe.length > 0, outcome }
  }

  answer(resources: Resources, how: Answering): AdsResponse | undefined {
    const changed: Resource[] = []
    const add = (name: string, { version, resource }: VersionedResource) => {
      this.asked.delete(name)
      if (this.held.get(name) === version) return
      this.held.set(name, version)
      changed.push(make('envoy.service.discovery.v3.Resource', { name, version, resource }))
    }
    if (this.wildcard) for (const [name, resource] of resources) add(name, resource)
    for (const name of this.names) {
      const resource = resources.get(name)
      if (resource) add(name, resource)
    }
    const removed = new Set<string>()
    const kept = isNeverRemoved(this.typeUrl)
    if (how.removing && !kept)
      for (const name of this.held.keys())
        if (!resources.has(name)) {
          removed.add(name)
          this.held.delete(name)
        }
    if (!kept) for (const name of this.asked) if (!this.held.has(name)) removed.add(name)
    this.asked.clear()
    if (changed.length === 0 && removed.size === 0 && !how.asked) return undefined
    this.sent(how)
    return make('envoy.service.discovery.v3.DeltaDiscoveryResponse', {
      systemVersionInfo: how.version,
      typeUrl: this.typeUrl,
      nonce: how.nonce,
      resources: changed,
      removedResources: [...removed],
    })
  }
}
