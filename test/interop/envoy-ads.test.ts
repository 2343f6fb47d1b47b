import http from 'node:http'
import type { AddressInfo } from 'node:net'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, fetch } from 'undici'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { SystemRuntime } from '../../src/runtime-system.ts'
import { serveAds } from '../../src/xds/grpc-server.ts'
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE } from '../../src/xds/resource-types.ts'
import { AdsServer } from '../../src/xds/server.ts'
import type { Nack } from '../../src/xds/server-subscription.ts'
import type { Snapshot } from '../../src/xds/snapshot.ts'
import { edsCluster, endpoints, rdsListener, routes, snapshot } from '../support/xds-resources.ts'
import { adsBootstrap, envoyBinary, startEnvoy } from './envoy.ts'

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step()
})
beforeAll(async () => {
  await envoyBinary()
})

async function backend(name: string): Promise<number> {
  const server = http.createServer((_, response) => response.end(name))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanup.push(() => server.close())
  return (server.address() as AddressInfo).port
}

async function freePort(): Promise<number> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function controlPlane(first: Snapshot) {
  const nacks: { typeUrl: string; nack: Nack }[] = []
  let current = first
  const make = () =>
    new AdsServer({
      runtime: new SystemRuntime(),
      source: {
        connected: (connection) => connection.push(current),
        nacked: (_, typeUrl, nack) => nacks.push({ typeUrl, nack }),
      },
    })
  let server = make()
  let listener = await serveAds(server, '127.0.0.1:0')
  const { port } = listener
  cleanup.push(() => listener.close())
  return {
    port,
    nacks,
    get connection() {
      return server.connections[0]
    },
    push(next: Snapshot) {
      current = next
      for (const connection of server.connections) connection.push(next)
    },
    async stop() {
      server.close()
      await listener.close()
    },
    async start() {
      server = make()
      listener = await serveAds(server, `127.0.0.1:${port}`)
    },
    async synced() {
      for (let i = 0; i < 1000; i++) {
        if (server.connections[0]?.synced) return
        await sleep(10)
      }
      throw new Error(`Envoy did not accept everything: ${JSON.stringify(server.connections[0]?.status())}`)
    },
  }
}

describe.each(['sotw', 'delta'] as const)('a real Envoy under our ADS server, %s', (mode) => {
  async function setUp() {
    const [v1, v2, listen] = [await backend('v1'), await backend('v2'), await freePort()]
    const at = (weights: Record<string, number>, extra: ReturnType<typeof edsCluster>[] = []) =>
      snapshot(
        edsCluster('v1'),
        edsCluster('v2'),
        ...extra,
        endpoints('v1', v1),
        endpoints('v2', v2),
        rdsListener('main', listen, 'main-routes'),
        routes('main-routes', weights),
      )
    const plane = await controlPlane(at({ v1: 90, v2: 10 }))
    const envoy = await startEnvoy(adsBootstrap(plane.port, mode))
    cleanup.push(() => envoy.stop())
    const agent = new Agent({ connections: 4 })
    cleanup.push(() => agent.destroy())
    const get = async () => {
      const response = await fetch(`http://127.0.0.1:${listen}/`, { dispatcher: agent })
      return { status: response.status, body: await response.text() }
    }
    const counts = async (n: number) => {
      const seen: Record<string, number> = {}
      for (let i = 0; i < n; i++) {
        const { status, body } = await get()
        const key = status === 200 ? body : `${status} ${body}`
        seen[key] = (seen[key] ?? 0) + 1
      }
      return seen
    }
    return { plane, envoy, at, counts, get, v1, v2, listen }
  }

  test('it serves the split, and a change of weights loses no request', async () => {
    const { plane, at, counts } = await setUp()
    await plane.synced()
    expect(plane.connection!.status().map(({ typeUrl }) => typeUrl)).toEqual([
      CLUSTER_TYPE,
      ENDPOINT_TYPE,
      LISTENER_TYPE,
      ROUTE_TYPE,
    ])
    const before = await counts(200)
    expect(Object.keys(before).toSorted()).toEqual(['v1', 'v2'])
    expect(before.v2).toBeLessThan(60)
    let changes = 0
    const churn = setInterval(() => plane.push(at({ v1: 1 + (changes++ % 99), v2: 50 })), 50)
    const during = await counts(1000).finally(() => clearInterval(churn))
    expect((during.v1 ?? 0) + (during.v2 ?? 0)).toBe(1000)
    expect(changes).toBeGreaterThan(3)
    plane.push(at({ v2: 1 }))
    await plane.synced()
    expect(await counts(50)).toEqual({ v2: 50 })
  })

  test('a cluster and its routes come and go without a failed request', async () => {
    const { plane, at, counts } = await setUp()
    const third = await backend('v3')
    await plane.synced()
    plane.push(at({ v1: 1 }))
    await plane.synced()
    let step = 0
    const churn = setInterval(() => {
      const there = step++ % 2 === 0
      plane.push(there ? at({ v3: 1 }, [edsCluster('v3'), endpoints('v3', third)]) : at({ v1: 1 }))
    }, 150)
    const during = await counts(1000).finally(() => clearInterval(churn))
    expect(Object.keys(during).filter((key) => !/^v[13]$/.test(key))).toEqual([])
    plane.push(at({ v1: 1 }))
    await plane.synced()
    expect(await counts(20)).toEqual({ v1: 20 })
  })

  test('it refuses a broken cluster, goes on with the last good one, and takes the repaired one', async () => {
    const { plane, envoy, at, counts } = await setUp()
    await plane.synced()
    const good = plane.connection!.status()[0]!.ackedVersion
    plane.push(at({ v1: 1 }, [edsCluster('broken', { connectTimeout: { seconds: 0n, nanos: 0 } })]))
    for (let i = 0; plane.nacks.length === 0 && i < 500; i++) await sleep(10)
    expect(plane.nacks[0]!.typeUrl).toBe(CLUSTER_TYPE)
    expect(plane.nacks[0]!.nack.message).toContain(
      'Proto constraint validation failed (ClusterValidationError.ConnectTimeout: value must be greater than 0s)',
    )
    expect(plane.connection!.status()[0]).toMatchObject({ ackedVersion: good })
    expect((await counts(20)).v1).toBe(20)
    plane.push(at({ v1: 1 }))
    await plane.synced()
    expect(await envoy.get('/stats?filter=cluster_manager.cds.update_rejected')).toMatch(/update_rejected: [1-9]/)
  })

  test('it goes on while the control plane is away, and takes changes after its return', async () => {
    const { plane, at, counts } = await setUp()
    await plane.synced()
    await plane.stop()
    expect(
      Object.keys(await counts(50))
        .toSorted()
        .join(),
    ).toMatch(/^v1(,v2)?$/)
    await plane.start()
    await plane.synced()
    plane.push(at({ v2: 1 }))
    await plane.synced()
    expect(await counts(20)).toEqual({ v2: 20 })
  })
})
