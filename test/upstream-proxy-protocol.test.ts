import { once } from 'node:events'
import net from 'node:net'
import tls from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { makeAuthority, makeIdentity } from './support/certificates.ts'
import { client, startMesh } from './support/mesh.ts'
import { Client, type RunningProxy, socketAddress, startProxy, staticCluster, tcpChain } from './support/proxy.ts'

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
})

/** A server that keeps the first bytes of each connection, and answers once it has read `until`. */
async function recorder(until: string, answer: string): Promise<{ port: number; seen: Buffer[] }> {
  const seen: Buffer[] = []
  const sockets = new Set<net.Socket>()
  const server = net.createServer((socket) => {
    let got = Buffer.alloc(0)
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('data', (data) => {
      got = Buffer.concat([got, data])
      if (!got.includes(until)) return
      seen.push(got)
      got = Buffer.alloc(0)
      socket.write(answer)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanup.push(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return { port: (server.address() as net.AddressInfo).port, seen }
}

const RAW = {
  name: 'raw',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer' },
}

const proxyProtocol = (config: object, inner: object = RAW) => ({
  transport_socket: {
    name: 'envoy.transport_sockets.upstream_proxy_protocol',
    typed_config: {
      '@type':
        'type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport',
      config,
      transport_socket: inner,
    },
  },
})

async function start(cluster: object, listener: object = {}): Promise<RunningProxy> {
  const proxy = await startProxy({
    static_resources: {
      listeners: [{ name: 'in', address: socketAddress(0), filter_chains: [tcpChain('a')], ...listener }],
      clusters: [cluster],
    },
  })
  cleanup.push(() => proxy.stop())
  return proxy
}

async function say(proxy: RunningProxy, bytes: Buffer | string): Promise<Client> {
  const caller = new Client(proxy.port('in'))
  await once(caller.socket, 'connect')
  cleanup.push(() => caller.destroy())
  caller.socket.write(bytes)
  await caller.receives('ok')
  return caller
}

const SIGNATURE = '0d0a0d0a000d0a515549540a'

describe('the PROXY protocol towards an upstream', () => {
  it('version 1 names the client and where it connected to', async () => {
    const { port, seen } = await recorder('hello', 'ok')
    const proxy = await start(staticCluster('a', port, proxyProtocol({ version: 'V1' })))
    const caller = await say(proxy, 'hello')
    const from = caller.socket.localPort
    expect(seen[0]!.toString()).toBe(`PROXY TCP4 127.0.0.1 127.0.0.1 ${from} ${proxy.port('in')}\r\nhello`)
  })

  it('version 2 does so in binary, with the values that the config adds and those that come in', async () => {
    const { port, seen } = await recorder('hello', 'ok')
    const config = {
      version: 'V2',
      pass_through_tlvs: { match_type: 'INCLUDE', tlv_type: [2] },
      added_tlvs: [{ type: 0xe0, value: Buffer.from('hi').toString('base64') }],
    }
    const proxy = await start(staticCluster('a', port, proxyProtocol(config)), {
      listener_filters: [
        {
          name: 'pp',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol',
            pass_through_tlvs: { match_type: 'INCLUDE_ALL' },
          },
        },
      ],
    })
    const addresses = '010203040506070800500051'
    await say(
      proxy,
      Buffer.concat([Buffer.from(`${SIGNATURE}21110014${addresses}0100016102000162`, 'hex'), Buffer.from('hello')]),
    )
    expect(seen[0]!.toString('hex')).toBe(
      `${SIGNATURE}21110015${addresses}e00002686902000162${Buffer.from('hello').toString('hex')}`,
    )
  })

  it('the header goes before TLS', async () => {
    const authority = await makeAuthority('CN=tests')
    const identity = await makeIdentity(authority, 'CN=a', [{ type: 'dns', value: 'a.test' }])
    const heads: string[] = []
    const server = net.createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', (data) => {
        socket.pause()
        const end = data.indexOf('\r\n') + 2
        heads.push(data.toString('latin1', 0, end))
        if (data.length > end) socket.unshift(data.subarray(end))
        const secure = new tls.TLSSocket(socket, { isServer: true, key: identity.key, cert: identity.cert })
        secure.on('error', () => {})
        secure.on('data', () => secure.write('ok'))
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    cleanup.push(() => server.close())
    const { port } = server.address() as net.AddressInfo
    const inner = {
      name: 'tls',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
        sni: 'a.test',
      },
    }
    const proxy = await start(staticCluster('a', port, proxyProtocol({ version: 'V1' }, inner)))
    const caller = await say(proxy, 'hello')
    expect(heads).toEqual([`PROXY TCP4 127.0.0.1 127.0.0.1 ${caller.socket.localPort} ${proxy.port('in')}\r\n`])
    caller.destroy()
  })

  it.each([
    ['V1', /^PROXY TCP4 [\d.]+ [\d.]+ \d+ \d+\r\nGET /],
    ['V2', /^\r\n\r\n\0\r\nQUIT\n!\x11/],
  ])('proxyProtocol of a DestinationRule: version %s', async (version, head) => {
    const { port, seen } = await recorder('\r\n\r\n', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
    const mesh = await startMesh(`${client()}
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example.com]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, ports: {http: ${port}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api}
spec: {host: api.example.com, trafficPolicy: {proxyProtocol: {version: ${version}}}}
`)
    cleanup.push(() => mesh.stop())
    const got = await mesh.get('client', 'http://api.example.com/')
    expect(got.text).toBe('ok')
    expect(seen.at(-1)!.toString('latin1')).toMatch(head)
  })
})
