import type { Http2ClientOptions } from '../http2/client.ts'
import { AutoFactory, type DialSettings, Http1Factory, Http2Factory } from './connect.ts'
import type { PoolKey } from './host-pools.ts'
import type { ConnectionFactory } from './pooled-connection.ts'
import type { HttpOptions } from './protocol-options.ts'
import type { UpstreamHost } from './upstream-host.ts'

/** What a pool offers when the cluster configures nothing (conn_pool_base.cc wrapTransportSocketOptions). */
const HTTP1_ALPN: readonly string[] = ['http/1.1']
const HTTP2_ALPN: readonly string[] = ['h2']
const AUTO_ALPN: readonly string[] = ['h2', 'http/1.1']

/** Makes what opens the connections of a pool: by the protocol, socket, SNI and ALPN of its key. */
export function poolFactory(
  host: UpstreamHost,
  key: PoolKey,
  dialing: DialSettings,
  http: HttpOptions,
  http2: Http2ClientOptions,
): ConnectionFactory {
  const target = { host, socket: key.socket, sni: key.sni, alpn: key.alpn }
  if (key.protocol === 'HTTP/1.1') return new Http1Factory({ ...target, fallbackAlpn: HTTP1_ALPN }, dialing, http.http1)
  return key.protocol === 'HTTP/2'
    ? new Http2Factory({ ...target, fallbackAlpn: HTTP2_ALPN }, dialing, http2)
    : new AutoFactory({ ...target, fallbackAlpn: AUTO_ALPN }, dialing, http.http1, http2)
}
