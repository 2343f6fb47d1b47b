/** Byte connections: accepting, connecting, TLS on both sides. */

export { type ConnectAttempt, type ConnectOptions, connectTransport } from './connect.ts'
export { acceptTransport, SocketTransport, type TransportVariant } from './socket-transport.ts'
export { type ClientTlsOptions, type ServerTlsOptions, serverTls } from './tls.ts'
