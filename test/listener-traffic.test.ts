import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { Listener } from '#gen/envoy/config/listener/v3/listener_pb.js'
import { CaptureTable } from '../src/proxy/listener/capture.ts'
import type { ProxyServerOptions } from '../src/proxy/server.ts'
import { SystemRuntime } from '../src/runtime-system.ts'
import { readJson } from '../src/xds/json.ts'
import { clientHello } from './support/client-hello.ts'
import {
  Client,
  echoServer,
  eventually,
  httpFilter,
  type RunningProxy,
  socketAddress,
  startProxy,
  staticCluster,
  tcpChain,
} from './support/proxy.ts'

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
})

const LISTENER = 'type.googleapis.com/envoy.extensions.filters.listener.'
const inspector = (kind: string, type: string) => ({
  name: `envoy.filters.listener.${kind}`,
  typed_config: { '@type': `${LISTENER}${kind}.v3.${type}` },
})
const tlsInspector = inspector('tls_inspector', 'TlsInspector')
const httpInspector = inspector('http_inspector', 'HttpInspector')
const originalDst = inspector('original_dst', 'OriginalDst')

async function named(name: string) {
  const server = await echoServer(`${name};`)
  cleanup.push(() => server.close())
  return {
    name,
    port: server.port,
    sockets: server.sockets,
    server: server.server,
    cluster: staticCluster(name, server.port),
  }
}

async function proxy(listeners: object[], clusters: object[], options: Partial<ProxyServerOptions> = {}) {
  const running = await startProxy({ static_resources: { listeners, clusters } }, options)
  cleanup.push(() => running.stop())
  return running
}

function connect(port: number, host?: string): Client {
  const client = new Client(port, host)
  cleanup.push(() => client.destroy())
  return client
}

function listener(proto: object): Listener {
  return readJson('envoy.config.listener.v3.Listener', proto)
}

describe('inspectors', () => {
  const sniffing = (extra: object = {}) => ({
    name: 'l',
    address: socketAddress(0),
    listener_filters: [tlsInspector, httpInspector],
    filter_chains: [
      { ...tcpChain('http'), filter_chain_match: { application_protocols: ['http/1.1'] } },
      { ...tcpChain('tls'), filter_chain_match: { server_names: ['a.test'], transport_protocol: 'tls' } },
    ],
    default_filter_chain: tcpChain('other'),
    ...extra,
  })

  async function sniffingProxy(extra: object = {}) {
    const [http, secure, other] = [await named('http'), await named('tls'), await named('other')]
    return proxy([sniffing(extra)], [http.cluster, secure.cluster, other.cluster])
  }

  test('send a request, TLS with a known name, and anything else to their chains', async () => {
    const running = await sniffingProxy()
    const request = connect(running.port('l'))
    request.write('GET / HTTP/1.1\r\n\r\n')
    await request.receives('http;GET / HTTP/1.1\r\n\r\n')

    const secure = connect(running.port('l'))
    secure.socket.write(await clientHello({ servername: 'a.test' }))
    await secure.receives('tls;')

    const other = connect(running.port('l'))
    other.write('hello there\r\n')
    await other.receives('other;hello there')
    expect(running.counter('tls_inspector.tls_found')).toBe(1)
    expect(running.counter('http_inspector.http11_found')).toBe(1)
  })

  test('wait for a request that comes byte by byte, and lose none of it', async () => {
    const running = await sniffingProxy()
    const slow = connect(running.port('l'))
    for (const byte of 'GET /slow HTTP/1.1\r\n') {
      slow.write(byte)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await slow.receives('http;GET /slow HTTP/1.1\r\n')
    slow.write('more')
    await slow.receives('\r\nmore')
  })

  test('close a silent connection after listener_filters_timeout', async () => {
    const running = await sniffingProxy({ listener_filters_timeout: '0.05s' })
    const silent = connect(running.port('l'))
    await silent.ended
    expect(silent.text).toBe('')
    expect(running.counter('listener.127.0.0.1_0.downstream_pre_cx_timeout')).toBe(1)
  })

  test('let a silent connection pass if the listener says so', async () => {
    const running = await sniffingProxy({
      listener_filters_timeout: '0.05s',
      continue_on_listener_filters_timeout: true,
    })
    const silent = connect(running.port('l'))
    await silent.receives('other;')
    silent.write('late')
    await silent.receives('other;late')
    expect(running.counter('listener.127.0.0.1_0.downstream_pre_cx_active')).toBe(0)
  })

  test('are not asked on ports where filter_disabled says so', async () => {
    const running = await sniffingProxy({
      listener_filters: [{ ...tlsInspector, filter_disabled: { any_match: true } }],
    })
    await connect(running.port('l')).receives('other;')
  })

  test('count a client that leaves before it has said enough', async () => {
    const running = await sniffingProxy()
    const client = connect(running.port('l'))
    client.socket.end('GE')
    await client.ended
    expect(running.counter('listener.127.0.0.1_0.downstream_listener_filter_remote_close')).toBe(1)
  })
})

test('the PROXY protocol restores both addresses and leaves the rest of the bytes', async () => {
  const [a, b] = [await named('a'), await named('b')]
  const running = await proxy(
    [
      {
        name: 'l',
        address: socketAddress(0),
        listener_filters: [inspector('proxy_protocol', 'ProxyProtocol'), httpInspector],
        filter_chains: [
          {
            ...tcpChain('a'),
            filter_chain_match: {
              destination_port: 8443,
              source_prefix_ranges: [{ address_prefix: '203.0.113.0', prefix_len: 24 }],
            },
          },
        ],
        default_filter_chain: tcpChain('b'),
      },
    ],
    [a.cluster, b.cluster],
  )
  const client = connect(running.port('l'))
  client.write('PROXY TCP4 203.0.113.9 198.51.100.1 5555 8443\r\nGET / HTTP/1.1\r\n')
  await client.receives('a;GET / HTTP/1.1\r\n')
  const without = connect(running.port('l'))
  without.write('GET / HTTP/1.1\r\n')
  await without.ended
  expect(running.counter('downstream_cx_proxy_proto_error')).toBe(1)
})

test('a connection that no filter chain wants is closed, and logged by the listener', async () => {
  const log = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-')), 'log')
  const running = await proxy(
    [
      {
        name: 'l',
        address: socketAddress(0),
        filter_chains: [{ ...tcpChain('x'), filter_chain_match: { destination_port: 1 } }],
        access_log: [
          {
            name: 'f',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
              path: log,
              log_format: {
                text_format_source: { inline_string: '%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %RESPONSE_CODE%\n' },
              },
            },
          },
        ],
      },
    ],
    [],
  )
  const client = connect(running.port('l'))
  await client.ended
  await eventually(() => fs.readFileSync(log, 'utf8') !== '')
  expect(fs.readFileSync(log, 'utf8')).toBe('NR filter_chain_not_found 0\n')
  expect(running.counter('listener.127.0.0.1_0.no_filter_chain_match')).toBe(1)
  expect(running.counter('listener.127.0.0.1_0.downstream_cx_total')).toBe(0)
})

describe('capture sockets', () => {
  const virtual = (name: string, port: number, chains: object) => ({
    name,
    address: socketAddress(port, '0.0.0.0'),
    use_original_dst: true,
    ...chains,
  })
  const unbound = (port: number, ip: string, cluster: string) => ({
    name: `${ip}_${port}`,
    address: socketAddress(port, ip),
    bind_to_port: false,
    filter_chains: [tcpChain(cluster)],
  })

  test('hand a connection to the listener of its destination: the very address, the port, or the catch-all', async () => {
    const [exact, any, rest] = [await named('exact'), await named('any'), await named('rest')]
    const captures = new CaptureTable()
    cleanup.push(() => captures.close())
    const running = await proxy(
      [
        virtual('virtualOutbound', 15001, { filter_chains: [tcpChain('rest')] }),
        unbound(9080, '10.96.0.1', 'exact'),
        unbound(9080, '0.0.0.0', 'any'),
      ],
      [exact.cluster, any.cluster, rest.cluster],
      { captureTable: captures },
    )
    const reach = async (ip: string, port: number) => {
      const address = await captures.add({
        address: { ip: '127.0.0.1', port: 0 },
        originalDestination: { ip, port },
        direction: 'outbound',
      })
      return connect(address.port)
    }
    await (await reach('10.96.0.1', 9080)).receives('exact;')
    await (await reach('10.96.0.2', 9080)).receives('any;')
    await (await reach('10.96.0.2', 9090)).receives('rest;')
    expect(running.counter('listener.10.96.0.1_9080.downstream_cx_total')).toBe(1)
    expect(running.counter('listener.0.0.0.0_15001.downstream_cx_total')).toBe(1)
  })

  test('enter virtualInbound with the original destination, which chains match by port', async () => {
    const [a, b] = [await named('a'), await named('b')]
    const captures = new CaptureTable()
    cleanup.push(() => captures.close())
    await proxy(
      [
        virtual('virtualInbound', 15006, {
          listener_filters: [originalDst, tlsInspector, httpInspector],
          filter_chains: [
            { ...tcpChain('a'), filter_chain_match: { destination_port: 8080 } },
            { ...tcpChain('b'), filter_chain_match: { destination_port: 9090 } },
          ],
        }),
      ],
      [a.cluster, b.cluster],
      { captureTable: captures },
    )
    const address = await captures.add({
      address: { ip: '127.0.0.1', port: 0 },
      originalDestination: { ip: '10.244.0.12', port: 9090 },
      direction: 'inbound',
    })
    const client = connect(address.port)
    client.write('GET / HTTP/1.1\r\n')
    await client.receives('b;GET /')
  })

  test('refuse connections while virtualInbound is not there: nobody listens where they would be redirected to', async () => {
    const a = await named('a')
    const captures = new CaptureTable(['inbound'])
    cleanup.push(() => captures.close())
    const { port } = await captures.add({
      address: { ip: '127.0.0.1', port: 0 },
      originalDestination: { ip: '10.244.0.12', port: 8080 },
      direction: 'inbound',
    })
    const refused = () =>
      new Promise((resolve) =>
        net
          .connect(port, '127.0.0.1', () => resolve('connected'))
          .on('error', (error: NodeJS.ErrnoException) => resolve(error.code)),
      )
    expect(await refused()).toBe('ECONNREFUSED')
    await proxy([virtual('virtualInbound', 15006, { filter_chains: [tcpChain('a')] })], [a.cluster], {
      captureTable: captures,
    })
    await connect(port).receives('a;')
    await captures.serve('inbound', false)
    expect(await refused()).toBe('ECONNREFUSED')
  })

  test('say clearly when their address is taken, and come and go while the proxy runs', async () => {
    const rest = await named('rest')
    const captures = new CaptureTable()
    cleanup.push(() => captures.close())
    await proxy([virtual('virtualOutbound', 15001, { filter_chains: [tcpChain('rest')] })], [rest.cluster], {
      captureTable: captures,
    })
    const entry = {
      address: { ip: '127.0.0.1', port: rest.port },
      originalDestination: { ip: '10.0.0.1', port: 1 },
      direction: 'outbound' as const,
    }
    await expect(captures.add(entry)).rejects.toMatchObject({
      message: `cannot bind '127.0.0.1:${rest.port}': Address already in use`,
      code: 'EADDRINUSE',
    })
    const free = { ...entry, address: { ip: '127.0.0.1', port: 0 } }
    const { port } = await captures.add(free)
    const client = connect(port)
    await client.receives('rest;')
    await captures.remove(free)
    const late = connect(port)
    await late.ended
    expect(late.error).toBe('ECONNREFUSED')
    client.write('on')
    await client.receives('rest;on')
  })
})

describe('a listener update', () => {
  const withCluster = (cluster: string, port: number) =>
    listener({ name: 'l', address: socketAddress(port), filter_chains: [tcpChain(cluster)] })

  async function updatable(): Promise<{ running: RunningProxy; port: number }> {
    const [a, b] = [await named('a'), await named('b')]
    const running = await proxy([], [a.cluster, b.cluster])
    running.server.listeners.addOrUpdate(withCluster('a', 0), '1', true)
    await eventually(() => running.server.listeners.all().some((l) => l.active))
    return { running, port: running.port('l') }
  }

  test('keeps the socket and the open connections; new ones get the new chain', async () => {
    const { running, port } = await updatable()
    const old = connect(port)
    await old.receives('a;')
    running.server.listeners.addOrUpdate(withCluster('b', 0), '2', true)
    await eventually(() => running.server.listeners.all()[0]!.active?.version === '2')
    expect(running.port('l')).toBe(port)
    const fresh = connect(port)
    await fresh.receives('b;')
    old.write('still')
    await old.receives('a;still')
    expect(running.counter('listener_manager.listener_modified')).toBe(1)
  })

  test.each([
    ['gradual', 0],
    ['immediate', 0.999],
  ] as const)(
    'lets a kept connection have its answer from the old chain, and tells it to go: %s',
    async (strategy, chance) => {
      class Certain extends SystemRuntime {
        override random() {
          return chance
        }
      }
      const running = await proxy([], [], { runtime: new Certain(), drainStrategy: strategy })
      const answering = (body: string) =>
        listener({ name: 'l', address: socketAddress(0), filter_chains: [{ filters: [httpFilter(body)] }] })
      running.server.listeners.addOrUpdate(answering('old'), '1', true)
      await eventually(() => running.server.listeners.all().some((l) => l.active))
      const kept = connect(running.port('l'))
      kept.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
      await kept.receives('old')
      expect(kept.text).not.toContain('connection: close')
      running.server.listeners.addOrUpdate(answering('new'), '2', true)
      await eventually(() => running.server.listeners.all()[0]!.active?.version === '2')
      kept.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
      await kept.ended
      expect(kept.text).toMatch(/connection: close\r\n[\s\S]*old$/)
      const fresh = connect(running.port('l'))
      fresh.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
      await fresh.receives('new')
    },
  )

  test('that is refused leaves the listener as it was, and the dump shows why', async () => {
    const { running, port } = await updatable()
    const bad = listener({
      name: 'l',
      address: socketAddress(0),
      filter_chains: [tcpChain('b'), tcpChain('a')],
    })
    expect(() => running.server.listeners.addOrUpdate(bad, '2', true)).toThrow('has the same matching rules defined as')
    await connect(port).receives('a;')
    const dump = JSON.parse((await running.admin('/config_dump?resource=dynamic_listeners')).body)
    expect(dump.configs[0].error_state.details).toContain('has the same matching rules')
    expect(dump.configs[0].active_state.version_info).toBe('1')
  })

  test('that comes while the sockets are still being opened finds them', async () => {
    const [a, b] = [await named('a'), await named('b')]
    const running = await proxy([], [a.cluster, b.cluster])
    const free = await named('free')
    const { port } = free
    for (const socket of free.sockets) socket.destroy()
    await new Promise<void>((resolve) => free.server.close(() => resolve()))
    running.server.listeners.addOrUpdate(withCluster('a', port), '1', true)
    running.server.listeners.addOrUpdate(withCluster('b', port), '2', true)
    await eventually(() => running.server.listeners.all()[0]!.active?.version === '2')
    await connect(port).receives('b;')
    expect(running.server.listeners.all()[0]!.error).toBeUndefined()
  })

  test('with the same content changes nothing', async () => {
    const { running } = await updatable()
    expect(running.server.listeners.addOrUpdate(withCluster('a', 0), '2', true)).toBe(false)
  })

  test('that removes it closes the socket at once, and connections after the drain time', async () => {
    const a = await named('a')
    const running = await proxy([], [a.cluster], { drainTime: 50 })
    running.server.listeners.addOrUpdate(withCluster('a', 0), '1', true)
    await eventually(() => running.server.listeners.all().some((l) => l.active))
    const port = running.port('l')
    const open = connect(port)
    await open.receives('a;')
    running.server.listeners.remove('l')
    const late = connect(port)
    await late.ended
    expect(late.error).toBe('ECONNREFUSED')
    open.write('going')
    await open.receives('going')
    await open.ended
  })
})

test('a port that is taken keeps the proxy from starting, with one clear message', async () => {
  const blocker = net.createServer()
  await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve))
  cleanup.push(() => blocker.close())
  const { port } = blocker.address() as net.AddressInfo
  await expect(
    proxy([{ name: 'l', address: socketAddress(port), filter_chains: [{ filters: [httpFilter('x')] }] }], []),
  ).rejects.toThrow(`cannot bind '127.0.0.1:${port}': Address already in use`)
})

test.each<[string, object, string]>([
  [
    'an unknown listener filter',
    { listener_filters: [httpFilter('a')] },
    "Didn't find a registered implementation for 'envoy.filters.network.http_connection_manager'",
  ],
  ['no filter chain', { filter_chains: [] }, "error adding listener '127.0.0.1:0': no filter chains specified"],
  ['udp', { udp_listener_config: {} }, 'udp_listener_config is not supported'],
  [
    'a filter after the terminal one',
    { filter_chains: [{ filters: [httpFilter('a'), httpFilter('b')] }] },
    'terminal filter named envoy.filters.network.http_connection_manager of type envoy.filters.network.http_connection_manager must be the last filter in a network filter chain.',
  ],
])('a listener with %s is refused by name', async (_what, more, message) => {
  const base = { name: 'l', address: socketAddress(0), filter_chains: [tcpChain('x')] }
  await expect(proxy([{ ...base, ...more }], [])).rejects.toThrow(message)
})
