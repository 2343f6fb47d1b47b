import { createServerConnection } from '../http1/server.ts'
import { http1Settings } from '../http1/settings.ts'
import type { Transport } from '../listener/connection.ts'
import type { ServerConnection, ServerConnectionHandler } from './codec.ts'
import type { HcmConfig } from './hcm-config.ts'
import type { ResponseHead } from './headers.ts'
import { H } from './names.ts'

/** Makes the server side of a protocol on an accepted connection. */
export type ServerCodecFactory = (
  transport: Transport,
  config: HcmConfig,
  bufferLimit: number,
  handler: ServerConnectionHandler,
) => ServerConnection

const http1: ServerCodecFactory = (transport, config, bufferLimit, handler) =>
  createServerConnection(
    transport,
    http1Settings(config.runtime, {
      maxHeadersKb: config.maxRequestHeadersKb,
      maxHeadersCount: config.maxHeadersCount,
      enableTrailers: config.enableTrailers,
      allowChunkedLength: config.allowChunkedLength,
      headerCase: config.properCase ? 'proper' : 'lower',
      bufferLimit,
      acceptHttp10: config.acceptHttp10,
      defaultHostForHttp10: config.defaultHostForHttp10,
      allowAbsoluteUrl: config.allowAbsoluteUrl,
      refuseHttpsOnPlaintext: config.useRemoteAddress && config.xffTrustedHops === 0,
      underscores: config.underscores,
      delayedCloseMs: config.delayedCloseTimeout,
      decorate: (head: ResponseHead) => {
        if (!head.has(H.date)) head.add(H.date, config.date.value)
        if (config.serverHeader !== 'pass-through') head.set(H.server, config.serverName)
        if (config.via !== '') head.add(H.via, config.via)
      },
    }),
    handler,
  )

const factories = new Map<'HTTP/1.1' | 'HTTP/2', ServerCodecFactory>([['HTTP/1.1', http1]])

/** Adds a protocol. Called once, when its module is loaded. */
export function registerServerCodec(protocol: 'HTTP/1.1' | 'HTTP/2', factory: ServerCodecFactory): void {
  factories.set(protocol, factory)
}

/** Whether a protocol can be served: what is not there is refused when configured. */
export function serves(protocol: 'HTTP/1.1' | 'HTTP/2'): boolean {
  return factories.has(protocol)
}

/** The codec for a connection: by config, else by ALPN, else HTTP/1. */
export function codecFor(config: HcmConfig, transport: Transport): ServerCodecFactory {
  const h2 = factories.get('HTTP/2')
  if (
    h2 !== undefined &&
    (config.codec === 'http2' || (config.codec === 'auto' && transport.info.tls?.alpn === 'h2'))
  ) {
    return h2
  }
  return http1
}
