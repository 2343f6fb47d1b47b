import type { Timer } from '../../../runtime.ts'
import type { ProxyContext } from '../../context.ts'
import { type AsyncRetry, sendAsync } from '../../http/async-client.ts'
import type { ResetReason } from '../../http/codec.ts'
import { RequestHead, type ResponseHead } from '../../http/headers.ts'
import { H } from '../../http/names.ts'
import type { RetryPolicy } from '../../http/router/retry-policy.ts'
import { RetryState } from '../../http/router/retry-state.ts'
import { type Jwks, parseJwks } from './jwks.ts'

const NO_BODY = Buffer.alloc(0)

/** Where keys are fetched from. `timeout` in ms, for all attempts together; 0 is none. */
export interface JwksSource {
  readonly proxy: ProxyContext
  readonly cluster: string
  readonly scheme: string
  readonly host: string
  readonly path: string
  readonly timeout: number
  readonly retries: RetryPolicy | undefined
}

/** One fetch of keys, retries included (source/extensions/filters/http/common/jwks_fetcher.cc). */
export class JwksFetch implements AsyncRetry {
  private readonly source: JwksSource
  private readonly done: (jwks: Jwks | undefined) => void
  private readonly deadline: number
  private over = false
  private attempts = 0
  /** No attempt is under way, but there will be one. */
  private between = false
  private call: { cancel(): void } | undefined = undefined
  private retries: RetryState | undefined = undefined
  private timer: Timer | undefined = undefined

  /** `done` is called once unless cancelled, maybe before `start` returns; without keys when there are none to be had. */
  constructor(source: JwksSource, done: (jwks: Jwks | undefined) => void) {
    this.source = source
    this.done = done
    this.deadline = source.proxy.runtime.now() + source.timeout
  }

  start(): void {
    const { proxy, cluster: name, retries, timeout } = this.source
    const cluster = proxy.clusters.get(name)
    if (cluster !== undefined && retries !== undefined) {
      const again = (): void => this.attempt()
      this.retries = RetryState.create(retries, this.head(), cluster, 'default', [], proxy.runtime, again)
      // An attempt has a timeout of its own; this one is for the time between two.
      if (timeout > 0) this.timer = proxy.runtime.after(timeout, () => this.timedOut())
    }
    this.attempt()
  }

  cancel(): void {
    if (this.over) return
    this.close()
    this.call?.cancel()
  }

  get again(): boolean {
    return this.attempts > 1
  }

  onHeaders(head: ResponseHead): boolean {
    this.between = !this.late && this.retries?.onHeaders(head, false) === 'yes'
    return this.between
  }

  onReset(reason: ResetReason): boolean {
    this.between = !this.late && this.retries?.onReset(reason, true) === 'yes'
    return this.between
  }

  private get late(): boolean {
    return this.source.timeout > 0 && this.source.proxy.runtime.now() >= this.deadline
  }

  private attempt(): void {
    const { proxy, cluster, retries } = this.source
    this.between = false
    this.attempts++
    const request = { cluster, head: this.head(), body: NO_BODY, timeout: this.attemptTimeout(), retry: this }
    this.call = sendAsync(proxy, retries === undefined ? { ...request, retry: undefined } : request, (head, body) => {
      const jwks = head.status === 200 && body.length > 0 ? parseJwks(body) : undefined
      this.finish(jwks !== undefined && 'keys' in jwks ? jwks : undefined)
    })
    if (this.call === undefined) this.finish(undefined)
  }

  /** The policy's longest back-off limits an attempt, too; what is left of the whole time limits the last one. */
  private attemptTimeout(): number {
    const { proxy, timeout, retries } = this.source
    if (retries === undefined) return timeout
    const left = timeout === 0 ? Infinity : Math.max(1, Math.floor(this.deadline - proxy.runtime.now()))
    return Math.min(left, retries.perTryTimeout)
  }

  /** An attempt that is under way ends by itself. */
  private timedOut(): void {
    if (this.between) this.finish(undefined)
  }

  private finish(jwks: Jwks | undefined): void {
    if (this.over) return
    this.close()
    this.done(jwks)
  }

  private close(): void {
    this.over = true
    this.timer?.cancel()
    this.retries?.destroy()
  }

  private head(): RequestHead {
    const { path, host, scheme } = this.source
    const head = RequestHead.create('GET', path, host)
    head.scheme = scheme
    head.set(H.userAgent, 'Go-browser')
    return head
  }
}
