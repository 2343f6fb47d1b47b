import { BodyBuffer, EMPTY } from '../http/body-buffer.ts'
import type { FilterSlot } from '../http/filter-slot.ts'
import { type HeaderMap, headerName, type RequestHead, type ResponseHead } from '../http/headers.ts'
import { grpcMessage, grpcStatusOf } from '../http/local-replies.ts'
import { H } from '../http/names.ts'
import { isGrpcContentType } from '../http/router/route-match.ts'
import type { StatsStore } from '../observe/stats.ts'
import { DataStatus, HeadersStatus, type HttpFilter, type HttpFilterKind, TrailersStatus } from './filter.ts'

const ACCEPT = headerName('accept')
const GRPC_ACCEPT_ENCODING = headerName('grpc-accept-encoding')
const WEB = 'application/grpc-web'
const WEB_PROTO = 'application/grpc-web+proto'
const TEXT = 'application/grpc-web-text'
const TEXT_PROTO = 'application/grpc-web-text+proto'
/** Marks a frame that holds trailers. */
const TRAILER_FRAME = 0x80
/** The most of another answer's body that goes into grpc-message. */
const MAX_MESSAGE = 16_384
const BAD_BASE64 = 'Bad gRPC-web request, invalid base64 data.'

/** One gRPC-Web request on its way to a gRPC server, and the answer back. */
class GrpcWebFilter implements HttpFilter {
  private readonly stats: StatsStore
  private active = false
  private textRequest = false
  private textResponse = false
  /** Bytes of base64 that do not fill a group of four, or of a gRPC frame that is not whole. */
  private held = EMPTY
  /** The body of an answer that is no gRPC. */
  private foreign: BodyBuffer | undefined
  private statPrefix = ''

  constructor(stats: StatsStore) {
    this.stats = stats
  }

  decodeHeaders(head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const type = head.get(H.contentType)
    this.textRequest = type === TEXT || type === TEXT_PROTO
    if (!this.textRequest && type !== WEB && type !== WEB_PROTO) return HeadersStatus.CONTINUE
    this.active = true
    slot.exchange.plainReplies = true
    head.remove(H.contentLength)
    this.nameStats(head, slot)
    head.set(H.contentType, 'application/grpc')
    const accept = head.get(ACCEPT)
    this.textResponse = accept === TEXT || accept === TEXT_PROTO
    head.set(H.te, 'trailers')
    if (!head.has(GRPC_ACCEPT_ENCODING)) head.add(GRPC_ACCEPT_ENCODING, 'identity')
    return HeadersStatus.CONTINUE
  }

  private nameStats(head: RequestHead, slot: FilterSlot): void {
    const [, service, method] = /^\/([^/]+)\/([^/?]+)/.exec(head.path) ?? []
    const forward = slot.route()?.forward
    const cluster = forward && (forward.clusterHeader?.first(head) ?? forward.cluster)
    if (cluster === undefined || service === undefined || method === undefined) return
    this.statPrefix = `cluster.${cluster.replaceAll(':', '_')}.grpc-web.${service}.${method}.`
  }

  decodeData(chunk: Uint8Array, end: boolean, slot: FilterSlot): DataStatus {
    if (!this.textRequest || !this.active) return DataStatus.CONTINUE
    const all = Buffer.concat([this.held, chunk])
    if (end && all.length % 4 !== 0) return refuse(slot, 'grpc_base_64_decode_failed_bad_size')
    const whole = all.length - (all.length % 4)
    this.held = Buffer.from(all.subarray(whole))
    const decoded = decodeBase64(all.toString('latin1', 0, whole))
    if (decoded === undefined) return refuse(slot, 'grpc_base_64_decode_failed')
    if (decoded.length > 0 || end) slot.exchange.decode.inject(slot.decodeIndex, decoded, end)
    return DataStatus.STOP_NO_BUFFER
  }

  encodeHeaders(head: ResponseHead, end: boolean): HeadersStatus {
    if (!this.active) return HeadersStatus.CONTINUE
    this.charge(head)
    const foreign = !isGrpcAnswer(head, end) && !isWebAnswer(head)
    head.remove(H.contentLength)
    head.set(H.contentType, this.textResponse ? TEXT_PROTO : WEB_PROTO)
    this.held = EMPTY
    if (end || !foreign) return HeadersStatus.CONTINUE
    this.foreign = new BodyBuffer()
    return HeadersStatus.STOP
  }

  encodeData(chunk: Uint8Array, end: boolean, slot: FilterSlot): DataStatus {
    if (!this.active) return DataStatus.CONTINUE
    const { foreign } = this
    if (foreign !== undefined) {
      if (foreign.length < MAX_MESSAGE || end) foreign.append(chunk)
      if (!end) return DataStatus.STOP_NO_BUFFER
      this.describeForeign(slot.response!, foreign)
      slot.continueEncoding()
      slot.injectEncodedData(EMPTY, true)
      return DataStatus.STOP_NO_BUFFER
    }
    if (!this.textResponse) return DataStatus.CONTINUE
    const frames = this.wholeFrames(chunk)
    if (frames.length > 0 || end) slot.injectEncodedData(Buffer.from(frames), end)
    return DataStatus.STOP_NO_BUFFER
  }

  encodeTrailers(trailers: HeaderMap, slot: FilterSlot): TrailersStatus {
    if (!this.active) return TrailersStatus.CONTINUE
    this.charge(trailers)
    if (this.foreign !== undefined) {
      this.describeForeign(slot.response!, this.foreign)
      return TrailersStatus.CONTINUE
    }
    let text = ''
    trailers.forEach((name, value) => {
      text += `${name}:${value}\r\n`
    })
    // They are part of the body now: the log does not see them either.
    trailers.clear()
    const frame = Buffer.alloc(5 + text.length)
    frame[0] = TRAILER_FRAME
    frame.writeUInt32BE(text.length, 1)
    frame.write(text, 5, 'latin1')
    slot.injectEncodedData(this.textResponse ? Buffer.from(frame.toString('base64')) : frame, true)
    return TrailersStatus.STOP
  }

  /** An answer that is no gRPC becomes the status and message of one. */
  private describeForeign(head: ResponseHead, body: BodyBuffer): void {
    this.foreign = undefined
    const bytes = body.bytes()
    head.set(H.grpcMessage, grpcMessage(bytes.toString('utf8')))
    head.set(H.grpcStatus, String(grpcStatusOf(head.status)))
    head.set(H.contentLength, '0')
  }

  /** Frames that are complete now, each in base64; the rest is kept. */
  private wholeFrames(chunk: Uint8Array): string {
    let rest = Buffer.concat([this.held, chunk])
    let out = ''
    while (rest.length >= 5) {
      const size = 5 + rest.readUInt32BE(1)
      if (rest.length < size) break
      out += rest.toString('base64', 0, size)
      rest = rest.subarray(size)
    }
    this.held = Buffer.from(rest)
    return out
  }

  private charge(from: HeaderMap): void {
    const status = this.statPrefix === '' ? undefined : from.get(H.grpcStatus)
    if (status === undefined) return
    this.stats.counter(`${this.statPrefix}${status}`).inc()
    this.stats.counter(`${this.statPrefix}${status === '0' ? 'success' : 'failure'}`).inc()
    this.stats.counter(`${this.statPrefix}total`).inc()
  }
}

function refuse(slot: FilterSlot, details: string): DataStatus {
  slot.sendLocalReply({ status: 400, body: BAD_BASE64, details, flag: undefined })
  return DataStatus.STOP_NO_BUFFER
}

/** Undefined when it is no base64. */
function decodeBase64(text: string): Buffer | undefined {
  return /^[A-Za-z0-9+/]*={0,2}$/.test(text) ? Buffer.from(text, 'base64') : decodeGroups(text)
}

/** Frames that were encoded one by one may have padding in between. */
function decodeGroups(text: string): Buffer | undefined {
  const parts: Buffer[] = []
  for (const part of text.match(/[^=]*={0,2}/g) ?? []) {
    if (!/^[A-Za-z0-9+/]*={0,2}$/.test(part) || part.length % 4 !== 0) return undefined
    parts.push(Buffer.from(part, 'base64'))
  }
  return Buffer.concat(parts)
}

function isGrpcAnswer(head: ResponseHead, end: boolean): boolean {
  return end ? head.has(H.grpcStatus) : head.status === 200 && isGrpcContentType(head.get(H.contentType))
}

function isWebAnswer(head: ResponseHead): boolean {
  const [type] = (head.get(H.contentType) ?? '').toLowerCase().split(/\s*;/)
  return head.status === 200 && (type === WEB || type === WEB_PROTO)
}

/** `envoy.filters.http.grpc_web`: lets browsers call gRPC servers (source/extensions/filters/http/grpc_web/grpc_web_filter.cc). */
export const grpcWebFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.grpc_web.v3.GrpcWeb',
  name: 'envoy.filters.http.grpc_web',
  build(_message, context) {
    return { create: () => new GrpcWebFilter(context.proxy.stats) }
  },
}
