import { EMPTY } from './body-buffer.ts'
import type { Exchange } from './exchange.ts'
import { ResponseHead } from './headers.ts'
import { grpcMessage, grpcStatusOf, type LocalReply } from './local-replies.ts'
import { H } from './names.ts'
import { applyMutations } from './router/header-mutation.ts'
import { isGrpcContentType } from './router/route-match.ts'

/** A local reply as the encoding filters get it; to a gRPC call without a body, for its message stands in the head. */
export interface ComposedReply {
  readonly head: ResponseHead
  readonly body: Uint8Array
}

/**
 * Makes head and body of a local reply: in gRPC's form for a gRPC call, changed by `modify`, the route and the
 * configured mappers, in this order (source/common/http/utility.cc sendLocalReply). The status is noted for logs.
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
  const head = localReplyHead(final, body, grpc)
  modify?.(head)
  if (routing.chosen !== undefined) applyMutations(routing.chosen.responseMutations, head, info)
  if (rewritten?.headers !== undefined) {
    info.responseCode = reply.status // a mapper's headers are made before its status is
    rewritten.headers.apply(head, info)
  }
  info.responseCode = head.status
  if (grpc) return { head, body: EMPTY }
  describeBody(head, body.length, rewritten?.contentType ?? reply.contentType)
  return { head, body }
}

/** The head of a local reply before its body is described: the status, or trailers-only for gRPC (source/common/http/utility.cc prepareLocalReply). */
function localReplyHead(reply: LocalReply, body: Uint8Array, grpc: boolean): ResponseHead {
  if (!grpc) return ResponseHead.create(reply.status)
  const head = ResponseHead.create(200)
  head.add(H.contentType, 'application/grpc')
  head.add(H.grpcStatus, String(reply.grpcStatus ?? grpcStatusOf(reply.status)))
  if (body.length > 0) head.add(H.grpcMessage, grpcMessage(Buffer.from(body).toString('utf8')))
  return head
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
