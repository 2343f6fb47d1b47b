import type { ListenerContext } from '../proxy/context.ts'
import { headerName } from '../proxy/http/headers.ts'
import { formatAddress } from '../proxy/listener/connection.ts'
import type { StreamInfo } from '../proxy/stream-info.ts'

/** What a sidecar decided for one request. */
export interface Observed {
  /** `ip:port` of the endpoint whose response it was; undefined when the proxy answered itself. */
  readonly host: string | undefined
  readonly cluster: string | undefined
  readonly route: string | undefined
  readonly flags: string
  readonly details: string | undefined
  /** How often it was sent upstream. */
  readonly attempts: number
  /** `ip:port` of the endpoints that were tried, in order. */
  readonly tried: readonly string[]
  /** Why the sidecar of the endpoint answered for its app, as `rbac_access_denied_matched_policy[none]`; absent when it did not. */
  readonly refusal?: string
}

/** Takes down the outbound requests of one pod's sidecar. */
export interface StreamRecorder {
  readonly podIp: string
  note(info: StreamInfo): void
}

interface Wanted {
  readonly podIp: string
  seen: Observed | undefined
  /** What sidecars of servers answered for their apps, by pod IP. */
  refusals?: Map<string, string>
}

const REQUEST_ID = headerName('x-request-id')

/**
 * Remembers what sidecars decided for the requests that someone asked about, by request id and until it is
 * fetched. Requests of others cost one look at an empty map.
 */
export class StreamObserver {
  readonly #wanted = new Map<string, Wanted>()

  readonly #recorders = new Set<StreamRecorder>()
  /** The pods whose sidecars tell. */
  readonly #watched = new Set<string>()

  /** For `ProxyContext.onStreamComplete` of the sidecar of that pod. */
  watch(podIp: string): (info: StreamInfo, listener: ListenerContext) => void {
    this.#watched.add(podIp)
    return (info, listener) => {
      // Apps pass request ids on, so other sidecars, and this one's inbound side, see the same.
      if (listener.direction !== 'outbound') {
        if (this.#wanted.size > 0) this.#noteServer(podIp, info)
        return
      }
      if (this.#wanted.size > 0) this.#note(podIp, info)
      if (this.#recorders.size > 0)
        for (const recorder of this.#recorders) if (recorder.podIp === podIp) recorder.note(info)
    }
  }

  #note(podIp: string, info: StreamInfo): void {
    const id = info.request?.get(REQUEST_ID)
    const wanted =
      (id === undefined ? undefined : this.#wanted.get(id)) ??
      this.#wanted.get(peerKey(info.downstream.directRemote.port))
    if (wanted?.podIp !== podIp || wanted.seen) return
    const seen = observedOf(info)
    const server = seen.host === undefined ? undefined : wanted.refusals?.get(seen.host.replace(/:\d+$/, ''))
    wanted.seen = server === undefined ? seen : { ...seen, refusal: server }
  }

  /** What the sidecar of the endpoint says; a moment before that of the client, who gets the answer from it. */
  #noteServer(podIp: string, info: StreamInfo): void {
    const id = info.request?.get(REQUEST_ID)
    const wanted = id === undefined ? undefined : this.#wanted.get(id)
    if (!wanted || wanted.seen || isFromUpstream(info) || info.responseCodeDetails === undefined) return
    wanted.refusals ??= new Map()
    wanted.refusals.set(podIp, info.responseCodeDetails)
  }

  /** From now on the recorder is told of every outbound request of its pod; returns the way to stop that. */
  record(recorder: StreamRecorder): () => void {
    this.#recorders.add(recorder)
    return () => this.#recorders.delete(recorder)
  }

  /**
   * From now on the sidecar of that pod is watched for the request: its id, or the `peerKey` of its connection. False when
   * the pod has no sidecar.
   */
  want(podIp: string, key: string): boolean {
    if (!this.#watched.has(podIp)) return false
    this.#wanted.set(key, { podIp, seen: undefined })
    return true
  }

  /** What was seen of the request, which is then forgotten; with `wait` not while nothing was seen. */
  take(key: string, wait = false): Observed | undefined {
    const seen = this.#wanted.get(key)?.seen
    if (seen || !wait) this.#wanted.delete(key)
    return seen
  }
}

/**
 * What stands for a request where its id does not: gateways give requests from outside the mesh new ids. The port is the
 * client's.
 */
export function peerKey(port: number): string {
  return `port ${port}`
}

/** What a stream's account says of a request. */
export function observedOf(info: StreamInfo): Observed {
  const last = info.upstreamHost && formatAddress(info.upstreamHost.address)
  const before = info.upstreamAttempted?.map((a) => formatAddress(a.host.address)) ?? []
  const tried = last === undefined ? before : [...before, last]
  return {
    host: isFromUpstream(info) ? last : undefined,
    cluster: info.clusterName,
    route: info.routeName,
    flags: info.flags.join(',') || '-',
    details: info.responseCodeDetails,
    // Envoy counts the attempt before it has found a host.
    attempts: tried.length === 0 ? 0 : info.upstreamAttempts,
    tried,
  }
}

/** Whether the response was the upstream's, whole or begun; else the proxy made it, as it does of a timeout. */
function isFromUpstream({ responseCodeDetails: details }: StreamInfo): boolean {
  return details === 'via_upstream' || details?.startsWith('upstream_reset_after_response_started') === true
}
