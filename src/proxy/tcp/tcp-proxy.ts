import type { Message } from '@bufbuild/protobuf'
import type { TcpProxy } from '#gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js'
import type { ConnectionHandler, ListenerContext, ProxyContext, TerminalFilterFactory } from '../context.ts'
import { RouterStats } from '../http/router/router-stats.ts'
import type { Transport } from '../listener/connection.ts'
import { compileAccessLoggers } from '../observe/formatter.ts'
import { compileTcpProxy } from './config.ts'
import { TcpSession } from './session.ts'
import { type TcpProxyShared, TcpProxyStats } from './shared.ts'

/** `envoy.filters.network.tcp_proxy`: bytes from a client to a host of a cluster and back (source/common/tcp_proxy/tcp_proxy.cc). */
export const tcpProxy: TerminalFilterFactory = (
  message: Message,
  context: ProxyContext,
  listener: ListenerContext,
): ConnectionHandler => {
  const proto = message as TcpProxy
  const config = compileTcpProxy(proto, context)
  if (config.tunnel) new RouterStats(context.stats, `tcp.${config.statPrefix}.tcpproxy_tunneling.`)
  const shared: TcpProxyShared = {
    config,
    context,
    loggers: compileAccessLoggers(proto.accessLog, context),
    stats: new TcpProxyStats(context.stats, config.statPrefix),
    listenerName: listener.name,
    sessions: new Set(),
  }
  const stopCounting = context.stats.onShow(() => {
    let buffered = 0
    for (const session of shared.sessions) buffered += session.buffered
    shared.stats.rxBuffered.set(buffered)
  })
  return {
    onConnection(transport: Transport): void {
      new TcpSession(shared, transport).start()
    },
    readsLater: config.earlyData === 0 && !config.waitForData,
    onNeverReached(transport) {
      new TcpSession(shared, transport).endUnstarted()
    },
    whenWarm: (ready) => ready(),
    close: stopCounting,
    get connections() {
      return shared.sessions.size
    },
  }
}
