import net from 'node:net'
import { afterEach, expect, it } from 'vitest'
import type { Transport } from '../src/proxy/listener/connection.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import {
  assignment,
  closedPort,
  connectTcp,
  edsCluster,
  listen,
  staticCluster,
  type World,
  world,
} from './support/upstream-cluster.ts'

const servers: net.Server[] = []
const worlds: World[] = []
afterEach(() => {
  for (const w of worlds.splice(0)) w.clusters.close()
  for (const s of servers.splice(0)) s.close()
})

async function echo(): Promise<number> {
  const server = net.createServer((socket) => socket.pipe(socket))
  servers.push(server)
  return listen(server)
}

function start(w: World): World {
  worlds.push(w)
  return w
}

it('bytes go to the host and back, and are counted', async () => {
  const w = start(world())
  w.clusters.addStatic([staticCluster([await echo()])])
  const transport = (await connectTcp(w.clusters.get('a')!)) as Transport
  expect(w.value('cluster.a.upstream_cx_active')).toBe(1)
  const got = await new Promise<string>((resolve) => {
    transport.handler = { onData: (c) => resolve(c.toString()), onEnd() {}, onDrain() {}, onClose() {} }
    transport.write(Buffer.from('hello'))
  })
  expect(got).toBe('hello')
  await new Promise<void>((resolve) => {
    transport.handler = { onData() {}, onEnd() {}, onDrain() {}, onClose: () => resolve() }
    transport.close()
  })
  expect(w.value('cluster.a.upstream_cx_active')).toBe(0)
  expect(w.value('cluster.a.upstream_cx_destroy_local')).toBe(1)
  expect(w.value('cluster.a.upstream_cx_rx_bytes_total')).toBe(5)
  expect(w.value('cluster.a.upstream_cx_tx_bytes_total')).toBe(5)
  expect(w.value('cluster.a.upstream_rq_total')).toBe(1)
})

it('a refused connection says so, in the words of the log', async () => {
  const w = start(world())
  w.clusters.addStatic([staticCluster([await closedPort()])])
  expect(await connectTcp(w.clusters.get('a')!)).toBe('connection failure: delayed connect error: Connection refused')
  expect(w.value('cluster.a.upstream_cx_connect_fail')).toBe(1)
  expect(w.value('cluster.a.upstream_cx_active')).toBe(0)
})

it('a connection that is not answered times out', async () => {
  const runtime = new TestRuntime()
  const w = start(world({ runtime }))
  w.clusters.addStatic([staticCluster([await echo()], { connectTimeout: { seconds: 1n, nanos: 0 } })])
  const outcome = connectTcp(w.clusters.get('a')!)
  // The clock moves before the kernel's answer can be read.
  runtime.advance(1000)
  expect(await outcome).toBe('timeout')
  expect(w.value('cluster.a.upstream_cx_connect_timeout')).toBe(1)
  expect(w.value('cluster.a.upstream_cx_connect_fail')).toBe(1)
})

it('max_connections refuses one more', async () => {
  const w = start(world())
  w.clusters.addStatic([staticCluster([await echo()], { circuitBreakers: { thresholds: [{ maxConnections: 1 }] } })])
  const cluster = w.clusters.get('a')!
  expect(typeof (await connectTcp(cluster))).toBe('object')
  expect(w.value('cluster.a.circuit_breakers.default.cx_open')).toBe(1)
  expect(await connectTcp(cluster)).toBe('overflow')
  expect(w.value('cluster.a.upstream_cx_overflow')).toBe(1)
})

it('consecutive connect failures eject a host', async () => {
  const w = start(world())
  const outlierDetection = { consecutive5xx: 2, maxEjectionPercent: 100 }
  const commonLbConfig = { healthyPanicThreshold: { value: 0 } }
  w.clusters.addStatic([staticCluster([await closedPort()], { outlierDetection, commonLbConfig })])
  const cluster = w.clusters.get('a')!
  await connectTcp(cluster)
  await connectTcp(cluster)
  expect(await connectTcp(cluster)).toBe('no host')
  expect(w.value('cluster.a.outlier_detection.ejections_enforced_consecutive_5xx')).toBe(1)
  expect(w.value('cluster.a.membership_healthy')).toBe(0)
  expect(w.clusters.describe()[0]!.hosts[0]!.healthFlags).toBe('/failed_outlier_check')
})

it('an EDS cluster serves once its endpoints are there, and keeps hosts over updates', async () => {
  const w = start(world())
  const [one, two] = [await echo(), await echo()]
  w.clusters.addOrUpdate(edsCluster(), '1')
  expect(w.clusters.get('a')).toBeUndefined()
  expect(w.clusters.warmingNames()).toEqual(['a'])
  expect(w.clusters.edsNames()).toEqual(['a'])
  w.clusters.updateEndpoints(assignment('a', [one]), '1')
  expect(w.clusters.warmingNames()).toEqual([])
  const cluster = w.clusters.get('a')!
  await connectTcp(cluster)
  w.clusters.updateEndpoints(assignment('a', [two, one]), '2')
  const hosts = w.clusters.describe()[0]!.hosts
  expect(hosts.map((h) => h.address)).toEqual([`127.0.0.1:${two}`, `127.0.0.1:${one}`])
  expect(hosts[1]!.host.stats.cxTotal.value).toBe(1)
  w.clusters.updateEndpoints(assignment('a', [two]), '3')
  expect(w.value('cluster.a.membership_total')).toBe(1)
  expect(w.value('cluster.a.membership_change')).toBe(3)
})

it('an EDS cluster whose endpoints never come serves without hosts after the fetch timeout', () => {
  const runtime = new TestRuntime()
  const w = start(world({ runtime }))
  w.clusters.addOrUpdate(edsCluster(), '1')
  runtime.advance(14_999)
  expect(w.clusters.get('a')).toBeUndefined()
  runtime.advance(1)
  expect(w.clusters.get('a')).toBeDefined()
})

it('the same config again is no update; a changed one takes over when warm', async () => {
  const w = start(world())
  const port = await echo()
  w.clusters.addOrUpdate(edsCluster(), '1')
  w.clusters.updateEndpoints(assignment('a', [port]), '1')
  const before = w.clusters.get('a')!
  expect(w.clusters.addOrUpdate(edsCluster(), '2')).toBe(false)
  expect(w.clusters.addOrUpdate(edsCluster({ altStatName: 'other' }), '3')).toBe(true)
  // The endpoints are known already: it is warm at once.
  expect(w.clusters.get('a')).not.toBe(before)
  expect(w.clusters.get('a')!.observabilityName).toBe('other')
  expect(w.clusters.remove('a')).toBe(true)
  expect(w.clusters.get('a')).toBeUndefined()
})

it('what is not supported is refused by name', () => {
  const w = start(world())
  const config = staticCluster([1], { useTcpForDnsLookups: true, trackTimeoutBudgets: true, lbPolicy: 6 })
  expect(() => w.clusters.addStatic([config])).toThrow(
    /'a': cluster.use_tcp_for_dns_lookups: not supported.*track_timeout_budgets/,
  )
  expect(() => w.clusters.addStatic([staticCluster([1], { lbPolicy: 6 })])).toThrow(/CLUSTER_PROVIDED/)
})

it('STRICT_DNS follows the addresses of its name', () => {
  const runtime = new TestRuntime()
  let addresses: string[] | undefined = ['10.0.0.1', '10.0.0.2']
  const w = start(
    world({ runtime, resolver: { resolve: (_, __, ___, done) => done(addresses && { addresses, ttl: undefined }) } }),
  )
  const config = staticCluster([80], { clusterDiscoveryType: { case: 'type', value: 1 } })
  const at = config.loadAssignment!.endpoints[0]!.lbEndpoints[0]!.hostIdentifier
  const where = at.case === 'endpoint' ? at.value.address!.address : undefined
  if (where?.case === 'socketAddress') where.value.address = 'svc.example'
  w.clusters.addStatic([config])
  const hosts = () => w.clusters.describe()[0]!.hosts.map((h) => `${h.address} ${h.hostname}`)
  expect(hosts()).toEqual(['10.0.0.1:80 svc.example', '10.0.0.2:80 svc.example'])
  addresses = ['10.0.0.2']
  runtime.advance(5000)
  expect(hosts()).toEqual(['10.0.0.2:80 svc.example'])
  addresses = undefined
  runtime.advance(5000)
  expect(hosts()).toEqual(['10.0.0.2:80 svc.example'])
  expect(w.value('cluster.a.update_failure')).toBe(1)
})
