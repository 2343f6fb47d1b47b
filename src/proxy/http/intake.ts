import type { Exchange } from './exchange.ts'
import { type RequestHead, ResponseHead } from './headers.ts'
import { normalizeHost } from './host-normalization.ts'
import { REPLY } from './local-replies.ts'
import { H } from './names.ts'
import { normalizePath, unescapeSlashes } from './path-normalization.ts'
import { isGrpcContentType } from './router/route-match.ts'

/**
 * Checks a request head and brings path and host into their normal form, in Envoy's order (HCM decodeHeaders).
 * False: the exchange was answered.
 */
export function admitRequest(exchange: Exchange, head: RequestHead): boolean {
  const { config, stats } = exchange.manager
  if (!config.proxy100Continue && head.get(H.expect)?.toLowerCase() === '100-continue') {
    head.remove(H.expect)
    exchange.sendInterim(ResponseHead.create(100))
  }
  const connect = head.method === 'CONNECT'
  if (!head.hasAuthority) return refuse(exchange, REPLY.missingHost)
  if (head.path === '' && !connect) return refuse(exchange, REPLY.missingPath)
  if (!connect && head.path.charCodeAt(0) !== 0x2f) {
    stats.rqNonRelativePath.inc()
    return refuse(exchange, REPLY.relativePath)
  }
  if (head.method === 'QUERY' && !head.has(H.contentType)) return refuse(exchange, REPLY.queryMissingContentType)
  if (!connect) {
    const normalized = normalizePath(head.path, config.paths)
    if (normalized !== undefined) {
      const grpc = isGrpcContentType(head.get(H.contentType))
      if (normalized === 'reject' || ('redirect' in normalized && grpc)) {
        stats.rqFailedPathNormalization.inc()
        if (config.paths.escapedSlashes === 'reject') head.path = unescapeSlashes(head.path)
        return refuse(exchange, REPLY.pathNormalization)
      }
      if ('redirect' in normalized) {
        stats.rqRedirectedNormalized.inc()
        const location = normalized.redirect
        head.path = location
        exchange.sendLocalReply(
          { status: 307, body: '', details: 'path_normalization_failed', flag: undefined },
          (reply) => reply.set(H.location, location),
        )
        return false
      }
      head.path = normalized.path
    }
  }
  if (config.stripPort !== 'no' || config.stripTrailingDot) {
    normalizeHost(head, config.stripTrailingDot, config.stripPort, exchange.connection.local.port)
  }
  return true
}

function refuse(exchange: Exchange, reply: (typeof REPLY)[keyof typeof REPLY]): false {
  exchange.sendLocalReply(reply)
  return false
}
