import type { ServerConnection, ServerConnectionHandler } from '../http/codec.ts'
import type { Transport } from '../listener/connection.ts'
import { Http1ServerConnection } from './server-connection.ts'
import type { Http1Settings } from './settings.ts'

/** Speaks HTTP/1 as the server on a transport, and takes it over: sets its handler, closes it in the end. */
export function createServerConnection(
  transport: Transport,
  settings: Http1Settings,
  handler: ServerConnectionHandler,
): ServerConnection {
  const connection = new Http1ServerConnection(transport, settings, handler)
  transport.handler = connection
  return connection
}
