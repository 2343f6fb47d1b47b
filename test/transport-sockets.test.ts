import net from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { TransportVariant } from '../src/proxy/net/transport.ts'
import { enterTurn, leaveTurn } from '../src/proxy/net/turn.ts'
import { peek } from './support/peek.ts'
import { connect, Recorder, Server, socketPair } from './support/socket-pair.ts'

describe.each<TransportVariant>(['shared', 'plain'])('a %s transport', (variant) => {
  let server: Server
  let port: number

  beforeEach(async () => {
    server = new Server(variant)
    port = await server.listen()
  })

  afterEach(() => server.close())

  test('carries bytes both ways, and says who is who', async () => {
    const { near, far, nearSees, farSees } = await socketPair(server, port, variant)
    near.write(Buffer.from('ping'))
    await farSees.until(() => farSees.received === 'ping')
    far.write(Buffer.from('pong'))
    await nearSees.until(() => nearSees.received === 'pong')
    expect(near.info.remote).toEqual({ ip: '127.0.0.1', port })
    expect(far.info.remote).toEqual(near.info.local)
    expect(far.info.local).toEqual({ ip: '127.0.0.1', port })
    expect(far.info.id).not.toBe(near.info.id)
    expect([near.bytesWritten, near.bytesRead, far.bytesRead]).toEqual([4, 4, 4])
  })

  test('takes bytes whose memory is used again at once', async () => {
    const { near, farSees } = await socketPair(server, port, variant)
    const memory = Buffer.from('one')
    near.write(memory)
    memory.write('two')
    near.write(memory)
    await farSees.until(() => farSees.received.length === 6)
    expect(farSees.received).toBe('onetwo')
  })

  test('carries megabytes in order, with backpressure', async () => {
    const { near, far, nearSees, farSees } = await socketPair(server, port, variant)
    far.pause()
    const piece = Buffer.alloc(300_000)
    let sent = 0
    let room = true
    for (let i = 0; i < 40 && room; i++) {
      piece.fill(97 + (i % 26))
      room = near.write(piece)
      sent += piece.length
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(room).toBe(false)
    expect(nearSees.drained).toBe(0)
    far.resume()
    await nearSees.until(() => nearSees.drained === 1)
    await farSees.until(() => farSees.received.length === sent)
    for (let i = 0; i * 300_000 < sent; i++) {
      expect(farSees.received.slice(i * 300_000, (i + 1) * 300_000)).toBe(
        String.fromCharCode(97 + (i % 26)).repeat(300_000),
      )
    }
  })

  test('a half-close leaves the other direction open', async () => {
    const { near, far, nearSees, farSees } = await socketPair(server, port, variant)
    near.write(Buffer.from('last words'))
    near.end()
    await farSees.until(() => farSees.ended)
    expect(farSees.received).toBe('last words')
    far.write(Buffer.from('answer'))
    far.end()
    await nearSees.until(() => nearSees.closed)
    expect([nearSees.received, nearSees.ended, nearSees.error]).toEqual(['answer', true, undefined])
    await farSees.until(() => farSees.closed)
  })

  test('close sends what was written first', async () => {
    const { near, nearSees, far, farSees } = await socketPair(server, port, variant)
    near.write(Buffer.alloc(3_000_000, 'x'))
    near.close()
    await farSees.until(() => farSees.ended)
    expect(farSees.received.length).toBe(3_000_000)
    far.close()
    await nearSees.until(() => nearSees.closed)
    await farSees.until(() => farSees.closed)
  })

  test('close does not wait for ever for the other side', async () => {
    const { near, nearSees } = await socketPair(server, port, variant)
    near.close()
    await nearSees.until(() => nearSees.closed)
    expect(near.info.detectedCloseType).toBe('Normal')
  })

  test('a reset reaches the other side as one', async () => {
    const { near, nearSees, farSees } = await socketPair(server, port, variant)
    near.destroy(true)
    await farSees.until(() => farSees.closed)
    expect(farSees.error).toBe('ECONNRESET')
    await nearSees.until(() => nearSees.closed)
    expect(nearSees.error).toBeUndefined()
  })

  test('nothing arrives while paused', async () => {
    const { near, far, nearSees, farSees } = await socketPair(server, port, variant)
    far.pause()
    near.write(Buffer.from('wait'))
    const other = await socketPair(server, port, variant)
    other.near.write(Buffer.from('x'))
    await other.farSees.until(() => other.farSees.received === 'x')
    expect(farSees.received).toBe('')
    far.resume()
    await farSees.until(() => farSees.received === 'wait')
    expect(nearSees.closed).toBe(false)
  })

  test('what is written in one turn leaves together', async () => {
    const { near, farSees } = await socketPair(server, port, variant)
    const sizes: number[] = []
    farSees.onData = (chunk) => {
      sizes.push(chunk.length)
      Recorder.prototype.onData.call(farSees, chunk)
    }
    enterTurn()
    for (let i = 0; i < 10; i++) near.write(Buffer.from('0123456789'))
    leaveTurn()
    await farSees.until(() => farSees.received.length === 100)
    expect(sizes).toEqual([100])
  })

  test('a refused connection is told in Envoy’s words', async () => {
    const closed = net.createServer()
    await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve))
    const freed = (closed.address() as net.AddressInfo).port
    await new Promise((resolve) => closed.close(resolve))
    await expect(connect(freed, { variant })).rejects.toThrow('ECONNREFUSED: delayed connect error: Connection refused')
  })

  test('a peek reads without consuming', async () => {
    const accepted = server.next()
    const near = await connect(port, { variant })
    const far = await accepted
    const seen: string[] = []
    const enough = new Promise<void>((resolve) =>
      peek(
        far,
        (bytes) => {
          seen.push(bytes.toString())
          if (bytes.length === 3) near.write(Buffer.from('def'))
          if (bytes.length < 6) return false
          resolve()
          return true
        },
        () => {},
      ),
    )
    near.write(Buffer.from('abc'))
    await enough
    expect(seen).toEqual(['abc', 'abcdef'])
    near.write(Buffer.from('ghi'))
    const sees = new Recorder()
    far.handler = sees
    await sees.until(() => sees.received === 'abcdefghi')
    expect(far.bytesRead).toBe(9)
  })

  test('a peek may hand the transport on while it is asked', async () => {
    const accepted = server.next()
    const near = await connect(port, { variant })
    const far = await accepted
    const sees = new Recorder()
    peek(
      far,
      () => {
        far.handler = sees
        return true
      },
      () => {},
    )
    near.write(Buffer.from('abc'))
    await sees.until(() => sees.received === 'abc')
  })

  test('a peek ends when the peer closes', async () => {
    const accepted = server.next()
    const near = await connect(port, { variant })
    const ended = new Promise<string | undefined>((resolve) => accepted.then((far) => peek(far, () => false, resolve)))
    near.end()
    expect(await ended).toBeUndefined()
  })

  test('a handler set after the peer has gone still learns of it', async () => {
    const accepted = server.next()
    const near = await connect(port, { variant })
    const far = await accepted
    near.write(Buffer.from('bye'))
    near.end()
    await new Promise((resolve) => setTimeout(resolve, 30))
    const sees = new Recorder()
    far.handler = sees
    await sees.until(() => sees.ended)
    expect(sees.received).toBe('bye')
  })
})
