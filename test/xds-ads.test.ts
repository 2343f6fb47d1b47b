import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { SystemRuntime } from '../src/runtime-system.ts'
import { AdsClient } from '../src/xds/client.ts'
import type { TypeHandler, Update } from '../src/xds/client-type.ts'
import { serveAds } from '../src/xds/grpc-server.ts'
import { grpcTransport } from '../src/xds/grpc-transport.ts'
import { memoryTransport } from '../src/xds/memory-transport.ts'
import { packed } from '../src/xds/messages.ts'
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE } from '../src/xds/resource-types.ts'
import { AdsServer } from '../src/xds/server.ts'
import type { AdsConnection } from '../src/xds/server-connection.ts'
import type { Snapshot } from '../src/xds/snapshot.ts'
import type { AdsMode, AdsTransport } from '../src/xds/stream.ts'
import { edsCluster, endpoints, node, rdsListener, routes, snapshot } from './support/xds-resources.ts'

/** Reconnects at once. */
class Eager extends SystemRuntime {
  override random() {
    return 0
  }
}

const cleanup: (() => void | Promise<void>)[] = []
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step()
})

/** A control plane that gives every client the same snapshot. */
class ControlPlane {
  readonly lines: string[] = []
  readonly nacks: string[] = []
  server!: AdsServer
  private current: Snapshot

  constructor(current: Snapshot) {
    this.current = current
    this.restart()
  }

  restart() {
    this.server = new AdsServer({
      runtime: new SystemRuntime(),
      log: (line) => this.lines.push(line),
      source: {
        connected: (connection) => connection.push(this.current),
        nacked: (_, typeUrl, nack) => this.nacks.push(`${typeUrl.split('.').at(-1)}: ${nack.message}`),
      },
    })
  }

  get connection(): AdsConnection {
    return this.server.connections[0]!
  }

  push(next: Snapshot) {
    this.current = next
    for (const connection of this.server.connections) connection.push(next)
  }

  status(typeUrl: string) {
    return this.connection.status().find((s) => s.typeUrl === typeUrl)!
  }
}

type Reach = (plane: ControlPlane) => Promise<{ transport: AdsTransport; restart(): Promise<void> }>

const overGrpc: Reach = async (plane) => {
  let listener = await serveAds(plane.server, '127.0.0.1:0')
  const { port } = listener
  cleanup.push(() => listener.close())
  return {
    transport: grpcTransport(`127.0.0.1:${port}`),
    async restart() {
      plane.server.close()
      await listener.close()
      plane.restart()
      listener = await serveAds(plane.server, `127.0.0.1:${port}`)
    },
  }
}

const inMemory: Reach = async (plane) => {
  const transport: AdsTransport = {
    open: (mode, handler) => memoryTransport(plane.server).open(mode, handler),
    close() {},
  }
  return {
    transport,
    async restart() {
      const old = plane.server
      plane.restart()
      old.close()
    },
  }
}

/** A client that subscribes as Envoy does, and writes down what comes. */
class Sidecar {
  readonly log: string[] = []
  readonly client: AdsClient
  readonly state: boolean[] = []
  refuse: Record<string, string> = {}
  holdClusters = false
  readonly held: (() => void)[] = []

  constructor(transport: AdsTransport, mode: AdsMode) {
    this.client = new AdsClient({
      transport,
      mode,
      runtime: new Eager(),
      node: node('sidecar~10.0.0.1~a.default~default.svc.cluster.local'),
      onState: (connected) => this.state.push(connected),
    })
    cleanup.push(() => this.client.close())
    const endpointNames = this.client.subscribe(ENDPOINT_TYPE, [], this.handler('eds'))
    const routeNames = this.client.subscribe(ROUTE_TYPE, [], this.handler('rds'))
    this.client.subscribe(
      CLUSTER_TYPE,
      '*',
      this.handler('cds', (update) => {
        endpointNames.add(update.added.map(({ name }) => name))
        endpointNames.remove(update.removed)
        if (this.holdClusters) this.held.push(update.hold())
      }),
    )
    this.client.subscribe(
      LISTENER_TYPE,
      '*',
      this.handler('lds', (update) => {
        routeNames.add(update.added.map(({ name }) => `${name}-routes`))
      }),
    )
    this.client.start()
  }

  private handler(kind: string, then: (update: Update) => void = () => {}): TypeHandler {
    return {
      onUpdate: (update) => {
        const added = update.added.map(({ name }) => `+${name}`)
        const removed = update.removed.map((name) => `-${name}`)
        this.log.push([kind, ...added, ...removed].join(' '))
        then(update)
        const bad = update.added.find(({ name }) => this.refuse[name])
        return bad && [`Error adding/updating cluster(s) ${bad.name}: ${this.refuse[bad.name]}`]
      },
    }
  }

  take(): string[] {
    return this.log.splice(0)
  }
}

async function until(what: () => boolean) {
  for (let i = 0; !what(); i++) {
    if (i > 2000) throw new Error(`it did not come to pass: ${what}`)
    await sleep(5)
  }
}

const base = () => [
  edsCluster('a'),
  edsCluster('b'),
  endpoints('a', 1001),
  endpoints('b', 1002),
  rdsListener('l', 8080, 'l-routes'),
  routes('l-routes', { a: 90, b: 10 }),
]

async function setUp(reach: Reach, mode: AdsMode, first: Snapshot = snapshot(...base())) {
  const plane = new ControlPlane(first)
  const { transport, restart } = await reach(plane)
  const proxy = new Sidecar(transport, mode)
  return { plane, proxy, restart }
}

const settled = (plane: ControlPlane) =>
  until(
    () => plane.server.connections.length === 1 && plane.connection.synced && plane.connection.status().length === 4,
  )

for (const [where, reach] of [
  ['over gRPC', overGrpc],
  ['in memory', inMemory],
] as const)
  for (const mode of ['sotw', 'delta'] as const)
    describe(`ADS ${where}, ${mode}`, () => {
      test('a proxy gets clusters, endpoints, listeners and routes, and accepts them', async () => {
        const { plane, proxy } = await setUp(reach, mode)
        await settled(plane)
        const log = proxy.take()
        expect(log.toSorted()).toEqual(['cds +a +b', 'eds +a +b', 'lds +l', 'rds +l-routes'])
        expect(log.indexOf('cds +a +b')).toBeLessThan(log.indexOf('eds +a +b'))
        expect(log.indexOf('lds +l')).toBeLessThan(log.indexOf('rds +l-routes'))
        const status = plane.status(CLUSTER_TYPE)
        expect(status).toMatchObject({ names: ['*'], resources: 2, nack: undefined })
        expect(status.ackedVersion).toBe(status.sentVersion)
        expect(plane.status(ENDPOINT_TYPE).names).toEqual(['a', 'b'])
        expect(plane.connection.id).toBe('sidecar~10.0.0.1~a.default~default.svc.cluster.local-1')
        expect(proxy.client.connected).toBe(true)
      })

      test('only what has changed is sent', async () => {
        const { plane, proxy } = await setUp(reach, mode)
        await settled(plane)
        proxy.take()
        plane.push(snapshot(...base().slice(0, 2), endpoints('a', 1001, 1003), ...base().slice(3)))
        await until(() => proxy.log.length > 0)
        await settled(plane)
        expect(proxy.take()).toEqual([mode === 'delta' ? 'eds +a' : 'eds +a +b'])
        plane.push(snapshot(...base().slice(0, 2), endpoints('a', 1001, 1003), ...base().slice(3)))
        await settled(plane)
        expect(proxy.take()).toEqual([])
      })

      test('what is gone is removed: routes switch before clusters go', async () => {
        const { plane, proxy } = await setUp(reach, mode)
        await settled(plane)
        proxy.take()
        plane.push(
          snapshot(
            edsCluster('a'),
            edsCluster('c'),
            endpoints('a', 1001),
            endpoints('c', 1004),
            base()[4]!,
            routes('l-routes', { a: 1, c: 1 }),
          ),
        )
        await until(() => proxy.log.some((line) => line.includes('-b')))
        await settled(plane)
        const log = proxy.take()
        const removal = log.findIndex((line) => line.startsWith('cds') && line.includes('-b'))
        expect(log[0]).toBe(mode === 'delta' ? 'cds +c' : 'cds +a +b +c'.replace('+b +c', '+c +b'))
        expect(log.findIndex((line) => line.startsWith('rds'))).toBeLessThan(removal)
        plane.push(snapshot(edsCluster('a'), endpoints('a', 1001)))
        await until(() => proxy.log.some((line) => line.startsWith('lds') && line.includes('-l')))
        await until(() => proxy.log.some((line) => line.startsWith('cds') && line.includes('-c')))
      })

      test('a resource that breaks a constraint is refused whole, and the last good ones stay', async () => {
        const { plane, proxy } = await setUp(reach, mode)
        await settled(plane)
        proxy.take()
        const good = plane.status(CLUSTER_TYPE).ackedVersion
        const broken = edsCluster('b', { connectTimeout: { seconds: 0n, nanos: 0 } })
        plane.push(snapshot(edsCluster('a', { altStatName: 'x' }), broken, ...base().slice(2)))
        await until(() => plane.nacks.length > 0)
        expect(plane.nacks[0]).toBe(
          'Cluster: b: Proto constraint validation failed (ClusterValidationError.ConnectTimeout: value must be greater than 0s)',
        )
        expect(proxy.take()).toEqual([])
        const status = plane.status(CLUSTER_TYPE)
        expect(status.ackedVersion).toBe(good)
        expect(status.nack).toMatchObject({ version: status.sentVersion, nonce: status.sentNonce })
        plane.push(snapshot(...base()))
        await settled(plane)
        expect(plane.status(CLUSTER_TYPE).nack).toBeUndefined()
      })

      test('a handler that refuses makes a NACK with its words, and hears of the next version', async () => {
        const { plane, proxy } = await setUp(reach, mode)
        await settled(plane)
        proxy.refuse = { a: 'no such extension' }
        plane.push(snapshot(edsCluster('a', { altStatName: 'x' }), ...base().slice(1)))
        await until(() => plane.nacks.length > 0)
        expect(plane.nacks).toEqual(['Cluster: Error adding/updating cluster(s) a: no such extension'])
        proxy.refuse = {}
        proxy.take()
        plane.push(snapshot(edsCluster('a', { altStatName: 'y' }), ...base().slice(1)))
        await settled(plane)
        expect(proxy.take()[0]).toMatch(/^cds .*\+a/)
      })

      test('endpoints come while the answer to their clusters is held back', async () => {
        const plane = new ControlPlane(snapshot(...base()))
        const { transport } = await reach(plane)
        const proxy = new Sidecar(transport, mode)
        proxy.holdClusters = true
        await until(() => proxy.log.includes('eds +a +b') && proxy.log.includes('rds +l-routes'))
        expect(plane.status(CLUSTER_TYPE).ackedNonce).toBe('')
        expect(plane.connection.synced).toBe(false)
        proxy.held[0]!()
        await settled(plane)
        expect(plane.status(CLUSTER_TYPE).ackedVersion).toBe(plane.status(CLUSTER_TYPE).sentVersion)
      })

      test('a restarted control plane gets its clients back, and what they hold stays in use', async () => {
        const { plane, proxy, restart } = await setUp(reach, mode)
        await settled(plane)
        proxy.take()
        await restart()
        await until(() => plane.server.connections.length === 1)
        await settled(plane)
        expect(proxy.state).toEqual([true, false, true])
        expect(proxy.take().filter((line) => line.includes('-') && !line.startsWith('rds'))).toEqual([])
        plane.push(snapshot(...base().slice(0, 5), routes('l-routes', { a: 50, b: 50 })))
        await until(() => proxy.log.includes('rds +l-routes'))
      })
    })

describe('ADS details', () => {
  test('a reconnecting delta client is sent only what it lacks', async () => {
    const { plane, proxy, restart } = await setUp(inMemory, 'delta')
    await settled(plane)
    proxy.take()
    await restart()
    await until(() => plane.server.connections.length === 1)
    await settled(plane)
    expect(proxy.take().filter((line) => line.includes('+'))).toEqual([])
  })

  test('in memory nothing is serialised and events never come inside the call that caused them', async () => {
    const { plane, proxy } = await setUp(inMemory, 'delta')
    expect(proxy.log).toEqual([])
    await settled(plane)
    const [cluster] = base()
    let read = 0
    const watched = packed('envoy.config.cluster.v3.Cluster', { name: 'watched' })
    plane.push(snapshot(...base(), cluster!))
    const spied = new Spy(watched, () => read++)
    plane.connection.push({
      version: 'spy',
      types: new Map([[CLUSTER_TYPE, new Map([['watched', { version: '1', resource: spied.any }]])]]),
    })
    expect(proxy.log.some((line) => line.includes('watched'))).toBe(false)
    await until(() => proxy.log.some((line) => line.includes('+watched')))
    expect(read).toBe(0)
  })

  test('a type that nobody serves is logged once and not answered', async () => {
    const { plane, proxy } = await setUp(inMemory, 'delta')
    await settled(plane)
    let updates = 0
    proxy.client.subscribe('type.googleapis.com/istio.workload.Address', '*', {
      onUpdate() {
        updates++
        return undefined
      },
    })
    const unknown = () => plane.lines.filter((line) => line.includes('istio.workload.Address'))
    await until(() => unknown().length > 0)
    await sleep(20)
    expect(unknown()).toEqual([
      'ADS: sidecar~10.0.0.1~a.default~default.svc.cluster.local asks for type.googleapis.com/istio.workload.Address, which nothing here serves',
    ])
    expect(updates).toBe(0)
  })
})

/** Counts how often the bytes of an Any are asked for. */
class Spy {
  readonly any
  constructor(any: ReturnType<typeof packed>, onRead: () => void) {
    const value = Object.getOwnPropertyDescriptor(any, 'value')!.get!
    Object.defineProperty(any, 'value', {
      get() {
        onRead()
        return value.call(any)
      },
    })
    this.any = any
  }
}
