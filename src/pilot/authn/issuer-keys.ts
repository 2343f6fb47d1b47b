import type { Runtime } from '../../runtime.ts'
import type { ProxyNode } from '../proxy.ts'
import type { PushContext } from '../scope/push-context.ts'
import type { JwksKeys } from './jwks-keys.ts'
import { JwksResolver } from './jwks-resolver.ts'
import { jwksSettings } from './jwks-settings.ts'
import { jwksSources } from './jwks-source.ts'
import { LazyFetcher } from './lazy-fetcher.ts'
import { leadsIntoMesh, type MeshDial } from './mesh-dial.ts'

/** What a pilot's keys of JWT issuers depend on. */
export interface IssuerKeysOptions {
  readonly runtime: Runtime
  /** The environment, '' for what is not set. */
  readonly variable: (name: string) => string
  readonly dial: MeshDial | undefined
  /** See JwksResolver. */
  readonly onChange: () => void
  readonly warn: (line: string) => void
}

/** The keys of JWT issuers that a pilot has fetched, and fetches. */
export class IssuerKeys {
  readonly #options: IssuerKeysOptions
  readonly #resolver: JwksResolver
  readonly #fetcher: LazyFetcher

  constructor(options: IssuerKeysOptions) {
    this.#options = options
    const { runtime, variable, onChange, warn } = options
    this.#fetcher = new LazyFetcher(options)
    this.#resolver = new JwksResolver({
      runtime,
      settings: jwksSettings(variable),
      get: (url, timeout) => this.#fetcher.get(url, timeout),
      onChange,
      warn,
    })
  }

  /** What is known now; other keys are another map. */
  get known(): JwksKeys {
    return this.#resolver.keys
  }

  /** Whether keys that a proxy's listeners need are still awaited; then they are on their way. */
  areAwaited(push: PushContext, proxy: ProxyNode): boolean {
    const sources = jwksSources(push, proxy)
    return sources.length > 0 && this.#resolver.want(sources, push)
  }

  /** Asks services of the mesh at once for the keys that they did not give before. Resolves when that is over. */
  retryMesh(): Promise<void> {
    return this.#resolver.retry((url) => leadsIntoMesh(this.#options.dial, url))
  }

  close(): void {
    this.#resolver.close()
    this.#fetcher.close()
  }
}
