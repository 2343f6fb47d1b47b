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

/** The protocols that can be served; another one is another entry. */
const factories: Readonly<Partial<Record<'HTTP/1.1' | 'HTTP/2', ServerCodecFactory>>> = { 'HTTP/1.1': http1 }

/** Whether a protocol can be served: what cannot is refused when configured. */
export function serves(protocol: 'HTTP/1.1' | 'HTTP/2'): boolean {
  return factories[protocol] !== undefined
}

/** The codec for a connection: by config, else by ALPN, else HTTP/1. */
export function codecFor(config: HcmConfig, transport: Transport): ServerCodecFactory {
  const wanted = config.codec === 'http2' || (config.codec === 'auto' && transport.info.tls?.alpn === 'h2')
  return (wanted ? factories['HTTP/2'] : undefined) ?? http1
}
