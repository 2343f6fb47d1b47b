import { EMPTY } from './body-buffer.ts'
import type { Exchange } from './exchange.ts'
import { ResponseHead } from './headers.ts'
import { DETAILS, grpcMessage, grpcStatusOf, type LocalReply } from './local-replies.ts'
import { H } from './names.ts'
import { applyMutations } from './router/header-mutation.ts'
import { isGrpcContentType } from './router/route-match.ts'

/** A local reply as the encoding filters get it; to a gRPC call without a body, for its message stands in the head. */
export interface ComposedReply {
  readonly head: ResponseHead
  readonly body: Uint8Array
}

/**
 * Makes head and body of a local reply: changed by the route, `modify` and the configured mappers, in this order, and put
 * into gRPC's form for a gRPC call (source/common/http/utility.cc prepareLocalReply). The status is noted for logs.
 */
export function composeLocalReply(
  exchange: Exchange,
  reply: LocalReply,
  modify: ((head: ResponseHead) => void) | undefined,
): ComposedReply {
  const { info, manager, routing } = exchange
  const grpc = !exchange.plainReplies && isGrpcContentType(exchange.request.get(H.contentType))
  const rewritten = manager.localReplies?.rewrite(reply, info)
  const final = rewritten?.reply ?? reply
  const body = typeof final.body === 'string' ? Buffer.from(final.body) : final.body
  const head = ResponseHead.create(final.status)
  const route = routing.chosen
  if (route?.forward !== undefined) applyMutations(route.responseMutations, head, info)
  modify?.(head)
  // A route that answers itself has its say behind what `modify` made of the answer, and in no one else's.
  if (route?.forward === undefined && reply.details === DETAILS.directResponse)
    applyMutations(route?.responseMutations ?? [], head, info)
  if (rewritten?.headers !== undefined) {
    info.responseCode = reply.status // a mapper's headers are made before its status is
    rewritten.headers.apply(head, info)
  }
  if (grpc) endCall(head, final, body)
  info.responseCode = head.status
  if (grpc) return { head, body: EMPTY }
  describeBody(head, body.length, rewritten?.contentType ?? reply.contentType)
  return { head, body }
}

/** Makes it the whole answer to a gRPC call: trailers only (source/common/http/utility.cc prepareLocalReply). */
function endCall(head: ResponseHead, reply: LocalReply, body: Uint8Array): void {
  head.status = 200
  head.set(H.contentType, 'application/grpc')
  if (!head.get(H.grpcStatus)) head.set(H.grpcStatus, String(reply.grpcStatus ?? grpcStatusOf(reply.status)))
  if (body.length > 0) head.set(H.grpcMessage, grpcMessage(Buffer.from(body).toString('utf8')))
  head.remove(H.contentLength)
}

/**
 * Describes a local reply's body, after all changes to its head: the length is always the body's own, the type only
 * a default unless `contentType` (of a configured body format) is given.
 */
function describeBody(head: ResponseHead, length: number, contentType: string | undefined): void {
  if (length === 0) {
    head.remove(H.contentLength)
    head.remove(H.contentType)
    return
  }
  head.set(H.contentLength, String(length))
  if (contentType !== undefined) head.set(H.contentType, contentType)
  else if (!head.has(H.contentType)) head.add(H.contentType, 'text/plain')
}
