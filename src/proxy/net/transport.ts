/** Byte connections: accepting, connecting, TLS on both sides. */

export {
  type ConnectAttempt,
  type ConnectOptions,
  type ConnectTarget,
  type ConnectWatcher,
  connectTransport,
} from './connect.ts'
export { type Peeking, peek } from './peek.ts'
export { type AcceptOptions, acceptTransport, SocketTransport, type TransportVariant } from './socket-transport.ts'
export { type ClientTlsOptions, type ServerTlsOptions, type ServerTlsWatcher, serverTls } from './tls.ts'
export { atTurnEnd, enterTurn, leaveTurn, type TurnTask } from './turn.ts'
