import net from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import {
  Client,
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

/** An HTTP proxy of a test: answers a request head with `answer`, then says `echo:` and what comes. */
async function httpProxy(answer: string) {
  const heads: string[] = []
  let ends = 0
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    let head = ''
    socket.on('error', () => {})
    socket.on('end', () => {
      ends++
      socket.end()
    })
    socket.on('data', (data) => {
      if (head.includes('\r\n\r\n')) {
        socket.write(`echo:${data}`)
        return
      }
      head += data
      if (!head.includes('\r\n\r\n')) return
      heads.push(head)
      socket.write(answer)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanup.push(() => server.close())
  return { port: (server.address() as net.AddressInfo).port, heads, ends: () => ends }
}

async function tunnelling(port: number, tunneling_config: object, more: object = {}): Promise<RunningProxy> {
  const filters = [tcpProxyFilter({ cluster: 'c', tunneling_config, ...more })]
  const proxy = await startProxy({
    static_resources: {
      clusters: [staticCluster('c', port)],
      listeners: [{ name: 'l', address: socketAddress(0), filter_chains: [{ filters }] }],
    },
  })
  cleanup.push(() => proxy.stop())
  return proxy
}

function client(proxy: RunningProxy): Client {
  const c = new Client(proxy.port('l'))
  cleanup.push(() => c.destroy())
  return c
}

describe('a connection through an HTTP proxy', () => {
  test('is asked for by CONNECT, and then carries bytes both ways', async () => {
    const upstream = await httpProxy('HTTP/1.1 200 OK\r\n\r\nhello')
    const proxy = await tunnelling(upstream.port, {
      hostname: 'db.example:%DOWNSTREAM_LOCAL_PORT%',
      headers_to_add: [{ header: { key: 'x-from', value: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%' } }],
    })
    const c = client(proxy)
    c.write('ping')
    await c.receives('helloecho:ping')
    const host = `db.example:${proxy.port('l')}`
    expect(upstream.heads).toEqual([`CONNECT ${host} HTTP/1.1\r\nhost: ${host}\r\nx-from: 127.0.0.1\r\n\r\n`])
    c.socket.end()
    await c.ended
    await eventually(() => upstream.ends() === 1)
    expect(proxy.counter('cluster.c.upstream_cx_http1_total')).toBe(1)
  })

  test('may be the body of a POST', async () => {
    const upstream = await httpProxy('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n')
    const proxy = await tunnelling(upstream.port, { hostname: 'a:1', use_post: true, post_path: '/tunnel' })
    await client(proxy).receives('hello')
    expect(upstream.heads[0]).toBe('POST /tunnel HTTP/1.1\r\nhost: a:1\r\ntransfer-encoding: chunked\r\n\r\n')
  })

  test('that the proxy refuses is tried again, and then reset', async () => {
    const upstream = await httpProxy('HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno')
    const proxy = await tunnelling(upstream.port, { hostname: 'a:1' }, { max_connect_attempts: 2 })
    const c = client(proxy)
    c.write('ping')
    await c.ended
    expect(c.text).toBe('')
    expect(upstream.heads.length).toBe(2)
    expect(proxy.counter('cluster.c.upstream_cx_connect_attempts_exceeded')).toBe(1)
  })
})
