import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ClientStream, ClientStreamHandler } from '../src/proxy/http/codec.ts'
import type { HeaderMap, RequestHead } from '../src/proxy/http/headers.ts'
import { createClientConnection } from '../src/proxy/http1/client.ts'
import { createServerConnection } from '../src/proxy/http1/server.ts'
import { http1ClientSettings, http1Settings } from '../src/proxy/http1/settings.ts'
import { identityBook } from '../src/proxy/listener/connection.ts'
import { connectTransport, type TransportVariant } from '../src/proxy/net/transport.ts'
import { isComplete, joinChunks, requestCases, statusesIn } from './support/http1-pair.ts'
import { smallProxy } from './support/small-proxy.ts'
import { connect, Recorder, runtime, Server } from './support/socket-pair.ts'

/** A client stream whose connection is still being opened: keeps what is sent until it is. */
class LazyStream implements ClientStream {
  private real: ClientStream | undefined = undefined
  private readonly kept: ((stream: ClientStream) => void)[] = []

  constructor(port: number, variant: TransportVariant, handler: ClientStreamHandler) {
    connectTransport(
      { address: { ip: '127.0.0.1', port } },
      { runtime, book: identityBook, variant },
      {
        onConnected: (transport) => {
          const connection = createClientConnection(transport, http1ClientSettings(), {
            onIdle: () => connection.close(),
            onDrain() {},
            onClose() {},
          })
          this.real = connection.newStream(handler)
          for (const act of this.kept) act(this.real)
        },
        onFailed: () => handler.onReset('local connection failure', undefined),
      },
    )
  }

  get connection(): ClientStream['connection'] {
    return this.real!.connection
  }

  sendHeaders(head: RequestHead, end: boolean): void {
    this.do((s) => s.sendHeaders(head, end))
  }

  sendData(chunk: Uint8Array, end: boolean): boolean {
    if (this.real !== undefined) return this.real.sendData(chunk, end)
    const copy = Uint8Array.from(chunk)
    this.kept.push((s) => s.sendData(copy, end))
    return true
  }

  sendTrailers(trailers: HeaderMap): void {
    this.do((s) => s.sendTrailers(trailers))
  }

  reset(): void {
    this.do((s) => s.reset())
  }

  pauseReading(): void {
    this.do((s) => s.pauseReading())
  }

  resumeReading(): void {
    this.do((s) => s.resumeReading())
  }

  private do(act: (stream: ClientStream) => void): void {
    if (this.real === undefined) this.kept.push(act)
    else act(this.real)
  }
}

describe.each<TransportVariant>(['shared', 'plain'])('over %s sockets', (variant) => {
  const upstream = new Server(variant)
  const front = new Server(variant)
  let port = 0
  let forwarded: string[] = []

  beforeAll(async () => {
    const upstreamPort = await upstream.listen()
    upstream.onAccept = (transport) => {
      const sees = new Recorder()
      const i = forwarded.push('') - 1
      const mine = forwarded
      sees.onData = (chunk) => {
        mine[i] += chunk.toString('latin1')
        if (isComplete(mine[i]!)) transport.write(Buffer.from('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'))
      }
      transport.handler = sees
    }
    front.onAccept = (transport) =>
      createServerConnection(
        transport,
        http1Settings(runtime),
        smallProxy((handler) => new LazyStream(upstreamPort, variant, handler)),
      )
    port = await front.listen()
  })

  afterAll(() => {
    front.close()
    upstream.close()
  })

  test.each(requestCases())('$name', async (c) => {
    forwarded = []
    const client = await connect(port, { variant })
    const sees = client.handler as Recorder
    client.write(Buffer.from(c.raw, 'latin1'))
    const answers = c.statuses.split(' ')
    await sees.until(() => statusesIn(sees.received).split(' ').length >= answers.length && sees.received !== '')
    expect(statusesIn(sees.received)).toBe(c.statuses)
    client.destroy()
    if (c.forwarded !== '*') expect(joinChunks(forwarded.join(''))).toBe(joinChunks(c.forwarded))
  })

  test('large bodies pass both ways while the receivers are slow', async () => {
    forwarded = []
    const client = await connect(port, { variant })
    const sees = client.handler as Recorder
    const size = 5_000_000
    client.write(Buffer.from(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${size}\r\n\r\n`))
    for (let sent = 0; sent < size; sent += 500_000) {
      if (!client.write(Buffer.alloc(500_000, 'z'))) {
        const before = sees.drained
        await sees.until(() => sees.drained > before)
      }
    }
    await sees.until(() => statusesIn(sees.received) === '200')
    expect(forwarded[0]!.length).toBeGreaterThan(size)
    client.destroy()
  })
})
