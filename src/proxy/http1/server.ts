import type { ServerConnection, ServerConnectionHandler } from '../http/codec.ts'
import type { Transport } from '../listener/connection.ts'
import type { Http1Settings } from './settings.ts'

export function createServerConnection(
  transport: Transport,
  settings: Http1Settings,
  handler: ServerConnectionHandler,
): ServerConnection {
  void transport, settings, handler
  throw new Error('being written')
}
