import type { ConfigSource } from '#gen/envoy/config/core/v3/config_source_pb.js'
import type { TypedExtensionConfig } from '#gen/envoy/config/core/v3/extension_pb.js'
import type { Runtime } from '../../runtime.ts'
import { ConfigError } from '../context.ts'
import { durationMs } from '../http/config.ts'
import type { StatsStore } from '../observe/stats.ts'
import { checkFile, type FilePlace, filePlace, followFile } from './file-source.ts'
import type { ExtensionHold, ExtensionKind, ExtensionSource, ExtensionUser } from './source.ts'
import { ExtensionSubscription } from './subscription.ts'

/** What all subscriptions of a proxy are made with. */
export interface ExtensionSubscriptionsOptions {
  readonly runtime: Runtime
  readonly stats: StatsStore
  /** Takes a line for the proxy's log. */
  readonly log: (line: string) => void
}

/** ms that Envoy waits for the first config of a source that says nothing (source/common/config/utility.cc). */
const INITIAL_FETCH_TIMEOUT_MS = 15_000

/**
 * The extension configs that a proxy's listeners ask for: by name over ADS, or each from a file that is read again when it
 * is replaced (source/common/filter/config_discovery_impl.cc, FilterConfigProviderManagerImplBase).
 */
export class ExtensionSubscriptions implements ExtensionSource {
  private readonly options: ExtensionSubscriptionsOptions
  /** By kind, source and name. */
  private readonly all = new Map<string, ExtensionSubscription>()
  private readonly overAds = new Map<string, Set<ExtensionSubscription>>()
  private readonly files = new Set<() => void>()
  /** Kinds that something has ever been subscribed to. */
  private readonly used = new Set<ExtensionKind>()
  /** Told when a name is first needed over ADS, and when nobody needs it any more. */
  onWanted: ((name: string, wanted: boolean) => void) | undefined

  constructor(options: ExtensionSubscriptionsOptions) {
    this.options = options
  }

  /** The names that are asked for over ADS. */
  get wanted(): readonly string[] {
    return [...this.overAds.keys()]
  }

  subscribe(kind: ExtensionKind, name: string, source: ConfigSource, at: string, user: ExtensionUser): ExtensionHold {
    const place = placeOf(source, at)
    const initialFetchTimeout = durationMs(source.initialFetchTimeout) ?? INITIAL_FETCH_TIMEOUT_MS
    const way = place === 'ads' ? place : `${place.path} ${place.watched ?? ''}`
    const key = JSON.stringify([kind, way, initialFetchTimeout, name])
    this.used.add(kind)
    const known = this.all.get(key)
    if (known) return known.hold(user)
    let stop = (): void => {}
    const { runtime, stats, log } = this.options
    const subscription = new ExtensionSubscription({
      kind,
      name,
      runtime,
      stats,
      initialFetchTimeout,
      onUnused: () => {
        this.all.delete(key)
        stop()
      },
    })
    this.all.set(key, subscription)
    const hold = subscription.hold(user)
    if (place === 'ads') stop = this.askAds(subscription)
    else {
      const end = followFile(place, subscription, log)
      this.files.add(end)
      stop = () => {
        this.files.delete(end)
        end()
      }
    }
    return hold
  }

  private askAds(subscription: ExtensionSubscription): () => void {
    const { name } = subscription
    let sharing = this.overAds.get(name)
    const first = sharing === undefined
    if (!sharing) {
      sharing = new Set()
      this.overAds.set(name, sharing)
    }
    sharing.add(subscription)
    subscription.attempted()
    if (first) this.onWanted?.(name, true)
    else this.copyLast(sharing, subscription)
    const all = sharing
    return () => {
      if (!all.delete(subscription) || all.size > 0) return
      this.overAds.delete(name)
      this.onWanted?.(name, false)
    }
  }

  /** A name that is asked for already is not sent again: what came for others is what there is. */
  private copyLast(sharing: ReadonlySet<ExtensionSubscription>, subscription: ExtensionSubscription): void {
    for (const { current } of sharing) {
      if (!current) continue
      try {
        const { any, version } = current
        subscription.set({ name: subscription.name, typedConfig: any } as TypedExtensionConfig, version)
      } catch {
        // It fits the others of that name; this one goes on with what it has, and counts it.
        subscription.rejected()
      }
      return
    }
  }

  /** Takes a resource that came over ADS. Throws when a user of it refuses it; the last good one stays then. */
  set(config: TypedExtensionConfig, version: string): void {
    const errors = new Set<string>()
    for (const subscription of [...(this.overAds.get(config.name) ?? [])]) {
      subscription.attempted()
      try {
        subscription.set(config, version)
      } catch (error) {
        errors.add(error instanceof Error ? error.message : String(error))
      }
    }
    if (errors.size > 0) throw new ConfigError([...errors])
  }

  /** A resource that came over ADS is no more, or does not exist. */
  remove(name: string): void {
    for (const subscription of [...(this.overAds.get(name) ?? [])]) {
      subscription.attempted()
      subscription.remove()
    }
  }

  /** A response was refused, or could not be read: Envoy tells all that may have been in it. */
  rejected(): void {
    for (const sharing of [...this.overAds.values()]) {
      for (const subscription of [...sharing]) {
        subscription.attempted()
        subscription.rejected()
      }
    }
  }

  /** Kinds that something has ever been subscribed to, with the configs in force, for admin. */
  dump(): {
    kind: ExtensionKind
    configs: { name: string; config: NonNullable<ExtensionSubscription['current']> }[]
  }[] {
    return KINDS.filter((kind) => this.used.has(kind)).map((kind) => ({
      kind,
      configs: [...this.all.values()].flatMap((subscription) =>
        subscription.kind === kind && subscription.current
          ? [{ name: subscription.name, config: subscription.current }]
          : [],
      ),
    }))
  }

  /** Ends the following of files. */
  close(): void {
    for (const end of [...this.files]) end()
    this.files.clear()
  }
}

/** In the order in which Envoy shows them. */
const KINDS: readonly ExtensionKind[] = ['http_filter', 'network_filter', 'tcp_listener_filter']

function placeOf({ configSourceSpecifier: source }: ConfigSource, at: string): 'ads' | FilePlace {
  switch (source.case) {
    case 'ads':
      return 'ads'
    case 'path':
    case 'pathConfigSource': {
      const place = filePlace(source.value)
      checkFile(place, at)
      return place
    }
    default:
      throw new ConfigError([`${at}: only ads and path_config_source are supported`])
  }
}
