import type { ClientConnection, ClientConnectionHandler } from '../http/codec.ts'
import type { Transport } from '../listener/connection.ts'
import type { Http1ClientSettings } from './settings.ts'

export function createClientConnection(
  transport: Transport,
  settings: Http1ClientSettings,
  handler: ClientConnectionHandler,
): ClientConnection {
  void transport, settings, handler
  throw new Error('being written')
}
