import type { DeltaDiscoveryResponse, DiscoveryResponse } from '#gen/envoy/service/discovery/v3/discovery_pb.js'
import type { Runtime, Timer } from '../runtime.ts'
import type { ReceivedResource } from './client-decode.ts'
import { make } from './messages.ts'
import { isWholeState } from './resource-types.ts'
import type { AdsMode, AdsRequest, AdsResponse } from './stream.ts'

/** What has come for one type. */
export interface Update {
  /** New and changed resources, unpacked and valid. Do not change them: the sender may hold the same objects. */
  readonly added: readonly ReceivedResource[]
  /** Names of resources that are no more, or that were asked for and do not exist. */
  readonly removed: readonly string[]
  /** The version of the whole response. */
  readonly version: string
  /**
   * Keeps the answer back until the function it returns is called (with errors: NACK). Later answers of the type wait
   * too. What `onUpdate` returns does not count then.
   */
  hold(): (errors?: readonly string[]) => void
}

/** What is done with the updates of a type. */
export interface TypeHandler {
  /**
   * Applies an update. Errors that it returns make a NACK with these words; what could be applied may have been.
   * Throwing does the same.
   */
  onUpdate(update: Update): readonly string[] | undefined
  /** Nothing came for these names (`*` for a wildcard) within the initial fetch timeout. */
  onFetchTimeout?(names: readonly string[]): void
  /** A response could not be read at all, and was refused: who waits for what was in it waits in vain. */
  onUnreadable?(): void
}

/** Counters of one type, as in Envoy's `cluster_manager.cds.*` and its like. */
export interface TypeStats {
  updateAttempt: number
  updateSuccess: number
  updateRejected: number
  updateFailure: number
  initFetchTimeout: number
  /** The version that was last accepted. */
  version: string
  /** When it was: wall-clock milliseconds, 0 for never. */
  updateTime: number
}

/** An answer to a response that waits for its turn. */
export interface PendingAck {
  readonly nonce: string
  readonly version: string
  /** Undefined while held. */
  errors: readonly string[] | undefined
}

/** The subscription to one type: names, what is held, nonces. It makes the requests; the client sends them. */
export class ClientType {
  readonly typeUrl: string
  readonly handler: TypeHandler
  readonly wildcard: boolean
  readonly names = new Set<string>()
  readonly stats: TypeStats
  readonly acks: PendingAck[] = []
  /** Versions of what is held, by name. */
  readonly held = new Map<string, string>()
  /** Whether the subscription has changed since the last request. */
  dirty = true
  private readonly mode: AdsMode
  private readonly runtime: Runtime
  private started = false
  /** The version accepted last, and the nonce answered last: a state-of-the-world request repeats both. */
  private version = ''
  private nonce = ''
  private told = new Set<string>()
  private readonly fetching = new Map<string, Timer>()

  constructor(typeUrl: string, wildcard: boolean, handler: TypeHandler, mode: AdsMode, runtime: Runtime) {
    this.typeUrl = typeUrl
    this.wildcard = wildcard
    this.handler = handler
    this.mode = mode
    this.runtime = runtime
    this.stats = {
      updateAttempt: 0,
      updateSuccess: 0,
      updateRejected: 0,
      updateFailure: 0,
      initFetchTimeout: 0,
      version: '',
      updateTime: 0,
    }
  }

  /** Forgets what belonged to a stream. What is held and its version are kept, and told to the next stream. */
  streamLost(): void {
    this.started = false
    this.nonce = ''
    this.told = new Set()
    this.acks.length = 0
    this.dirty = true
  }

  /** Starts the initial fetch timeout for names (or `*`). */
  expect(names: readonly string[], timeoutMs: number): void {
    if (timeoutMs <= 0) return
    const missing = new Set(names)
    const timer = this.runtime.after(timeoutMs, () => {
      const late = [...missing].filter((name) => this.fetching.get(name) === timer)
      for (const name of late) this.fetching.delete(name)
      if (late.length === 0) return
      this.stats.initFetchTimeout++
      this.handler.onFetchTimeout?.(late)
    })
    for (const name of names) this.fetching.set(name, timer)
  }

  /** A name has come, or is no longer waited for. */
  arrived(name: string): void {
    this.fetching.delete(name)
  }

  /** Stops waiting for anything. */
  close(): void {
    for (const timer of new Set(this.fetching.values())) timer.cancel()
    this.fetching.clear()
  }

  /** The request that tells the server of the subscription; undefined when there is nothing to tell. */
  subscription(): AdsRequest | undefined {
    this.dirty = false
    if (!this.started && !this.wildcard && this.names.size === 0) return undefined
    return this.mode === 'delta' ? this.deltaSubscription() : this.sotwRequest(undefined)
  }

  /** The request that answers a response. */
  answer(ack: PendingAck): AdsRequest {
    const refused = ack.errors?.length ? ack.errors.join('\n') : undefined
    if (!refused) this.version = ack.version
    this.nonce = ack.nonce
    if (this.mode === 'sotw') {
      this.dirty = false // the names go along
      return this.sotwRequest(refused)
    }
    return make('envoy.service.discovery.v3.DeltaDiscoveryRequest', {
      typeUrl: this.typeUrl,
      responseNonce: ack.nonce,
      errorDetail: refused === undefined ? undefined : { code: INTERNAL, message: refused },
    })
  }

  /** The update in a response whose resources are decoded. */
  changes(response: AdsResponse, resources: readonly ReceivedResource[], removed: readonly string[]) {
    const version = versionOf(response)
    // A server may send what nobody asked for any more: it does not count.
    const wanted = (name: string) => this.wildcard || this.names.has(name)
    const added = resources.filter(({ name }) => wanted(name))
    const gone = removed.filter(wanted)
    if (this.mode === 'sotw' && isWholeState(this.typeUrl)) {
      const present = new Set(added.map(({ name }) => name))
      for (const name of this.held.keys()) if (!present.has(name)) gone.push(name)
      for (const name of this.names) if (!present.has(name) && !this.held.has(name)) gone.push(name)
    }
    return { added, removed: gone, version }
  }

  /**
   * Notes what is held now. Of an update that was refused in part it is unknown which resources are in use: they are
   * held, so that they can be removed, but under no version, so that they are sent again.
   */
  applied(added: readonly ReceivedResource[], removed: readonly string[], refused: boolean): void {
    for (const { name, version } of added) {
      if (!refused) this.held.set(name, version)
      else if (!this.held.has(name)) this.held.set(name, '')
      this.arrived(name)
    }
    for (const name of removed) {
      this.held.delete(name)
      this.arrived(name)
    }
    if (this.wildcard) this.arrived('*')
  }

  private sotwRequest(refused: string | undefined): AdsRequest {
    this.started = true
    return make('envoy.service.discovery.v3.DiscoveryRequest', {
      typeUrl: this.typeUrl,
      versionInfo: this.version,
      responseNonce: this.nonce,
      resourceNames: this.wildcard ? [] : [...this.names],
      errorDetail: refused === undefined ? undefined : { code: INTERNAL, message: refused },
    })
  }

  private deltaSubscription(): AdsRequest | undefined {
    const subscribe = [...this.names].filter((name) => !this.told.has(name))
    const unsubscribe = [...this.told].filter((name) => !this.names.has(name))
    const first = !this.started
    this.started = true
    this.told = new Set(this.names)
    if (!first && subscribe.length === 0 && unsubscribe.length === 0) return undefined
    return make('envoy.service.discovery.v3.DeltaDiscoveryRequest', {
      typeUrl: this.typeUrl,
      resourceNamesSubscribe: subscribe,
      resourceNamesUnsubscribe: unsubscribe,
      initialResourceVersions: first ? Object.fromEntries(this.held) : {},
    })
  }
}

/** The version of a whole response. */
export function versionOf(response: AdsResponse): string {
  return response.$typeName === 'envoy.service.discovery.v3.DeltaDiscoveryResponse'
    ? (response as DeltaDiscoveryResponse).systemVersionInfo
    : (response as DiscoveryResponse).versionInfo
}

const INTERNAL = 13
