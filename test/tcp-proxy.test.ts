import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  Client,
  echoServer,
  eventually,
  type RunningProxy,
  socketAddress,
  startProxy,
  staticCluster,
  tcpProxyFilter,
} from './support/proxy.ts'

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
})

async function proxyTo(clusters: object[], filter: object): Promise<RunningProxy> {
  const proxy = await startProxy({
    static_resources: {
      clusters,
      listeners: [{ name: 'l', address: socketAddress(0), filter_chains: [{ filters: [tcpProxyFilter(filter)] }] }],
    },
  })
  cleanup.push(() => proxy.stop())
  return proxy
}

async function upstream(greeting = '') {
  const server = await echoServer(greeting)
  cleanup.push(() => server.close())
  return server
}

function client(proxy: RunningProxy): Client {
  const c = new Client(proxy.port('l'))
  cleanup.push(() => c.destroy())
  return c
}

describe('bytes', () => {
  test('go both ways, and a greeting comes before the client has said anything', async () => {
    const server = await upstream('hello\n')
    const proxy = await proxyTo([staticCluster('c', server.port)], { cluster: 'c' })
    const c = client(proxy)
    await c.receives('hello\n')
    c.write('ping')
    await c.receives('hello\nping')
    expect(proxy.counter('tcp.t.downstream_cx_total')).toBe(1)
    expect(proxy.counter('tcp.t.downstream_cx_rx_bytes_total')).toBe(4)
    expect(proxy.counter('tcp.t.downstream_cx_tx_bytes_total')).toBe(10)
    expect(proxy.counter('listener.127.0.0.1_0.downstream_cx_active')).toBe(1)
  })

  test('after the client has half-closed, the answer still arrives', async () => {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      let got = ''
      socket.on('data', (data) => {
        got += data
      })
      socket.on('end', () => socket.end(`got ${got}`))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    cleanup.push(() => server.close())
    const proxy = await proxyTo([staticCluster('c', (server.address() as net.AddressInfo).port)], { cluster: 'c' })
    const c = client(proxy)
    c.socket.end('question')
    await c.ended
    expect(c.text).toBe('got question')
    await eventually(() => proxy.counter('listener.127.0.0.1_0.downstream_cx_active') === 0)
  })

  test('after the server has half-closed, the client may go on', async () => {
    let got = ''
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      socket.end('bye')
      socket.on('data', (data) => {
        got += data
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    cleanup.push(() => server.close())
    const proxy = await proxyTo([staticCluster('c', (server.address() as net.AddressInfo).port)], { cluster: 'c' })
    const c = client(proxy)
    await c.ended
    expect(c.text).toBe('bye')
    c.socket.end('still here')
    await c.ended
    await eventually(() => got === 'still here')
  })

  test('in bulk arrive whole, with a client that reads slowly', async () => {
    const size = 8 * 1024 * 1024
    const server = net.createServer((socket) => socket.end(Buffer.alloc(size, 'x')))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    cleanup.push(() => server.close())
    const proxy = await proxyTo([staticCluster('c', (server.address() as net.AddressInfo).port)], { cluster: 'c' })
    const socket = net.connect(proxy.port('l'), '127.0.0.1')
    let received = 0
    socket.on('data', (data) => {
      received += data.length
      socket.pause()
      setImmediate(() => socket.resume())
    })
    await new Promise((resolve) => socket.once('close', resolve))
    expect(received).toBe(size)
  })
})

describe('a connection ends', () => {
  test('when its cluster does not exist: flag NC', async () => {
    const proxy = await proxyTo([], { cluster: 'nowhere' })
    const c = client(proxy)
    await c.ended
    expect(proxy.counter('tcp.t.downstream_cx_no_route')).toBe(1)
  })

  test('when no host accepts, after max_connect_attempts, and the log says UF,URX', async () => {
    const log = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-')), 'log')
    const closed = await echoServer('')
    closed.close()
    const proxy = await proxyTo([staticCluster('c', closed.port)], {
      cluster: 'c',
      max_connect_attempts: 3,
      access_log: [
        {
          name: 'f',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
            path: log,
            log_format: {
              text_format_source: {
                inline_string: '%RESPONSE_FLAGS% %UPSTREAM_CLUSTER% %RESPONSE_CODE% %BYTES_RECEIVED% %PROTOCOL%\n',
              },
            },
          },
        },
      ],
    })
    const c = client(proxy)
    await c.ended
    expect(proxy.counter('cluster.c.upstream_cx_connect_fail')).toBe(3)
    expect(proxy.counter('cluster.c.upstream_cx_connect_attempts_exceeded')).toBe(1)
    await eventually(() => fs.readFileSync(log, 'utf8') !== '')
    expect(fs.readFileSync(log, 'utf8')).toBe('UF,URX c 0 0 -\n')
  })

  test('when nothing has passed for idle_timeout', async () => {
    const server = await upstream()
    const proxy = await proxyTo([staticCluster('c', server.port)], { cluster: 'c', idle_timeout: '0.3s' })
    const c = client(proxy)
    c.write('x')
    await c.receives('x')
    await c.ended
    expect(proxy.counter('tcp.t.idle_timeout')).toBe(1)
  })

  test('when it has lasted for max_downstream_connection_duration', async () => {
    const server = await upstream()
    const proxy = await proxyTo([staticCluster('c', server.port)], {
      cluster: 'c',
      max_downstream_connection_duration: '0.05s',
    })
    const c = client(proxy)
    await c.ended
    expect(proxy.counter('tcp.t.max_downstream_connection_duration')).toBe(1)
  })

  test('when the server resets it', async () => {
    const server = await upstream('up')
    const proxy = await proxyTo([staticCluster('c', server.port)], { cluster: 'c' })
    const c = client(proxy)
    await c.receives('up')
    server.sockets[0]!.resetAndDestroy()
    await c.ended
  })
})

test('weighted clusters share the connections by weight', async () => {
  const a = await upstream('a')
  const b = await upstream('b')
  const proxy = await proxyTo([staticCluster('a', a.port), staticCluster('b', b.port)], {
    weighted_clusters: {
      clusters: [
        { name: 'a', weight: 1 },
        { name: 'b', weight: 3 },
      ],
    },
  })
  const seen = { a: 0, b: 0 }
  for (let i = 0; i < 60; i++) {
    const c = client(proxy)
    await Promise.race([c.receives('a'), c.receives('b')])
    seen[c.text as 'a' | 'b']++
    c.destroy()
  }
  expect(seen.a + seen.b).toBe(60)
  expect(seen.b).toBeGreaterThan(seen.a)
  expect(seen.a).toBeGreaterThan(0)
})

test('a reset of one side is a reset of the other, and the log says UR', async () => {
  const log = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-')), 'log')
  const server = net.createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.resetAndDestroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanup.push(() => server.close())
  const proxy = await proxyTo([staticCluster('c', (server.address() as net.AddressInfo).port)], {
    cluster: 'c',
    access_log: [
      {
        name: 'f',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
          path: log,
          log_format: { text_format_source: { inline_string: '%RESPONSE_FLAGS%\n' } },
        },
      },
    ],
  })
  const c = client(proxy)
  c.write('ping')
  await eventually(() => c.error === 'ECONNRESET')
  await eventually(() => fs.readFileSync(log, 'utf8') === 'UR\n')
})

test('a hash of the client address keeps a client with its host', async () => {
  const servers = [await upstream('a'), await upstream('b'), await upstream('c')]
  const hosts = servers.map(({ port }) => ({ endpoint: { address: socketAddress(port) } }))
  const ring = {
    name: 'ring',
    type: 'STATIC',
    lb_policy: 'RING_HASH',
    load_assignment: { cluster_name: 'ring', endpoints: [{ lb_endpoints: hosts }] },
  }
  const proxy = await proxyTo([ring], { cluster: 'ring', hash_policy: [{ source_ip: {} }] })
  const seen = new Set<string>()
  for (let i = 0; i < 8; i++) {
    const c = client(proxy)
    await eventually(() => c.text !== '')
    seen.add(c.text)
  }
  expect(seen.size).toBe(1)
})

test.each<[string, object, string]>([
  [
    'a post path of a tunnel that does not POST',
    { cluster: 'c', tunneling_config: { hostname: 'a:1', post_path: '/p' } },
    "Can't set a post path when POST method isn't used",
  ],
  ['a missing cluster', {}, 'ClusterSpecifier'],
])('%s is refused by name', async (_name, filter, message) => {
  await expect(proxyTo([], filter)).rejects.toThrow(message)
})

test('chains without filters close what they get', async () => {
  const proxy = await startProxy({
    static_resources: { listeners: [{ name: 'l', address: socketAddress(0), filter_chains: [{ filters: [] }] }] },
  })
  cleanup.push(() => proxy.stop())
  await client(proxy).ended
})
