import { ResponseHead } from './headers.ts'
import { grpcMessage, grpcStatusOf, type LocalReply } from './local-replies.ts'
import { H } from './names.ts'

/** The head of a local reply before its body is described: the status, or trailers-only for gRPC (source/common/http/utility.cc prepareLocalReply). */
export function localReplyHead(reply: LocalReply, body: Uint8Array, grpc: boolean): ResponseHead {
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
export function describeBody(head: ResponseHead, length: number, contentType: string | undefined): void {
  if (length === 0) {
    head.remove(H.contentLength)
    head.remove(H.contentType)
    return
  }
  head.set(H.contentLength, String(length))
  if (contentType !== undefined) head.set(H.contentType, contentType)
  else if (!head.has(H.contentType)) head.add(H.contentType, 'text/plain')
}
