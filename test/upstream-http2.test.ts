import http2 from 'node:http2'
import net from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { headerName, RequestHead } from '../src/proxy/http/headers.ts'
import type { Cluster } from '../src/proxy/upstream/cluster.ts'
import { get, listen, send, staticCluster, type World, world } from './support/upstream-cluster.ts'
import { lbContext } from './support/upstream-hosts.ts'

const servers: http2.Http2Server[] = []
const sessions = new Set<http2.ServerHttp2Session>()
const worlds: World[] = []
afterEach(() => {
  for (const w of worlds.splice(0)) w.clusters.close()
  for (const session of sessions) session.destroy()
  for (const s of servers.splice(0)) s.close()
})

async function upstream(
  onStream: (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void,
): Promise<number> {
  const server = http2.createServer()
  server.on('session', (session) => {
    sessions.add(session)
    session.on('close', () => sessions.delete(session))
  })
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {})
    onStream(stream, headers)
  })
  servers.push(server)
  return listen(server as never)
}

function start(port: number): { w: World; cluster: Cluster } {
  const w = world()
  worlds.push(w)
  w.clusters.addStatic([staticCluster([port], { http2ProtocolOptions: {} })])
  return { w, cluster: w.clusters.get('a')! }
}

it('many requests share one connection', async () => {
  const waiting: http2.ServerHttp2Stream[] = []
  const port = await upstream((stream) => {
    waiting.push(stream)
    if (waiting.length < 5) return
    for (const s of waiting) s.respond({ ':status': 200 })
    for (const s of waiting) s.end('ok')
  })
  const { w, cluster } = start(port)
  const results = await Promise.all(Array.from({ length: 5 }, () => get(cluster)))
  expect(results).toEqual(Array(5).fill('200 ok'))
  expect(w.value('cluster.a.upstream_cx_http2_total')).toBe(1)
  expect(w.value('cluster.a.upstream_rq_total')).toBe(5)
  expect(w.value('cluster.a.upstream_rq_active')).toBe(0)
})

it('bodies and trailers go both ways, hop-by-hop headers do not', async () => {
  let seen: http2.IncomingHttpHeaders = {}
  const port = await upstream((stream, headers) => {
    seen = headers
    let body = ''
    let sent: http2.IncomingHttpHeaders = {}
    stream.on('data', (chunk) => {
      body += chunk
    })
    stream.on('trailers', (t) => {
      sent = t
    })
    stream.on('end', () => {
      stream.respond({ ':status': 201, 'x-a': ['1', '2'] }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-end': String(sent['x-sum']) }))
      stream.end(body.toUpperCase())
    })
  })
  const { cluster } = start(port)
  const context = lbContext()
  const events: string[] = []
  await new Promise<void>((resolve) => {
    cluster.newStream(
      cluster.chooseHost(context)!,
      context,
      'default',
      'HTTP/1.1',
      {
        onInterim: () => {},
        onHeaders: (head, end) => void events.push(`${head.status} ${head.values(headerName('x-a'))} ${end}`),
        onData: (chunk) => void events.push(Buffer.from(chunk).toString()),
        onTrailers: (trailers) => {
          events.push(`x-end: ${trailers.get(headerName('x-end'))}`)
          resolve()
        },
        onReset: (reason) => {
          events.push(reason)
          resolve()
        },
        onWritable: () => {},
      },
      {
        onPoolReady: (stream) => {
          const head = RequestHead.create('POST', '/p', 'svc.test')
          head.add(headerName('connection'), 'keep-alive')
          head.add(headerName('x-b'), 'yes')
          stream.sendHeaders(head, false)
          stream.sendData(Buffer.from('hello'), false)
          const trailers = RequestHead.create('', '', '')
          trailers.add(headerName('x-sum'), '7')
          stream.sendTrailers(trailers)
        },
        onPoolFailure: (reason) => {
          events.push(reason)
          resolve()
        },
      },
    )
  })
  expect(events).toEqual(['201 1,2 false', 'HELLO', 'x-end: 7'])
  expect(seen).toMatchObject({ ':method': 'POST', ':path': '/p', ':authority': 'svc.test', 'x-b': 'yes' })
  expect(seen.connection).toBeUndefined()
})

it('a stream that the upstream resets, or refuses, says so; the connection goes on', async () => {
  const codes = [http2.constants.NGHTTP2_INTERNAL_ERROR, http2.constants.NGHTTP2_REFUSED_STREAM]
  const port = await upstream((stream) => {
    const code = codes.shift()
    if (code === undefined) stream.respond({ ':status': 204 }, { endStream: true })
    else stream.close(code)
  })
  const { w, cluster } = start(port)
  expect(await get(cluster)).toBe('remote reset')
  expect(await get(cluster)).toBe('remote refused stream reset')
  expect(await get(cluster)).toBe('204 ')
  expect(w.value('cluster.a.upstream_cx_total')).toBe(1)
})

/** An HTTP/2 frame. */
function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head.writeUInt8(type, 3)
  head.writeUInt8(flags, 4)
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

for (const code of [http2.constants.NGHTTP2_NO_ERROR, http2.constants.NGHTTP2_CANCEL]) {
  it(`a body that is cut off by a reset with code ${code} is not taken for complete`, async () => {
    const server = net.createServer((socket) => {
      socket.on('error', () => {})
      socket.write(frame(4, 0, 0, Buffer.alloc(0)))
      socket.on('data', (bytes) => {
        // The request's HEADERS frame.
        if (!bytes.includes(Buffer.from([1, 5, 0, 0, 0, 1]))) return
        const reset = Buffer.alloc(4)
        reset.writeUInt32BE(code)
        const status200 = Buffer.from([0x88])
        socket.write(
          Buffer.concat([frame(1, 4, 1, status200), frame(0, 0, 1, Buffer.from('half')), frame(3, 0, 1, reset)]),
        )
      })
    })
    servers.push(server as never)
    expect(await get(start(await listen(server)).cluster)).toBe('remote reset')
  })
}

it('an upstream that dies resets all streams', async () => {
  let count = 0
  const port = await upstream(() => {
    if (++count === 2) for (const session of sessions) session.destroy()
  })
  const { w, cluster } = start(port)
  // Streams that were reset on the way down say that.
  const ends = ['remote reset', 'connection termination']
  for (const result of await Promise.all([get(cluster), get(cluster)])) expect(ends).toContain(result)
  expect(w.value('cluster.a.upstream_cx_active')).toBe(0)
  expect(w.value('cluster.a.upstream_cx_destroy_remote_with_active_rq')).toBe(1)
})

it('after GOAWAY new requests get a new connection, and the old one finishes', async () => {
  let first: http2.ServerHttp2Stream | undefined
  const port = await upstream((stream) => {
    if (first !== undefined) stream.respond({ ':status': 204 }, { endStream: true })
    else {
      first = stream
      stream.session!.goaway(0, stream.id)
    }
  })
  const { w, cluster } = start(port)
  const sent = send(cluster)
  while (first === undefined) await new Promise((resolve) => setImmediate(resolve))
  // GOAWAY has arrived once a request goes elsewhere.
  while (w.value('cluster.a.upstream_cx_total') < 2) {
    // One that is on its way when GOAWAY is sent is refused.
    expect(['204 ', 'remote refused stream reset']).toContain(await get(cluster))
  }
  first.respond({ ':status': 200 })
  first.end('late')
  expect((await sent.done).result).toBe('200 late')
})

it('cancelling one stream leaves the others alone', async () => {
  const streams: http2.ServerHttp2Stream[] = []
  const port = await upstream((stream) => void streams.push(stream))
  const { w, cluster } = start(port)
  const [a, b] = [send(cluster), send(cluster)]
  while (streams.length < 2) await new Promise((resolve) => setImmediate(resolve))
  a.cancel()
  expect(w.value('cluster.a.upstream_rq_active')).toBe(1)
  for (const s of streams) if (!s.destroyed) s.respond({ ':status': 204 }, { endStream: true })
  expect((await b.done).result).toBe('204 ')
  expect(w.value('cluster.a.upstream_cx_active')).toBe(1)
})
