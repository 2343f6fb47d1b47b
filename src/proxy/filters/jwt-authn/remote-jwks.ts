import type { RemoteJwks as RemoteJwksProto } from '#gen/envoy/extensions/filters/http/jwt_authn/v3/config_pb.js'
import type { Timer } from '../../../runtime.ts'
import { ConfigError, type ProxyContext } from '../../context.ts'
import { durationMs } from '../../http/config.ts'
import { ownRetryPolicy } from '../../http/own-request-config.ts'
import type { Jwks } from './jwks.ts'
import { JwksFetch, type JwksSource } from './jwks-fetch.ts'
import type { JwtStats } from './stats.ts'

const DEFAULT_CACHE_MS = 600_000
/** Keys are fetched anew that long before they are too old. */
const REFETCH_BEFORE_MS = 5000
const DEFAULT_FAILED_REFETCH_MS = 1000
/** Keys are fetched again whatever has gone wrong, and whatever the config says (source/extensions/filters/http/common/jwks_fetcher.cc). */
const RETRY_ON = '5xx,gateway-error,connect-failure,reset'

/** What fetching keys needs of its surroundings. */
export interface RemoteJwksContext {
  readonly proxy: ProxyContext
  readonly stats: JwtStats
}

/**
 * Keys that are fetched over HTTP: for a request that needs them, or, with `async_fetch`, beforehand and again and again
 * (source/extensions/filters/http/jwt_authn/jwks_async_fetcher.cc). Times in ms.
 */
export class RemoteJwks {
  private readonly source: JwksSource
  private readonly stats: JwtStats
  private readonly cacheFor: number
  /** When to try again after a failure; undefined: keys are fetched for requests only. */
  private readonly failedRefetch: number | undefined
  private readonly fastListener: boolean
  private jwks: Jwks | undefined = undefined
  private expires = 0
  private background: JwksFetch | undefined = undefined
  private timer: Timer | undefined = undefined
  private closed = false

  /** Throws ConfigError. */
  constructor(provider: string, config: RemoteJwksProto, { proxy, stats }: RemoteJwksContext) {
    const uri = config.httpUri?.uri ?? ''
    const parts = /^([a-z][a-z0-9+.-]*):\/\/([^/\s]+)(\S*)$/i.exec(uri)
    if (parts === null) throw new ConfigError([`Provider '${provider}' has an invalid URI: '${uri}'`])
    this.stats = stats
    this.source = {
      proxy,
      cluster: config.httpUri?.httpUpstreamType.value ?? '',
      scheme: parts[1]!.toLowerCase(),
      host: parts[2]!,
      path: parts[3] === '' ? '/' : parts[3]!,
      timeout: durationMs(config.httpUri?.timeout) ?? 0,
      retries: ownRetryPolicy(config.retryPolicy, RETRY_ON),
    }
    this.cacheFor = Math.floor((durationMs(config.cacheDuration) ?? DEFAULT_CACHE_MS) / 1000) * 1000
    const { asyncFetch } = config
    this.failedRefetch = asyncFetch && (durationMs(asyncFetch.failedRefetchDuration) ?? DEFAULT_FAILED_REFETCH_MS)
    this.fastListener = asyncFetch?.fastListener ?? false
  }

  private get now(): number {
    return this.source.proxy.runtime.now()
  }

  /** The keys that were fetched last, however old. */
  get latest(): Jwks | undefined {
    return this.jwks
  }

  /** The same, unless they are too old. */
  get current(): Jwks | undefined {
    return this.now < this.expires ? this.jwks : undefined
  }

  /** Fetches the keys for a request that waits; `done` is told whether there are any, maybe before this returns. */
  fetch(done: (fetched: boolean) => void): { cancel(): void } {
    const fetch = new JwksFetch(this.source, (jwks) => {
      if (jwks !== undefined) {
        this.jwks = jwks
        this.expires = this.now + this.cacheFor
      }
      done(jwks !== undefined)
    })
    fetch.start()
    return fetch
  }

  /** Begins to fetch ahead where that is wanted. `ready` is called once listeners need not wait for it any more. */
  start(ready: () => void): void {
    if (this.failedRefetch === undefined || this.fastListener) ready()
    if (this.failedRefetch !== undefined) this.refresh(this.fastListener ? undefined : ready)
  }

  /** Ends fetching ahead. */
  close(): void {
    this.closed = true
    this.timer?.cancel()
    this.background?.cancel()
  }

  private refresh(ready: (() => void) | undefined): void {
    if (this.closed) return
    this.background = new JwksFetch(this.source, (jwks) => {
      if (jwks !== undefined) {
        this.jwks = jwks
        // The next fetch replaces them; until then they are better than none.
        this.expires = Infinity
      }
      this.stats[jwks === undefined ? 'fetchFailed' : 'fetchSuccess'].inc()
      ready?.()
      const ahead = this.cacheFor > REFETCH_BEFORE_MS ? this.cacheFor - REFETCH_BEFORE_MS : this.cacheFor
      const delay = jwks === undefined ? this.failedRefetch! : ahead
      this.timer = this.source.proxy.runtime.after(delay, () => this.refresh(undefined))
    })
    this.background.start()
  }
}
