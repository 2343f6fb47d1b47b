import { randomBytes } from 'node:crypto'
import { headerName } from '../../proxy/http/headers.ts'
import { formatAddress } from '../../proxy/listener/connection.ts'
import type { StreamInfo } from '../../proxy/stream-info.ts'
import { explainFailure, type FailureFacts, type PolicyFacts } from './failure.ts'
import type { LoadFailure, LoadGroup, Recording } from './types.ts'

/** How many failures of one reason are kept in full. */
const MAX_EXAMPLES = 3
const USER_AGENT = headerName('user-agent')

/** What explaining needs to know of the mesh. */
export interface RecorderHost {
  /** The pod behind an `ip:port`, else the address. */
  nameOf(hostPort: string): string
  /** What the calling sidecar would do for the request's route. */
  policyOf(info: StreamInfo): PolicyFacts | undefined
}

type Growing<T> = { -readonly [K in keyof T]: T[K] }

/** Takes down what one sidecar does for the requests of a load, which its user-agent marks. */
export class Recorder {
  readonly userAgent = `dinghy-load/${randomBytes(6).toString('hex')}`
  readonly podIp: string
  readonly #host: RecorderHost
  readonly #began = performance.now()
  readonly #groups = new Map<string, Growing<LoadGroup>>()
  readonly #failures = new Map<string, Growing<LoadFailure> & { examples: LoadFailure['examples'][number][] }>()
  readonly #attempts: Record<string, number> = {}
  #requests = 0
  #abandoned = 0

  constructor(podIp: string, host: RecorderHost) {
    this.podIp = podIp
    this.#host = host
  }

  /** Takes down a finished stream of the sidecar's outbound side, if it is one of these. */
  note(info: StreamInfo): void {
    if (info.request?.get(USER_AGENT) !== this.userAgent) return
    if (info.flags.includes('DC')) {
      this.#abandoned++
      return
    }
    this.#requests++
    const {
      upstreamHost,
      upstreamAttempts: attempts,
      responseCode: status,
      flags,
      responseCodeDetails: details = '',
    } = info
    this.#attempts[attempts] = (this.#attempts[attempts] ?? 0) + 1
    const last = upstreamHost && formatAddress(upstreamHost.address)
    const broken = details.startsWith('upstream_reset_after_response_started')
    const key = `${broken ? 0 : status}|${flags.join(',')}|${last ?? ''}`
    const group = this.#groups.get(key)
    if (group) group.requests++
    else
      this.#groups.set(key, {
        status: broken ? 0 : status,
        flags: flags.join(',') || '-',
        instance: last && this.#host.nameOf(last),
        requests: 1,
      })
    if (status >= 500 || broken) this.#failed(info, attempts, status, details, last)
  }

  #failed(info: StreamInfo, attempts: number, status: number, details: string, last: string | undefined): void {
    const before = info.upstreamAttempted?.map(({ host }) => formatAddress(host.address)) ?? []
    const tried = [...before, ...(last === undefined ? [] : [last])].map((address) => this.#host.nameOf(address))
    const { flags } = info
    const facts: FailureFacts = { method: info.request?.method ?? '', status, flags, details, attempts, tried }
    const { why, savable } = explainFailure(facts, this.#host.policyOf(info))
    const failure = this.#failures.get(why) ?? { why, savable, requests: 0, examples: [] }
    this.#failures.set(why, failure)
    failure.requests++
    if (failure.examples.length >= MAX_EXAMPLES) return
    const at = Math.round(performance.now() - this.#began) / 1000
    failure.examples.push({ at, status, flags: flags.join(',') || '-', details, attempts, tried })
  }

  result(): Recording {
    return {
      requests: this.#requests,
      attempts: this.#attempts,
      groups: [...this.#groups.values()].sort((a, b) => b.requests - a.requests),
      failures: [...this.#failures.values()].sort((a, b) => b.requests - a.requests),
      abandoned: this.#abandoned,
    }
  }
}
