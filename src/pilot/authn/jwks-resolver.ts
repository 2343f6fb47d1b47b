import type { Position } from '../../api/objects.ts'
import type { Runtime, Timer } from '../../runtime.ts'
import { type JwksId, type JwksKeys, jwksFault, jwksId, NO_KEYS, sameKeys } from './jwks-keys.ts'
import type { JwksSettings } from './jwks-settings.ts'
import type { JwksSource } from './jwks-source.ts'
import { withoutPassword } from './mesh-dial.ts'

/** Where OpenID Connect Discovery has a provider's settings. */
const DISCOVERY = '/.well-known/openid-configuration'

/** What a resolver is made of. */
export interface ResolverOptions {
  readonly runtime: Runtime
  readonly settings: JwksSettings
  /** Gets a document within so many milliseconds. Rejects with the reason in words. */
  readonly get: (url: string, timeout: number) => Promise<string>
  /** Told each time when `keys` are others than before, never while `want` runs. */
  readonly onChange: () => void
  /** Takes a line when keys cannot be fetched, and when they can again. */
  readonly warn: (line: string) => void
}

interface Entry {
  readonly issuer: string
  readonly jwksUri: string
  timeout: number
  place: () => Position
  /** Undefined until the first attempt is over; '' when there are none. */
  keys: string | undefined
  lastUsed: number
  /** When they were last fetched; the time of the first attempt before that. */
  lastRefreshed: number
  /** Whether attempts are under way, or the pause between two. */
  busy: boolean
  /** Whether it was asked for again meanwhile. */
  again: boolean
  /** Whether its failure was told. */
  failing: boolean
  /** For what it was last asked. */
  lastPush: unknown
}

/**
 * The keys that pilot fetches for RequestAuthentications. What is needed for the first time is fetched at once, and again
 * every 20 minutes; after a failure at once, for as long as the rule's timeout, then after 1 minute, 2, 4, up to 60.
 * Keys that cannot be refreshed stay in use (pilot/pkg/model/jwks_resolver.go). Where the first attempts fail, istiod
 * waits for the next refresh, or the next push; here the times of a failed refresh hold then as well.
 */
export class JwksResolver {
  readonly #options: ResolverOptions
  readonly #entries = new Map<JwksId, Entry>()
  #keys: JwksKeys = NO_KEYS
  #timer: Timer | undefined
  #interval: number
  #lastHadErrors = false
  #refreshing = false
  #closed = false

  constructor(options: ResolverOptions) {
    this.#options = options
    this.#interval = options.settings.refresh
  }

  /** What is known now. Never changes: other keys are another map. */
  get keys(): JwksKeys {
    return this.#keys
  }

  /**
   * Says that keys are needed. Returns whether some are still awaited, the first attempt at them not being over. What
   * could not be fetched is tried again when it is needed for another `push`.
   */
  want(sources: readonly JwksSource[], push: unknown): boolean {
    const now = this.#options.runtime.now()
    let awaited = false
    for (const { issuer, jwksUri, timeout, place } of sources) {
      const id = jwksId(issuer, jwksUri)
      let entry = this.#entries.get(id)
      if (!entry) {
        const times = { lastUsed: now, lastRefreshed: now }
        entry = {
          issuer,
          jwksUri,
          timeout,
          place,
          keys: undefined,
          ...times,
          busy: true,
          again: false,
          failing: false,
          lastPush: push,
        }
        this.#entries.set(id, entry)
        this.#first(entry)
        this.#schedule()
      }
      Object.assign(entry, { timeout, place, lastUsed: now })
      if (entry.keys === undefined) awaited = true
      else if (entry.keys === '' && entry.lastPush !== push) {
        if (entry.busy) entry.again = true
        else this.#round(entry)
      }
      entry.lastPush = push
    }
    return awaited
  }

  /** Tries at once to get what is missing at the given URLs; resolves when that is over. */
  async retry(isMeant: (url: string) => boolean): Promise<void> {
    const missing = [...this.#entries.values()].filter(
      (entry) => entry.keys === '' && isMeant(entry.jwksUri || entry.issuer),
    )
    await Promise.all(missing.map((entry) => this.#attempt(entry)))
  }

  /** Ends all fetching. */
  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  async #first(entry: Entry): Promise<void> {
    const done = await this.#attempt(entry)
    entry.busy = false
    if (done || this.#closed) return
    this.#round(entry)
    // Without keys nobody waits for the next refresh as if all were well.
    this.#lastHadErrors = true
    this.#interval = this.#options.settings.refreshOnFailure
    if (!this.#refreshing) this.#schedule(true)
  }

  /** Several attempts, as far as the timeout goes. Returns whether one of them succeeded. */
  async #round(entry: Entry): Promise<boolean> {
    const { runtime, settings } = this.#options
    const start = runtime.now()
    entry.busy = true
    entry.again = false
    try {
      for (let tries = 0; tries <= settings.retries && !this.#closed; tries++) {
        if (await this.#attempt(entry)) return true
        if (runtime.now() + settings.retry >= start + entry.timeout) return false
        await new Promise<void>((resolve) => runtime.after(settings.retry, resolve))
        // Somebody else may have been sooner.
        if (entry.lastRefreshed > start) return true
      }
      return false
    } finally {
      entry.busy = false
      if (entry.again && !entry.keys && !this.#closed) this.#round(entry)
    }
  }

  async #attempt(entry: Entry): Promise<boolean> {
    const { runtime } = this.#options
    let url = entry.jwksUri
    try {
      if (url === '') {
        url = `${entry.issuer.replace(/\/$/, '')}${DISCOVERY}`
        url = jwksUriIn(await this.#options.get(url, entry.timeout))
      }
      const text = await this.#options.get(url, entry.timeout)
      const fault = jwksFault(text)
      if (fault !== undefined) throw new Error(fault)
      if (this.#closed) return false
      entry.lastRefreshed = runtime.now()
      if (entry.failing) this.#tell(entry, `could be fetched at last, from ${withoutPassword(url)}`)
      entry.failing = false
      if (!sameKeys(entry.keys ?? '', text)) this.#set(entry, text)
      return true
    } catch (error) {
      if (this.#closed) return false
      const after = entry.keys ? 'those of before stay in use' : 'its tokens are refused until they can'
      if (!entry.failing)
        this.#tell(entry, `cannot be fetched from ${withoutPassword(url)}: ${(error as Error).message}; ${after}`)
      entry.failing = true
      if (entry.keys === undefined) this.#set(entry, '')
      return false
    }
  }

  #set(entry: Entry, keys: string): void {
    entry.keys = keys
    this.#publish()
    this.#options.onChange()
  }

  #publish(): void {
    const known = [...this.#entries].filter(([, { keys }]) => keys !== undefined)
    this.#keys = new Map(known.map(([id, { keys }]) => [id, keys as string]))
  }

  #tell(entry: Entry, what: string): void {
    const { file, line, col } = entry.place()
    const who = entry.issuer === '' ? 'the keys' : `the keys of issuer "${entry.issuer}"`
    this.#options.warn(`${line > 0 ? `${file}:${line}:${col}` : file}: ${who} ${what}`)
  }

  /** Starts the time to the next refresh, unless it runs already; `anew`: even then. */
  #schedule(anew = false): void {
    if (this.#timer && !anew) return
    this.#timer?.cancel()
    this.#timer = this.#options.runtime.after(this.#interval, () => {
      this.#refresh().then(() => {
        if (!this.#closed) this.#schedule(true)
      })
    })
  }

  async #refresh(): Promise<void> {
    const { runtime, settings } = this.#options
    this.#refreshing = true
    const now = runtime.now()
    const isOld = (time: number): boolean => now - time >= settings.eviction
    for (const [id, entry] of this.#entries)
      if (!entry.busy && (isOld(entry.lastUsed) || isOld(entry.lastRefreshed))) this.#entries.delete(id)
    if ([...this.#keys.keys()].some((id) => !this.#entries.has(id))) this.#publish()
    const idle = [...this.#entries.values()].filter((entry) => !entry.busy)
    const results = await Promise.all(idle.map((entry) => this.#round(entry)))
    this.#refreshing = false
    const failed = results.includes(false)
    const { refresh, refreshOnFailure, maxRefreshOnFailure } = settings
    // Who never had keys does not keep others from being refreshed in time.
    const longest = idle.some(({ keys }, i) => keys && !results[i]) ? maxRefreshOnFailure : refresh
    if (!failed) this.#interval = refresh
    else this.#interval = this.#lastHadErrors ? Math.min(this.#interval * 2, longest) : refreshOnFailure
    this.#lastHadErrors = failed
  }
}

/** Where a provider's settings say that its keys are. */
function jwksUriIn(settings: string): string {
  let uri: unknown
  try {
    uri = (JSON.parse(settings) as { jwks_uri?: unknown } | null)?.jwks_uri
  } catch {
    throw new Error('the answer is no JSON')
  }
  if (typeof uri !== 'string') throw new Error('the answer has no "jwks_uri"')
  return uri
}
