import { type Ca, CaError } from '../ca/ca.ts'
import type { Runtime, Timer } from '../runtime.ts'

/** What has to be known of those who are served. */
export interface RenewalOptions<Client> {
  readonly ca: Ca
  readonly runtime: Runtime
  /** All who are served. */
  readonly clients: () => Iterable<Client>
  /** When the certificate of one is due for renewal, in wall-clock milliseconds; undefined for none. May throw CaError. */
  readonly due: (client: Client) => number | undefined
  /** Serves all of them their secrets anew, as far as these have changed. */
  readonly serve: () => void
  /** Whether all of them have answered for what they were sent. */
  readonly answered: () => boolean
  readonly warn: (line: string) => void
}

/** Renewal never comes in shorter steps than this, whatever the lifetime: ms. */
const MIN_STEP_MS = 1000
/** After this time nobody waits for answers any more, ms. */
const PATIENCE_MS = 60_000
/** How long it takes, at least and at most, until it is looked again whether all have answered, ms. */
const LOOK_MS = [1, 50] as const

/**
 * Keeps the secrets of proxies fresh: certificates are renewed when the time has come for each
 * (security/pkg/nodeagent/cache/secretcache.go), and all secrets are served anew when the CA changes.
 */
export class SecretRenewal<Client> {
  readonly #options: RenewalOptions<Client>
  readonly #stops: readonly (() => void)[]
  #timer: Timer | undefined
  #at = Number.POSITIVE_INFINITY
  #warned = ''
  #closed = false

  constructor(options: RenewalOptions<Client>) {
    this.#options = options
    const { ca, serve } = options
    const anew = () => {
      serve()
      this.schedule()
    }
    this.#stops = [ca.onRootChange(anew), ca.onIdentityChange(anew), ca.onDelivery(() => this.#delivered())]
  }

  /** Sees to it that the next renewal comes in time, of those who are served for the first time. Default: of all. */
  schedule(clients: Iterable<Client> = this.#options.clients()): void {
    const { runtime, serve } = this.#options
    const at = this.#next(clients)
    if (at >= this.#at) return
    this.#timer?.cancel()
    this.#at = at
    this.#timer = runtime.after(Math.max(MIN_STEP_MS, at - runtime.wallNow()), () => {
      this.#at = Number.POSITIVE_INFINITY
      serve()
      this.schedule()
    })
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    for (const stop of this.#stops) stop()
  }

  #next(clients: Iterable<Client>): number {
    let first = Number.POSITIVE_INFINITY
    try {
      for (const client of clients) first = Math.min(first, this.#options.due(client) ?? first)
      return first
    } catch (error) {
      if (!(error instanceof CaError)) throw error
      if (this.#warned !== error.message) this.#options.warn(`no certificate can be renewed: ${error.message}`)
      this.#warned = error.message
      return Number.POSITIVE_INFINITY
    }
  }

  #delivered(): Promise<void> {
    const { runtime, answered } = this.#options
    const end = runtime.now() + PATIENCE_MS
    return new Promise((resolve) => {
      const look = (wait: number) => {
        if (this.#closed || answered() || runtime.now() > end) resolve()
        else runtime.after(wait, () => look(Math.min(2 * wait, LOOK_MS[1])))
      }
      look(LOOK_MS[0])
    })
  }
}
