import { ResponseHead } from './headers.ts'
import { grpcMessage, grpcStatusOf, type LocalReply } from './local-replies.ts'
import { H } from './names.ts'

/** The head of a local reply: plain text, or trailers-only for gRPC (source/common/http/utility.cc prepareLocalReply). */
export function localReplyHead(
  reply: LocalReply,
  body: Uint8Array,
  grpc: boolean,
  contentType = 'text/plain',
): ResponseHead {
  if (grpc) {
    const head = ResponseHead.create(200)
    head.add(H.contentType, 'application/grpc')
    head.add(H.grpcStatus, String(reply.grpcStatus ?? grpcStatusOf(reply.status)))
    if (body.length > 0) head.add(H.grpcMessage, grpcMessage(Buffer.from(body).toString('utf8')))
    return head
  }
  const head = ResponseHead.create(reply.status)
  if (body.length > 0) {
    head.add(H.contentLength, String(body.length))
    head.add(H.contentType, contentType)
  }
  return head
}
