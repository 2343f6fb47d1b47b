import type { Runtime } from '../../runtime.ts'
import type { Http2ClientOptions } from '../http2/client.ts'
import type { ClusterStats } from './cluster-stats.ts'
import type { ConnectionFactory } from './pooled-connection.ts'
import type { HttpOptions } from './protocol-options.ts'

type HttpVersion = 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2'

/** What the connections of a request's pool speak (source/common/upstream/upstream_impl.cc upstreamHttpProtocol). */
export function poolProtocol({ protocol }: HttpOptions, downstream: HttpVersion): ConnectionFactory['protocol'] {
  switch (protocol) {
    case 'http1':
      return 'HTTP/1.1'
    case 'http2':
      return 'HTTP/2'
    case 'downstream':
      return downstream === 'HTTP/2' ? 'HTTP/2' : 'HTTP/1.1'
    default:
      return 'auto'
  }
}

/** What a request is said to go upstream by before it has a connection; where TLS decides, it is the newest. */
export function likelyProtocol({ protocol }: HttpOptions, downstream: HttpVersion): HttpVersion {
  if (protocol === 'downstream') return downstream
  return protocol === 'http1' ? 'HTTP/1.1' : 'HTTP/2'
}

/** How a cluster's HTTP/2 connections are made; its counters come to be with the first of them. */
export function http2Options(http: HttpOptions, stats: ClusterStats, runtime: Runtime): Http2ClientOptions {
  return {
    runtime,
    settings: http.http2,
    get stats() {
      return stats.http2
    },
    maxHeadersCount: http.maxHeadersCount,
  }
}
