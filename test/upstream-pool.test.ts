import http from 'node:http'
import type net from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { TestRuntime } from '../src/runtime-test.ts'
import {
  assignment,
  closedPort,
  edsCluster,
  get,
  listen,
  send,
  staticCluster,
  type World,
  world,
} from './support/upstream-cluster.ts'

const servers: http.Server[] = []
const worlds: World[] = []
afterEach(() => {
  for (const w of worlds.splice(0)) w.clusters.close()
  for (const s of servers.splice(0)) {
    s.closeAllConnections()
    s.close()
  }
})

/** An upstream whose answers wait until they are released; `sockets` are its connections. */
class Upstream {
  readonly sockets = new Set<net.Socket>()
  readonly waiting: http.ServerResponse[] = []
  readonly server: http.Server
  port = 0
  hold = false
  connections = 0
  headers: Record<string, string> = {}
  private arrival: (() => void) | undefined

  constructor() {
    this.server = http.createServer((_, response) => {
      for (const [k, v] of Object.entries(this.headers)) response.setHeader(k, v)
      if (this.hold) this.waiting.push(response)
      else response.end('ok')
      this.arrival?.()
    })
    this.server.keepAliveTimeout = 0
    this.server.on('connection', (socket) => {
      this.connections++
      this.sockets.add(socket)
      socket.on('close', () => this.sockets.delete(socket))
    })
    servers.push(this.server)
  }
  async start(): Promise<this> {
    this.port = await listen(this.server)
    return this
  }
  /** Resolves when so many requests wait. */
  async arrived(n: number): Promise<void> {
    while (this.waiting.length < n) {
      await new Promise<void>((resolve) => {
        this.arrival = resolve
      })
    }
  }
  release(): void {
    for (const response of this.waiting.splice(0)) response.end('ok')
  }
}

function start(w: World): World {
  worlds.push(w)
  return w
}

/** Waits until a statistic has a value. */
async function until(w: World, stat: string, value: number): Promise<void> {
  for (let i = 0; i < 500 && w.value(stat) !== value; i++) await new Promise((resolve) => setImmediate(resolve))
  expect(w.value(stat)).toBe(value)
}

it('requests one after another share a connection', async () => {
  const upstream = await new Upstream().start()
  const w = start(world())
  w.clusters.addStatic([staticCluster([upstream.port])])
  const cluster = w.clusters.get('a')!
  for (let i = 0; i < 5; i++) expect(await get(cluster)).toBe('200 ok')
  expect(upstream.connections).toBe(1)
  expect(w.value('cluster.a.upstream_cx_total')).toBe(1)
  expect(w.value('cluster.a.upstream_cx_http1_total')).toBe(1)
  expect(w.value('cluster.a.upstream_rq_total')).toBe(5)
  expect(w.value('cluster.a.upstream_rq_pending_total')).toBe(1)
  expect(w.value('cluster.a.upstream_rq_active')).toBe(0)
  expect(w.value('cluster.a.upstream_cx_tx_bytes_total')).toBeGreaterThan(50)
})

it('of two free connections the last used is taken', async () => {
  const upstream = await new Upstream().start()
  upstream.hold = true
  const w = start(world())
  w.clusters.addStatic([staticCluster([upstream.port])])
  const cluster = w.clusters.get('a')!
  const [first, second] = [send(cluster), send(cluster)]
  await upstream.arrived(2)
  upstream.waiting.shift()!.end('ok')
  const early = await Promise.race([first.done, second.done])
  upstream.release()
  const late = (await Promise.all([first.done, second.done])).find((o) => o.connection !== early.connection)!
  upstream.hold = false
  expect((await send(cluster).done).connection).toBe(late.connection)
})

it('a refused connection fails every request that waits for it', async () => {
  const w = start(world())
  w.clusters.addStatic([staticCluster([await closedPort()])])
  const cluster = w.clusters.get('a')!
  const results = await Promise.all([get(cluster), get(cluster)])
  expect(results).toEqual(Array(2).fill('remote connection failure: delayed connect error: Connection refused'))
  expect(w.value('cluster.a.upstream_rq_pending_failure_eject')).toBe(2)
  expect(w.value('cluster.a.upstream_rq_pending_active')).toBe(0)
  expect(w.value('cluster.a.upstream_rq_total')).toBe(0)
})

it('a connection that takes too long fails with a timeout', async () => {
  const upstream = await new Upstream().start()
  const runtime = new TestRuntime()
  const w = start(world({ runtime }))
  w.clusters.addStatic([staticCluster([upstream.port], { connectTimeout: { seconds: 0n, nanos: 250e6 } })])
  const result = get(w.clusters.get('a')!)
  runtime.advance(250)
  expect(await result).toBe('connection timeout')
  expect(w.value('cluster.a.upstream_cx_connect_timeout')).toBe(1)
  expect(w.value('cluster.a.upstream_cx_connect_fail')).toBe(1)
})

it('an upstream that dies while it works resets its request', async () => {
  const upstream = await new Upstream().start()
  upstream.hold = true
  const w = start(world())
  w.clusters.addStatic([staticCluster([upstream.port])])
  const sent = send(w.clusters.get('a')!)
  await upstream.arrived(1)
  for (const socket of upstream.sockets) socket.resetAndDestroy()
  expect((await sent.done).result).toBe('connection termination')
  await until(w, 'cluster.a.upstream_cx_destroy_remote_with_active_rq', 1)
  expect(w.value('cluster.a.upstream_rq_active')).toBe(0)
  expect(w.value('cluster.a.upstream_cx_active')).toBe(0)
})

it('a connection that the upstream closed while free is not used again', async () => {
  const upstream = await new Upstream().start()
  const w = start(world())
  w.clusters.addStatic([staticCluster([upstream.port])])
  const cluster = w.clusters.get('a')!
  await get(cluster)
  for (const socket of upstream.sockets) socket.end()
  await until(w, 'cluster.a.upstream_cx_destroy_remote', 1)
  expect(await get(cluster)).toBe('200 ok')
  expect(w.value('cluster.a.upstream_cx_destroy_with_active_rq')).toBe(0)
  expect(upstream.connections).toBe(2)
})

it('connection: close ends the connection with the answer', async () => {
  const upstream = await new Upstream().start()
  upstream.headers = { connection: 'close' }
  const w = start(world())
  w.clusters.addStatic([staticCluster([upstream.port])])
  const cluster = w.clusters.get('a')!
  expect(await get(cluster)).toBe('200 ok')
  expect(await get(cluster)).toBe('200 ok')
  expect(upstream.connections).toBe(2)
  await until(w, 'cluster.a.upstream_cx_active', 0)
  expect(w.value('cluster.a.upstream_cx_destroy_with_active_rq')).toBe(0)
})

it('max_requests_per_connection closes after so many', async () => {
  const upstream = await new Upstream().start()
  const w = start(world())
  w.clusters.addStatic([staticCluster([upstream.port], { maxRequestsPerConnection: 2 })])
  const cluster = w.clusters.get('a')!
  for (let i = 0; i < 4; i++) expect(await get(cluster)).toBe('200 ok')
  expect(upstream.connections).toBe(2)
  expect(w.value('cluster.a.upstream_cx_max_requests')).toBe(2)
})

it('max_connections 1 and max_pending 1 on a cold pool: one of five goes through, then the queue works', async () => {
  const upstream = await new Upstream().start()
  upstream.hold = true
  const w = start(world())
  const circuitBreakers = { thresholds: [{ maxConnections: 1, maxPendingRequests: 1 }] }
  w.clusters.addStatic([staticCluster([upstream.port], { circuitBreakers })])
  const cluster = w.clusters.get('a')!
  const five = Array.from({ length: 5 }, () => send(cluster))
  expect((await Promise.all(five.slice(1).map((s) => s.done))).map((o) => o.result)).toEqual(Array(4).fill('overflow'))
  expect(w.value('cluster.a.upstream_rq_pending_overflow')).toBe(4)
  expect(w.value('cluster.a.circuit_breakers.default.rq_pending_open')).toBe(1)
  await upstream.arrived(1)
  expect(w.value('cluster.a.upstream_cx_overflow')).toBe(0)
  const queued = send(cluster)
  expect(w.value('cluster.a.upstream_cx_overflow')).toBe(1)
  upstream.release()
  expect((await five[0]!.done).result).toBe('200 ok')
  await upstream.arrived(1)
  upstream.release()
  expect((await queued.done).result).toBe('200 ok')
  expect(upstream.connections).toBe(1)
  expect(w.value('cluster.a.circuit_breakers.default.cx_open')).toBe(1)
})

it('max_requests refuses what is over, and high priority has limits of its own', async () => {
  const upstream = await new Upstream().start()
  const w = start(world())
  w.clusters.addStatic([staticCluster([upstream.port], { circuitBreakers: { thresholds: [{ maxRequests: 1 }] } })])
  const cluster = w.clusters.get('a')!
  await Promise.all([get(cluster), get(cluster)])
  upstream.hold = true
  const first = send(cluster)
  await upstream.arrived(1)
  await send(cluster).done.then((o) => expect(o.result).toBe('overflow'))
  expect(w.value('cluster.a.upstream_rq_active_overflow')).toBeGreaterThan(0)
  const high = send(cluster, {}, 'high')
  await upstream.arrived(2)
  upstream.release()
  expect((await first.done).result).toBe('200 ok')
  expect((await high.done).result).toBe('200 ok')
})

it('a request that gives up leaves the queue, and a reset closes its connection', async () => {
  const upstream = await new Upstream().start()
  upstream.hold = true
  const w = start(world())
  w.clusters.addStatic([staticCluster([upstream.port], { circuitBreakers: { thresholds: [{ maxConnections: 1 }] } })])
  const cluster = w.clusters.get('a')!
  const first = send(cluster)
  await upstream.arrived(1)
  const second = send(cluster)
  second.cancel()
  expect(w.value('cluster.a.upstream_rq_cancelled')).toBe(1)
  expect(w.value('cluster.a.upstream_rq_pending_active')).toBe(0)
  first.cancel()
  expect(w.value('cluster.a.upstream_rq_active')).toBe(0)
  expect(w.value('cluster.a.upstream_cx_destroy_local_with_active_rq')).toBe(1)
  expect(w.value('cluster.a.upstream_cx_active')).toBe(0)
})

it('free connections close after the idle timeout', async () => {
  const upstream = await new Upstream().start()
  const runtime = new TestRuntime()
  const w = start(world({ runtime }))
  w.clusters.addStatic([
    staticCluster([upstream.port], { commonHttpProtocolOptions: { idleTimeout: { seconds: 2n, nanos: 0 } } }),
  ])
  const cluster = w.clusters.get('a')!
  await get(cluster)
  runtime.advance(1500)
  await get(cluster)
  runtime.advance(1999)
  expect(w.value('cluster.a.upstream_cx_active')).toBe(1)
  runtime.advance(1)
  expect(w.value('cluster.a.upstream_cx_active')).toBe(0)
  expect(w.value('cluster.a.upstream_cx_idle_timeout')).toBe(1)
  expect(upstream.connections).toBe(1)
})

it('a connection past its maximum duration finishes its request, then closes', async () => {
  const upstream = await new Upstream().start()
  upstream.hold = true
  const runtime = new TestRuntime()
  const w = start(world({ runtime }))
  const commonHttpProtocolOptions = { maxConnectionDuration: { seconds: 5n, nanos: 0 } }
  w.clusters.addStatic([staticCluster([upstream.port], { commonHttpProtocolOptions })])
  const sent = send(w.clusters.get('a')!)
  await upstream.arrived(1)
  runtime.advance(5000)
  expect(w.value('cluster.a.upstream_cx_max_duration_reached')).toBe(1)
  upstream.release()
  expect((await sent.done).result).toBe('200 ok')
  await until(w, 'cluster.a.upstream_cx_active', 0)
})

it('a removed host finishes what it has, and its free connections close', async () => {
  const [old, fresh] = [await new Upstream().start(), await new Upstream().start()]
  const w = start(world())
  w.clusters.addOrUpdate(edsCluster(), '1')
  w.clusters.updateEndpoints(assignment('a', [old.port]), '1')
  const cluster = w.clusters.get('a')!
  await Promise.all([get(cluster), get(cluster)])
  old.hold = true
  const sent = send(cluster)
  await old.arrived(1)
  w.clusters.updateEndpoints(assignment('a', [fresh.port]), '2')
  await until(w, 'cluster.a.upstream_cx_active', 1)
  expect(await get(cluster)).toBe('200 ok')
  expect(fresh.connections).toBe(1)
  old.release()
  expect((await sent.done).result).toBe('200 ok')
  await until(w, 'cluster.a.upstream_cx_active', 1)
})

it('a replaced cluster loses no request', async () => {
  const upstream = await new Upstream().start()
  upstream.hold = true
  const w = start(world())
  const config = (version: number) =>
    staticCluster([upstream.port], { connectTimeout: { seconds: BigInt(version), nanos: 0 } })
  w.clusters.addOrUpdate(config(1), '1')
  const sent = send(w.clusters.get('a')!)
  const waits = send(w.clusters.get('a')!)
  w.clusters.addOrUpdate(config(2), '2')
  await upstream.arrived(2)
  upstream.release()
  expect([(await sent.done).result, (await waits.done).result]).toEqual(['200 ok', '200 ok'])
  await until(w, 'cluster.a.upstream_cx_active', 0)
})

it('outlier detection takes a failing host out at once, and lets it back after the interval and the merge window', async () => {
  const upstream = await new Upstream().start()
  const runtime = new TestRuntime()
  const w = start(world({ runtime }))
  w.clusters.addStatic([
    staticCluster([upstream.port], {
      commonLbConfig: { healthyPanicThreshold: { value: 0 } },
      outlierDetection: {
        consecutive5xx: 2,
        interval: { seconds: 0n, nanos: 100e6 },
        baseEjectionTime: { seconds: 0n, nanos: 300e6 },
        maxEjectionPercent: 100,
      },
    }),
  ])
  const cluster = w.clusters.get('a')!
  const { host } = w.clusters.describe()[0]!.hosts[0]!
  cluster.reportResult(host, 500)
  cluster.reportResult(host, 500)
  expect(await get(cluster)).toBe('no host')
  expect(w.value('cluster.a.outlier_detection.ejections_active')).toBe(1)
  runtime.advance(900)
  expect(w.value('cluster.a.outlier_detection.ejections_active')).toBe(0)
  expect(await get(cluster)).toBe('no host')
  runtime.advance(500)
  expect(await get(cluster)).toBe('200 ok')
})
