import { createServerConnection } from '../http1/server.ts'
import { http1Settings } from '../http1/settings.ts'
import { createHttp2ServerConnection } from '../http2/server-connection.ts'
import { downstreamHttp2Stats } from '../http2/stats.ts'
import type { Transport, TransportHandler } from '../listener/connection.ts'
import type { ServerConnection, ServerConnectionHandler } from './codec.ts'
import type { HcmConfig } from './hcm-config.ts'
import type { ResponseHead } from './headers.ts'
import type { HttpManager } from './manager.ts'
import { H } from './names.ts'

/** Makes the server side of a protocol on an accepted connection. */
export type ServerCodecFactory = (
  transport: Transport,
  manager: HttpManager,
  handler: ServerConnectionHandler,
) => ServerConnection

const http1: ServerCodecFactory = (transport, manager, handler) => {
  const { config, bufferLimit } = manager
  return createServerConnection(
    transport,
    http1Settings(config.runtime, {
      maxHeadersKb: config.maxRequestHeadersKb,
      maxHeadersCount: config.maxHeadersCount,
      enableTrailers: config.enableTrailers,
      allowChunkedLength: config.allowChunkedLength,
      headerCase: config.properCase ? 'proper' : 'lower',
      preserveCase: config.preserveCase,
      bufferLimit,
      acceptHttp10: config.acceptHttp10,
      defaultHostForHttp10: config.defaultHostForHttp10,
      allowAbsoluteUrl: config.allowAbsoluteUrl,
      refuseHttpsOnPlaintext: config.useRemoteAddress && config.xffTrustedHops === 0,
      underscores: config.underscores,
      ignoredUpgrades: config.ignoredUpgrades,
      delayedCloseMs: config.delayedCloseTimeout,
      decorate: (head: ResponseHead) => {
        if (!head.has(H.date)) head.add(H.date, config.date.value)
        if (config.serverHeader !== 'pass-through') head.set(H.server, config.serverName)
        if (config.via !== '') head.add(H.via, config.via)
      },
    }),
    handler,
  )
}

const http2: ServerCodecFactory = (transport, manager, handler) =>
  createHttp2ServerConnection(
    transport,
    {
      runtime: manager.config.runtime,
      settings: manager.config.http2,
      stats: downstreamHttp2Stats(manager.context.stats),
      limits: {
        maxCount: manager.config.maxHeadersCount,
        maxBytes: manager.config.maxRequestHeadersKb * 1024,
        underscores: manager.config.underscores,
      },
      delayedCloseMs: manager.config.delayedCloseTimeout,
      flushTimeoutMs: manager.config.streamIdleTimeout,
    },
    handler,
  )

/** How an HTTP/2 connection with prior knowledge begins (conn_manager_utility.cc determineNextProtocol). */
const PREFACE = Buffer.from('PRI * HTTP/2', 'latin1')

/** The codec for a connection: by config, else by ALPN; undefined: its first bytes decide. */
export function codecFor(config: HcmConfig, transport: Transport): ServerCodecFactory | undefined {
  if (config.codec !== 'auto') return config.codec === 'http2' ? http2 : http1
  const alpn = transport.info.tls?.alpn ?? ''
  if (alpn === '') return undefined
  return alpn === 'h2' ? http2 : http1
}

/**
 * Waits for the first bytes of a connection, which say what it speaks; then `decided` makes its codec, and what has
 * come goes there. `closed`: it ended before.
 */
export class CodecSniffer implements TransportHandler {
  private readonly transport: Transport
  private readonly decided: (codec: ServerCodecFactory) => void
  private readonly closed: () => void

  constructor(transport: Transport, decided: (codec: ServerCodecFactory) => void, closed: () => void) {
    this.transport = transport
    this.decided = decided
    this.closed = closed
  }

  onData(chunk: Buffer): void {
    const isHttp2 = chunk.length >= PREFACE.length && chunk.compare(PREFACE, 0, PREFACE.length, 0, PREFACE.length) === 0
    this.decided(isHttp2 ? http2 : http1)
    this.transport.handler.onData(chunk)
  }

  onEnd(): void {
    this.transport.close()
  }

  onDrain(): void {}

  onClose(): void {
    this.closed()
  }
}
