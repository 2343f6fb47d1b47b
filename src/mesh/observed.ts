import { headerName } from '../proxy/http/headers.ts'
import { formatAddress } from '../proxy/listener/connection.ts'
import type { StreamInfo } from '../proxy/stream-info.ts'

/** What a sidecar decided for one request. */
export interface Observed {
  /** `ip:port` of the endpoint; undefined when the sidecar answered itself. */
  readonly host: string | undefined
  readonly cluster: string | undefined
  readonly route: string | undefined
  readonly flags: string
  readonly details: string | undefined
}

const REQUEST_ID = headerName('x-request-id')

/**
 * Remembers what sidecars decided for the requests that someone asked about, by request id and until it is
 * fetched. Requests of others cost one look at an empty map.
 */
export class StreamObserver {
  readonly #wanted = new Map<string, Observed | undefined>()

  /** For `ProxyContext.onStreamComplete` of client sidecars. */
  readonly onStreamComplete = (info: StreamInfo): void => {
    if (this.#wanted.size === 0) return
    const id = info.request?.get(REQUEST_ID)
    if (id === undefined || !this.#wanted.has(id)) return
    this.#wanted.set(id, {
      host: info.upstreamHost ? formatAddress(info.upstreamHost.address) : undefined,
      cluster: info.clusterName,
      route: info.routeName,
      flags: info.flags.join(',') || '-',
      details: info.responseCodeDetails,
    })
  }

  want(requestId: string): void {
    this.#wanted.set(requestId, undefined)
  }

  take(requestId: string): Observed | undefined {
    const seen = this.#wanted.get(requestId)
    this.#wanted.delete(requestId)
    return seen
  }
}
