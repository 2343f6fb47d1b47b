import type { ApiObject } from '../../api/objects.ts'
import type { Runtime, Timer } from '../../runtime.ts'
import type { Snapshot } from '../../store/snapshot.ts'
import { LazyFetcher } from '../authn/lazy-fetcher.ts'
import { type MeshDial, withoutPassword } from '../authn/mesh-dial.ts'
import { rootsOfBundle } from './spiffe-bundle.ts'

/** What following SPIFFE bundles needs. */
export interface SpiffeAnchorsOptions {
  readonly runtime: Runtime
  /** The environment, '' for what is not set. */
  readonly variable: (name: string) => string
  /** How services of the mesh are reached. */
  readonly dial: MeshDial | undefined
  /** Told when `roots` are others than before, never while `follow` runs. */
  readonly onChange: () => void
  /** Takes a line when a bundle cannot be fetched, and when it can again. */
  readonly warn: (line: string) => void
}

/** From one refresh to the next, ms (RemoteDefaultPollPeriod). */
const POLL_MS = 30 * 60_000
/** For so long it is tried again after failures, ms (remoteTimeout). */
const PATIENCE_MS = 10_000
/** Until the first time that it is tried again, doubled each time, ms (firstRetryBackOffTime). */
const FIRST_PAUSE_MS = 50
/** For one answer, ms. */
const TIMEOUT_MS = 10_000

/** The roots behind one URL. */
interface Endpoint {
  readonly url: string
  /** Where MeshConfig names it. */
  index: number
  roots: readonly string[]
  failing: boolean
  busy: boolean
}

/**
 * Further roots of trust from the SPIFFE bundle endpoints that MeshConfig names (`caCertificates[].spiffeBundleUrl`):
 * fetched over HTTPS when they are first named, and every 30 minutes. After pilot/pkg/trustbundle/trustbundle.go, which
 * forgets the roots of an endpoint that fails; here they stay in use until it answers again.
 */
export class SpiffeAnchors {
  readonly #options: SpiffeAnchorsOptions
  readonly #fetcher: LazyFetcher
  #endpoints = new Map<string, Endpoint>()
  #config: ApiObject<'MeshConfig'> | undefined
  #roots: readonly string[] = []
  #timer: Timer | undefined
  #closed = false

  constructor(options: SpiffeAnchorsOptions) {
    this.#options = options
    const { runtime, variable, dial } = options
    // Whose certificate is not good vouches for nobody, whatever may be fetched of keys.
    const strict = (name: string) => (name === 'JWKS_RESOLVER_INSECURE_SKIP_VERIFY' ? '' : variable(name))
    this.#fetcher = new LazyFetcher({ runtime, variable: strict, dial })
  }

  /** Those that are known now, each in PEM. Never changes: other roots are another list. */
  get roots(): readonly string[] {
    return this.#roots
  }

  /** Takes over what MeshConfig names. */
  follow(snapshot: Snapshot): void {
    const config = snapshot.list('MeshConfig')[0]
    if (config === this.#config) return
    this.#config = config
    const before = this.#endpoints
    this.#endpoints = new Map()
    for (const [index, { spiffeBundleUrl }] of (config?.spec.caCertificates ?? []).entries()) {
      if (!spiffeBundleUrl) continue
      const url = spiffeBundleUrl.startsWith('https://') ? spiffeBundleUrl : `https://${spiffeBundleUrl}`
      const known = before.get(url)
      this.#endpoints.set(url, Object.assign(known ?? { url, roots: [], failing: false, busy: false }, { index }))
      if (!known) this.#refresh(this.#endpoints.get(url)!)
    }
    this.#publish()
    if (this.#endpoints.size > 0) this.#poll()
  }

  /** Ends all fetching. */
  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    this.#fetcher.close()
  }

  #poll(): void {
    this.#timer ??= this.#options.runtime.after(POLL_MS, () => {
      this.#timer = undefined
      for (const endpoint of this.#endpoints.values()) this.#refresh(endpoint)
      if (this.#endpoints.size > 0) this.#poll()
    })
  }

  async #refresh(endpoint: Endpoint): Promise<void> {
    if (endpoint.busy) return
    endpoint.busy = true
    try {
      const roots = rootsOfBundle(await this.#text(endpoint))
      if (!this.#isWanted(endpoint)) return
      if (endpoint.failing) this.#tell(endpoint, 'could be fetched at last')
      endpoint.failing = false
      endpoint.roots = roots
      if (this.#publish()) this.#options.onChange()
    } catch (error) {
      if (!this.#isWanted(endpoint)) return
      const after = endpoint.roots.length > 0 ? 'those of before stay in use' : 'whom they vouch for is not trusted'
      if (!endpoint.failing) this.#tell(endpoint, `cannot be fetched: ${(error as Error).message}; ${after}`)
      endpoint.failing = true
    } finally {
      endpoint.busy = false
    }
  }

  /** The document; servers that fail are asked again, for a while. */
  async #text(endpoint: Endpoint): Promise<string> {
    const { runtime } = this.#options
    const start = runtime.now()
    for (let pause = FIRST_PAUSE_MS; ; pause *= 2) {
      try {
        return await this.#fetcher.get(endpoint.url, TIMEOUT_MS)
      } catch (error) {
        if (runtime.now() > start + PATIENCE_MS || !this.#isWanted(endpoint)) throw error
        await new Promise<void>((resolve) => runtime.after(pause, resolve))
      }
    }
  }

  #isWanted(endpoint: Endpoint): boolean {
    return !this.#closed && this.#endpoints.get(endpoint.url) === endpoint
  }

  /** Returns whether there are others than before. */
  #publish(): boolean {
    const roots = [...new Set([...this.#endpoints.values()].flatMap((endpoint) => endpoint.roots))]
    if (roots.length === this.#roots.length && roots.every((root, i) => root === this.#roots[i])) return false
    this.#roots = roots
    return true
  }

  #tell({ url, index }: Endpoint, what: string): void {
    const at = this.#config?.origin.locate(['spec', 'caCertificates', index, 'spiffeBundleUrl'])
    this.#options.warn(`${at ? `${at.file}:${at.line}:${at.col}: ` : ''}the roots of ${withoutPassword(url)} ${what}`)
  }
}
