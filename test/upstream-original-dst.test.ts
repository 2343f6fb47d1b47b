import net from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { headerName, RequestHead } from '../src/proxy/http/headers.ts'
import type { ConnectionInfo } from '../src/proxy/listener/connection.ts'
import { parseAddress } from '../src/proxy/listener/connection.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { type Init, make } from '../src/xds/messages.ts'
import { type World, world } from './support/upstream-cluster.ts'
import { lbContext } from './support/upstream-hosts.ts'

const worlds: World[] = []
afterEach(() => {
  for (const w of worlds.splice(0)) w.clusters.close()
})

function start(runtime: TestRuntime, more: Init<'envoy.config.cluster.v3.Cluster'> = {}) {
  const w = world({ runtime })
  worlds.push(w)
  const config = { name: 'PassthroughCluster', clusterDiscoveryType: { case: 'type', value: 4 }, lbPolicy: 6, ...more }
  w.clusters.addStatic([make('envoy.config.cluster.v3.Cluster', config as Init<'envoy.config.cluster.v3.Cluster'>)])
  return w.clusters.get('PassthroughCluster')!
}

function meantFor(ip: string, port: number): ConnectionInfo {
  const at = { ip, port }
  return { id: 1, remote: at, directRemote: at, local: at, sni: '', tls: undefined, transportFailure: undefined }
}

it('a connection goes where it was meant to go', () => {
  const cluster = start(new TestRuntime())
  const first = cluster.chooseHost(lbContext({ downstream: meantFor('10.0.0.9', 8080) }))
  expect(first?.address).toEqual({ ip: '10.0.0.9', port: 8080 })
  expect(cluster.chooseHost(lbContext({ downstream: meantFor('10.0.0.9', 8080) }))).toBe(first)
  expect(cluster.chooseHost(lbContext())).toBeUndefined()
})

it('a connection whose destination was not restored has nowhere to go', () => {
  const local = { ip: '10.0.0.9', port: 15001 }
  const downstream = { ...meantFor('10.0.0.9', 15001), local, directLocal: local }
  expect(start(new TestRuntime()).chooseHost(lbContext({ downstream }))).toBeUndefined()
})

it('the port may be overridden', () => {
  const cluster = start(new TestRuntime(), {
    lbConfig: { case: 'originalDstLbConfig', value: { upstreamPortOverride: 99 } },
  })
  expect(cluster.chooseHost(lbContext({ downstream: meantFor('10.0.0.9', 8080) }))?.address.port).toBe(99)
})

it('a header names the destination where that is allowed', () => {
  const headers = RequestHead.create('GET', '/', 'x')
  headers.set(headerName('x-envoy-original-dst-host'), '10.1.1.1:81')
  const context = lbContext({ headers, downstream: meantFor('10.0.0.9', 80) })
  expect(start(new TestRuntime()).chooseHost(context)?.address.ip).toBe('10.0.0.9')
  const config = { lbConfig: { case: 'originalDstLbConfig' as const, value: { useHttpHeader: true } } }
  expect(start(new TestRuntime(), config).chooseHost(context)?.address).toEqual({ ip: '10.1.1.1', port: 81 })
})

it('hosts that nobody used for a cleanup interval go away', () => {
  const runtime = new TestRuntime()
  const cluster = start(runtime)
  const context = lbContext({ downstream: meantFor('10.0.0.9', 80) })
  const first = cluster.chooseHost(context)
  runtime.advance(5000)
  expect(cluster.chooseHost(context)).toBe(first)
  runtime.advance(10_000)
  expect(cluster.chooseHost(context)).not.toBe(first)
})

it('addresses in headers are IPs with ports, nothing else', () => {
  expect(parseAddress('10.0.0.1:80')).toEqual({ ip: '10.0.0.1', port: 80 })
  expect(parseAddress('[::1]:80')).toEqual({ ip: '::1', port: 80 })
  for (const bad of ['10.0.0.1', 'host:80', '::1:80', '10.0.0.1:99999', '10.0.0.1:', ''])
    expect(parseAddress(bad)).toBeUndefined()
})

it('upstream_bind_config is where connections come from', async () => {
  const from = await new Promise<string | undefined>((resolve) => {
    const server = net.createServer((socket) => {
      resolve(socket.remoteAddress)
      socket.destroy()
      server.close()
    })
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as net.AddressInfo
      const w = world()
      worlds.push(w)
      const bind = { sourceAddress: { address: '127.0.0.6', portSpecifier: { case: 'portValue' as const, value: 0 } } }
      const config = {
        name: 'p',
        clusterDiscoveryType: { case: 'type' as const, value: 4 },
        lbPolicy: 6,
        upstreamBindConfig: bind,
      }
      w.clusters.addStatic([make('envoy.config.cluster.v3.Cluster', config)])
      const cluster = w.clusters.get('p')!
      const context = lbContext({ downstream: meantFor('127.0.0.1', port) })
      cluster.connect(cluster.chooseHost(context)!, context, {
        onConnected: (t) => {
          t.handler = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} }
        },
        onConnectFailure: (reason) => resolve(reason),
      })
    })
  })
  expect(from).toBe('127.0.0.6')
})
