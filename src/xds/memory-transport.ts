import type { AdsServer } from './server.ts'
import {
  type AdsMode,
  type AdsResponse,
  type AdsTransport,
  type ClientStream,
  type ClientStreamHandler,
  IN_PROCESS,
  type ServerStreamHandler,
  type StreamEnd,
} from './stream.ts'

/**
 * Opens ADS streams to a server in the same process. The messages are those of gRPC, but nothing is serialised: the
 * client gets the very objects of the server, which neither may change. Each event comes in a microtask of its own,
 * in order, never inside the call that caused it.
 */
export function memoryTransport(server: AdsServer): AdsTransport {
  return {
    open(mode: AdsMode, handler: ClientStreamHandler): ClientStream {
      let over = false
      let serverSide: ServerStreamHandler | undefined
      const soon = (event: () => void) =>
        queueMicrotask(() => {
          if (!over) event()
        })
      const accepted = () => {
        serverSide ??= server.accept({
          mode,
          peer: IN_PROCESS,
          send(response: AdsResponse) {
            soon(() => handler.received(response))
            return true
          },
          end(reason: StreamEnd) {
            soon(() => {
              over = true
              handler.closed(reason)
            })
          },
        })
        return serverSide
      }
      soon(accepted)
      return {
        send: (request) => soon(() => accepted().received(request)),
        close() {
          if (over) return
          over = true
          queueMicrotask(() => serverSide?.closed())
        },
      }
    },
    close() {},
    toString: () => 'in-process control plane',
  }
}
