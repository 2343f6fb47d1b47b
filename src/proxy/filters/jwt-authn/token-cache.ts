import type { JwtCacheConfig } from '#gen/envoy/extensions/filters/http/jwt_authn/v3/config_pb.js'
import type { Jwks } from './jwks.ts'
import { STATUS } from './status.ts'
import { type Token, timeStatus } from './token.ts'

const DEFAULT_ENTRIES = 100
const DEFAULT_TOKEN_SIZE = 4096
/** Seconds; whatever the provider's own clock skew is, as in Envoy. */
const CLOCK_SKEW = 60

interface Entry {
  readonly token: Token
  /** The keys whose one has signed it. */
  readonly jwks: Jwks
}

/**
 * Tokens of one provider whose signature was verified, the least recently used one gone first
 * (source/extensions/filters/http/jwt_authn/jwt_cache.cc). Times and audiences are checked again for every request.
 *
 * Two things in one: with `jwt_cache_config` the cache that Envoy has, which a change of keys does not touch; without, a
 * memory that nobody can tell from verifying again, since it only knows what the same keys have said of the same bytes.
 */
export class TokenCache {
  /** Envoy's: hits are counted, and keys that were replaced do not matter. */
  readonly configured: boolean
  private readonly limit: number
  private readonly maxSize: number
  private readonly entries = new Map<string, Entry>()
  /** The one that was used last: it need not be put at the end again. */
  private latest: Entry | undefined = undefined

  constructor(config: JwtCacheConfig | undefined) {
    this.configured = config !== undefined
    this.limit = config?.jwtCacheSize || DEFAULT_ENTRIES
    this.maxSize = config?.jwtMaxTokenSize || DEFAULT_TOKEN_SIZE
  }

  /** The token of this text; undefined when it is not known, or has expired at `now`, in seconds. */
  lookup(text: string, jwks: Jwks | undefined, now: number): Token | undefined {
    const entry = this.entries.get(text)
    if (entry === undefined) return undefined
    const outdated = !this.configured && entry.jwks !== jwks
    if (outdated || timeStatus(entry.token, now, CLOCK_SKEW) === STATUS.expired) {
      this.entries.delete(text)
      return undefined
    }
    if (entry !== this.latest) {
      this.entries.delete(text)
      this.entries.set(text, entry)
      this.latest = entry
    }
    return entry.token
  }

  insert(text: string, token: Token, jwks: Jwks): void {
    if (text.length > this.maxSize) return
    this.latest = { token, jwks }
    this.entries.delete(text)
    this.entries.set(text, this.latest)
    if (this.entries.size <= this.limit) return
    for (const oldest of this.entries.keys()) {
      this.entries.delete(oldest)
      return
    }
  }
}
