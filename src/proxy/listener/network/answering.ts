import type { Message } from '@bufbuild/protobuf'
import type { Config } from '#gen/envoy/extensions/filters/network/direct_response/v3/config_pb.js'
import { ConfigError, type ConnectionHandler, type TerminalFilterFactory } from '../../context.ts'
import { connectionStreamInfo } from '../../tcp/stream-info.ts'
import { readDataSource } from '../../tls/data-source.ts'
import type { Transport } from '../connection.ts'

/** A handler that serves each connection by itself, and needs nothing. */
function serving(serve: (transport: Transport, gone: () => void) => void, endCloses = false): ConnectionHandler {
  let connections = 0
  return {
    onConnection(transport) {
      connections++
      serve(transport, () => {
        connections--
      })
    },
    endCloses,
    whenWarm: (ready) => ready(),
    close() {},
    get connections() {
      return connections
    },
  }
}

/** `envoy.filters.network.direct_response`: says one thing and closes (source/extensions/filters/network/direct_response). */
export const directResponse: TerminalFilterFactory = (message: Message, context) => {
  const errors: string[] = []
  const bytes = readDataSource((message as Config).response, 'response', errors)
  if (errors.length > 0) throw new ConfigError(errors)
  return serving((transport, gone) => {
    transport.handler = { onData() {}, onEnd() {}, onDrain() {}, onClose: gone }
    connectionStreamInfo(context.runtime, transport.info).responseCodeDetails = 'direct_response'
    if (bytes !== undefined) transport.write(bytes)
    transport.close()
  })
}

/** `envoy.filters.network.echo`: sends back what comes (source/extensions/filters/network/echo/echo.cc). */
export const echo: TerminalFilterFactory = () =>
  serving((transport, gone) => {
    transport.handler = {
      onData(chunk) {
        if (!transport.write(chunk)) transport.pause()
      },
      onEnd: () => transport.end(),
      onDrain: () => transport.resume(),
      onClose: gone,
    }
  }, true)
