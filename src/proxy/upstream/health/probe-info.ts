import type { Runtime } from '../../../runtime.ts'
import type { ClientConnection } from '../../http/codec.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { connectionStreamInfo } from '../../tcp/stream-info.ts'
import type { UpstreamHost } from '../upstream-host.ts'

/** What header values of a check may speak of: its host and its connection. There is no downstream. */
export function probeStreamInfo(runtime: Runtime, host: UpstreamHost, connection: ClientConnection): StreamInfo {
  const info = connectionStreamInfo(runtime, connection.info)
  info.protocol = connection.protocol
  info.upstreamHost = host
  info.upstream = connection.info
  info.upstreamProtocol = connection.protocol
  return info
}
