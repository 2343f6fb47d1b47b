import type { ClientConnection, ClientConnectionHandler } from '../http/codec.ts'
import type { Transport } from '../listener/connection.ts'
import { Http1ClientConnection } from './client-connection.ts'
import type { Http1ClientSettings } from './settings.ts'

/** Speaks HTTP/1 as the client on a connected transport, and takes it over: sets its handler, closes it in the end. */
export function createClientConnection(
  transport: Transport,
  settings: Http1ClientSettings,
  handler: ClientConnectionHandler,
): ClientConnection {
  const connection = new Http1ClientConnection(transport, settings, handler)
  transport.handler = connection
  return connection
}
