import net from 'node:net'
import { afterEach, expect, test } from 'vitest'
import type { ConnectionHandler, ListenerContext, ProxyContext } from '../src/proxy/context.ts'
import { identityBook } from '../src/proxy/listener/connection.ts'
import { type ReadFilterCallbacks, type ReadFilterMaker, withReadFilters } from '../src/proxy/listener/read-filters.ts'
import { acceptTransport } from '../src/proxy/net/transport.ts'
import { SystemRuntime } from '../src/runtime-system.ts'
import { Client, eventually } from './support/proxy.ts'

const cleanup: (() => unknown)[] = []
afterEach(() => {
  for (const fn of cleanup.splice(0).reverse()) fn()
})

const runtime = new SystemRuntime()

/** A server whose connections go through read filters to a last one that collects what it gets. */
async function serving(makers: ReadFilterMaker[], pauseFirst = false) {
  const got = { text: '', ended: false, begun: 0, resume: () => {} }
  const last: ConnectionHandler = {
    onConnection(transport) {
      got.begun++
      got.resume = () => transport.resume()
      if (pauseFirst) transport.pause()
      transport.handler = {
        onData: (chunk) => {
          got.text += chunk
        },
        onEnd: () => {
          got.ended = true
          transport.close()
        },
        onDrain() {},
        onClose() {},
      }
    },
    whenWarm: (ready) => ready(),
    close() {},
    connections: 0,
  }
  const listener: ListenerContext = { statPrefix: '', name: 'l', direction: undefined, perConnectionBufferLimit: 0 }
  const handler = withReadFilters(makers, last, { runtime } as unknown as ProxyContext, listener)
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    handler.onConnection(acceptTransport(socket, { runtime, book: identityBook }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanup.push(() => server.close())
  const c = new Client((server.address() as net.AddressInfo).port)
  cleanup.push(() => c.destroy())
  return { got, c }
}

test('a filter may hold bytes back, sees all of them again, and lets them go on in order', async () => {
  const seen: string[] = []
  let callbacks: ReadFilterCallbacks | undefined
  const waits: ReadFilterMaker = (given) => {
    callbacks = given
    return {
      onNewConnection: () => 'continue',
      onData(data, end) {
        seen.push(String(data))
        return data.length < 6 && !end ? 'stop' : 'continue'
      },
    }
  }
  const { got, c } = await serving([waits])
  c.write('abc')
  await eventually(() => seen.length === 1)
  expect(got.text).toBe('')
  c.write('def')
  await eventually(() => got.text === 'abcdef')
  c.write('g')
  await eventually(() => seen.length === 3)
  expect(seen).toEqual(['abc', 'abcdef', 'g'])
  callbacks!.continueReading()
  await eventually(() => got.text === 'abcdefg')
  c.socket.end()
  await eventually(() => got.ended)
})

test('the last filter hears of a connection when those before it let it', async () => {
  let go = () => {}
  const order: string[] = []
  const first: ReadFilterMaker = ({ continueReading }) => ({
    onNewConnection() {
      order.push('first')
      go = continueReading
      return 'stop'
    },
    onData: () => 'stop',
  })
  const second: ReadFilterMaker = () => ({
    onNewConnection() {
      order.push('second')
      return 'continue'
    },
    onData(data, end) {
      order.push(`${data}${end ? '.' : ''}`)
      return 'continue'
    },
  })
  const { got, c } = await serving([first, second], true)
  c.socket.end('early')
  await eventually(() => order.length === 1)
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(got.begun).toBe(0)
  go()
  expect(order).toEqual(['first', 'second', 'early.'])
  expect(got).toMatchObject({ begun: 1, text: '' })
  got.resume()
  await eventually(() => got.ended)
  expect(got.text).toBe('early')
})
