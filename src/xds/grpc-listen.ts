import { constants } from 'node:crypto'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import tls from 'node:tls'
import { ServerCredentials } from '@grpc/grpc-js'
import { type GrpcHandlers, type GrpcListener, grpcServer, shutDown } from './grpc-server.ts'

/** What a TLS server shows and trusts; PEM. */
export interface ServerTls {
  /** Leaf first. */
  readonly cert: string
  readonly key: string
  /** Roots that client certificates have to lead to. */
  readonly ca: string
}

/** A gRPC server over TLS. */
export interface GrpcTlsListener extends GrpcListener {
  /** What new connections meet from now on. */
  update(material: ServerTls): void
}

/** The longest path of a unix socket, bytes (sun_path without its end). */
const MAX_SOCKET_PATH = 107

/**
 * Listens for gRPC over TLS 1.2 or later. Client certificates are optional; one that does not lead to `ca`, or is out of
 * date, ends the connection (Go's VerifyClientCertIfGiven, as istiod has it). Sessions are not resumed: a certificate is
 * judged anew at each connection. Rejects when the address cannot be bound.
 */
export async function listenGrpcTls(
  at: { readonly host: string; readonly port: number },
  services: readonly GrpcHandlers[],
  material: ServerTls,
): Promise<GrpcTlsListener> {
  const grpc = grpcServer(services)
  // gRPC's own TLS server either asks for no certificate or has to have one.
  const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure())
  const server = tls.createServer(
    {
      ...contextOf(material),
      requestCert: true,
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
    },
    (socket) => {
      socket.on('error', () => socket.destroy())
      const refused = socket.getPeerX509Certificate() !== undefined && !socket.authorized
      if (refused || socket.alpnProtocol !== 'h2') socket.destroy()
      else injector.injectConnection(socket)
    },
  )
  const sockets = track(server)
  server.on('tlsClientError', (_, socket) => socket.destroy())
  await listening(server, () => server.listen(at.port, at.host), `${at.host}:${at.port}`)
  const { port } = server.address() as net.AddressInfo
  return {
    port,
    address: `${at.host.includes(':') ? `[${at.host}]` : at.host}:${port}`,
    update: (next) => server.setSecureContext(contextOf(next)),
    close: () => close(server, sockets, () => shutDown(grpc)),
  }
}

/** What of the settings goes with the certificates: all of it is set anew with these. */
function contextOf(material: ServerTls): tls.SecureContextOptions {
  return { ...material, minVersion: 'TLSv1.2', secureOptions: constants.SSL_OP_NO_TICKET }
}

/**
 * Listens for gRPC on a unix socket that only this user can use (mode 0600); its folder is made with mode 0700 if it is
 * not there. A socket that a dead process left is taken away. Rejects when the folder is open to others, when something
 * else is there, or when somebody listens.
 */
export async function listenGrpcUnix(file: string, services: readonly GrpcHandlers[]): Promise<GrpcListener> {
  await prepare(file)
  const grpc = grpcServer(services)
  const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure())
  const server = net.createServer((socket) => {
    socket.on('error', () => socket.destroy())
    injector.injectConnection(socket)
  })
  const sockets = track(server)
  await listening(
    server,
    () => {
      // The socket comes into being within this call: at no moment is it open to others.
      const before = process.umask(0o177)
      try {
        server.listen(file)
      } finally {
        process.umask(before)
      }
    },
    file,
  )
  fs.chmodSync(file, 0o600)
  return { port: 0, address: `unix:${file}`, close: () => close(server, sockets, () => shutDown(grpc)) }
}

async function prepare(file: string): Promise<void> {
  const complain = (why: string): never => {
    throw new Error(`cannot listen on ${file}: ${why}`)
  }
  if (Buffer.byteLength(file) > MAX_SOCKET_PATH) complain(`a socket's path may have ${MAX_SOCKET_PATH} bytes at most`)
  const folder = path.dirname(path.resolve(file))
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
  const { uid, mode } = fs.statSync(folder)
  const sticky = (mode & 0o1000) !== 0
  if ((mode & 0o022) !== 0 && !sticky) complain(`others may write to its folder ${folder}`)
  if (![0, os.userInfo().uid].includes(uid)) complain(`its folder ${folder} belongs to someone else`)
  const there = fs.lstatSync(file, { throwIfNoEntry: false })
  if (!there) return
  if (!there.isSocket()) complain('there is something else of that name')
  if (await answers(file)) complain('the address is in use')
  fs.rmSync(file)
}

function answers(file: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.connect(file)
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', () => resolve(false))
  })
}

function listening(server: net.Server, start: () => void, at: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code === 'EADDRINUSE' ? 'the address is in use' : error.message
      reject(new Error(`cannot listen for gRPC on ${at}: ${reason}`, { cause: error }))
    })
    server.once('listening', () => resolve())
    start()
  })
}

function track(server: net.Server): ReadonlySet<net.Socket> {
  const sockets = new Set<net.Socket>()
  server.on('connection', (socket: net.Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  return sockets
}

async function close(server: net.Server, sockets: ReadonlySet<net.Socket>, first: () => Promise<void>): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  const ended = first()
  // What is in the middle of a handshake knows of no call that could be ended.
  for (const socket of sockets) socket.destroy()
  await ended
  await closed
}
