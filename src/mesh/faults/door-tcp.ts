import net from 'node:net'
import type { DoorContext } from './door.ts'
import type { Injection } from './fault-state.ts'
import { Shaper } from './shaper.ts'

/** One connection that carries no HTTP: faults are decided once, as it comes. */
export function serveTcp(socket: net.Socket, context: DoorContext): void {
  const injection = context.faults()?.ofConnection(context.port)
  const { ending, delay = 0 } = injection ?? {}
  socket.pause()
  const proceed = () => {
    if (socket.destroyed) return
    if (ending?.kind === 'reset' && ending.after === 'request') socket.resetAndDestroy()
    else if (ending?.kind === 'hang') {
      const giveUp = context.holds.hold(undefined, () => connect(socket, context, undefined))
      socket.on('close', giveUp)
    } else connect(socket, context, injection)
  }
  if (delay === 0) proceed()
  else socket.on('close', context.holds.hold(delay, proceed))
}

/** Opens the connection to the app and joins the two, the answers held up as told. */
function connect(socket: net.Socket, context: DoorContext, injection: Injection | undefined): void {
  if (socket.destroyed) return
  const app = net.connect({ ...context.app, ...from(socket), allowHalfOpen: true, noDelay: true })
  app.on('error', () => socket.resetAndDestroy())
  socket.on('error', () => app.destroy())
  socket.on('close', () => app.destroy())
  join(socket, app, context, injection)
}

/** Joins two sockets. `injection`: what happens to the bytes that go back. */
export function join(
  socket: net.Socket,
  app: net.Socket,
  { runtime }: DoorContext,
  injection: Injection | undefined,
): void {
  const { ending, bytesPerSecond } = injection ?? {}
  const cutAfter =
    ending?.kind === 'reset' && ending.after !== 'request' ? (ending.after === 'headers' ? 1 : ending.after) : undefined
  socket.pipe(app)
  if (bytesPerSecond === undefined && cutAfter === undefined) app.pipe(socket)
  else app.pipe(new Shaper({ runtime, bytesPerSecond, cutAfter, onCut: () => resetSoon(socket) })).pipe(socket)
  socket.resume()
}

/** Resets a connection once what was written to it is with the other side. */
export function resetSoon(socket: net.Socket): void {
  setImmediate(() => {
    if (socket.destroyed) return
    if (socket.writableLength === 0) setImmediate(() => socket.resetAndDestroy())
    else socket.once('drain', () => resetSoon(socket))
  })
}

/** The app sees connections from where the sidecar's came from. */
export function from(socket: net.Socket): { localAddress?: string } {
  const address = socket.remoteAddress ?? ''
  return address.startsWith('127.') ? { localAddress: address } : {}
}
