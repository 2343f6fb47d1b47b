import type { FetchOptions, JwksFetcher } from './jwks-fetch.ts'

/** Gets documents as JwksFetcher does, which is loaded by the first: few meshes need its HTTP client, and that takes its time. */
export class LazyFetcher {
  readonly #options: FetchOptions
  #loading: Promise<JwksFetcher> | undefined
  #closed = false

  constructor(options: FetchOptions) {
    this.#options = options
  }

  /** See JwksFetcher. Rejects after `close`. */
  async get(url: string, timeout: number): Promise<string> {
    if (this.#closed) throw new Error('nothing is fetched any more')
    this.#loading ??= import('./jwks-fetch.ts').then(({ JwksFetcher }) => new JwksFetcher(this.#options))
    return (await this.#loading).get(url, timeout)
  }

  /** Ends what is under way. */
  close(): void {
    this.#closed = true
    // Who waits for the client is told by `get`.
    this.#loading?.then((fetcher) => fetcher.close()).catch(() => {})
  }
}
