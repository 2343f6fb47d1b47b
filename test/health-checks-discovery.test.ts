import http from 'node:http'
import type net from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { eventually } from './support/proxy.ts'
import { assignment, edsCluster, type World, world } from './support/upstream-cluster.ts'

const cleanup: (() => void)[] = []
afterEach(() => {
  for (const fn of cleanup.splice(0).reverse()) fn()
})

async function app(state: { status: number }): Promise<number> {
  const server = http.createServer((_, response) => {
    response.statusCode = state.status
    response.end()
  })
  cleanup.push(() => {
    server.closeAllConnections()
    server.close()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as net.AddressInfo).port
}

const ms = (n: number) => ({ seconds: 0n, nanos: n * 1e6 })
const healthChecks = [
  {
    timeout: ms(500),
    interval: ms(30),
    noTrafficInterval: ms(30),
    unhealthyThreshold: 1,
    healthyThreshold: 1,
    healthChecker: { case: 'httpHealthCheck' as const, value: { path: '/hz' } },
  },
]

function start(more: object = {}): World {
  const w = world()
  cleanup.push(() => w.clusters.close())
  w.clusters.addOrUpdate(edsCluster({ healthChecks, ...more }), '1')
  return w
}

const hosts = (w: World) =>
  w.clusters.describe()[0]?.hosts.map(({ address, healthFlags }) => `${address.split(':')[1]} ${healthFlags}`) ?? []

it('a host that discovery drops stays until its checks fail', async () => {
  const state = { status: 200 }
  const [one, two] = [await app(state), await app({ status: 200 })]
  const w = start()
  w.clusters.updateEndpoints(assignment('a', [one, two]), '1')
  await eventually(() => w.clusters.warmingNames().length === 0)
  w.clusters.updateEndpoints(assignment('a', [two]), '2')
  expect(hosts(w)).toEqual([`${two} healthy`, `${one} /pending_dynamic_removal`])
  expect(w.value('cluster.a.membership_healthy')).toBe(2)
  // Named again, it is an ordinary host again.
  w.clusters.updateEndpoints(assignment('a', [one, two]), '3')
  expect(hosts(w)).toEqual([`${one} healthy`, `${two} healthy`])
  w.clusters.updateEndpoints(assignment('a', [two]), '4')
  state.status = 500
  await eventually(() => hosts(w).length === 1)
  expect(hosts(w)).toEqual([`${two} healthy`])
})

it('with ignore_health_on_host_removal it goes at once', async () => {
  const [one, two] = [await app({ status: 200 }), await app({ status: 200 })]
  const w = start({ ignoreHealthOnHostRemoval: true })
  w.clusters.updateEndpoints(assignment('a', [one, two]), '1')
  await eventually(() => w.clusters.warmingNames().length === 0)
  w.clusters.updateEndpoints(assignment('a', [two]), '2')
  expect(hosts(w)).toEqual([`${two} healthy`])
})

it('a host that comes later starts as failed, and does not count before its first check if so asked', async () => {
  const one = await app({ status: 200 })
  const w = start({ commonLbConfig: { ignoreNewHostsUntilFirstHc: true } })
  w.clusters.updateEndpoints(assignment('a', [one]), '1')
  await eventually(() => w.clusters.warmingNames().length === 0)
  const two = await app({ status: 200 })
  w.clusters.updateEndpoints(assignment('a', [one, two]), '2')
  expect(hosts(w)).toEqual([`${one} healthy`, `${two} /failed_active_hc/pending_active_hc`])
  expect(w.value('cluster.a.membership_excluded')).toBe(1)
  await eventually(() => hosts(w)[1] === `${two} healthy`)
  expect(w.value('cluster.a.membership_excluded')).toBe(0)
})
