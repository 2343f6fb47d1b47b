import { afterEach, describe, expect, it } from 'vitest'
import type { Pilot } from '../src/pilot/pilot.ts'
import type { Runtime } from '../src/runtime.ts'
import { SystemRuntime } from '../src/runtime-system.ts'
import { AdsClient } from '../src/xds/client.ts'
import { memoryTransport } from '../src/xds/memory-transport.ts'
import { make } from '../src/xds/messages.ts'
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE, SECRET_TYPE } from '../src/xds/resource-types.ts'
import { AdsServer } from '../src/xds/server.ts'
import { pilotOf, podYaml, serviceYaml } from './support/pilot.ts'

const base =
  serviceYaml('a', 'http:80') + serviceYaml('b', 'http:80') + podYaml('client', 'app: client') + podYaml('a1', 'app: a')

const route = (weight: number) => `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a], http: [{route: [{destination: {host: a}, weight: ${weight}}, {destination: {host: b}, weight: ${100 - weight}}]}]}
`

/** Time that passes when told. */
class ManualRuntime extends SystemRuntime implements Runtime {
  time = 0
  timers: { at: number; call: () => void }[] = []

  override now(): number {
    return this.time
  }

  override after(ms: number, call: () => void) {
    const timer = { at: this.time + ms, call }
    this.timers.push(timer)
    return {
      cancel: () => {
        this.timers = this.timers.filter((known) => known !== timer)
      },
    }
  }

  pass(ms: number): void {
    this.time += ms
    const due = this.timers.filter((timer) => timer.at <= this.time)
    this.timers = this.timers.filter((timer) => timer.at > this.time)
    for (const { call } of due) call()
  }
}

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

interface Seen {
  type: string
  added: string[]
  removed: string[]
  messages: unknown[]
}

/** A client of a pilot in this process; `seen` collects what each update brought. */
async function connect(
  pilot: Pilot,
  node: { id: string; metadata?: Record<string, string> },
  names: Record<string, readonly string[] | '*'>,
) {
  const runtime = new SystemRuntime()
  const server = new AdsServer({ source: pilot, runtime })
  const client = new AdsClient({
    transport: memoryTransport(server),
    runtime,
    node: make('envoy.config.core.v3.Node', node),
    mode: 'delta',
  })
  const seen: Seen[] = []
  const waiters: (() => void)[] = []
  for (const [type, wanted] of Object.entries(names)) {
    client.subscribe(type, wanted, {
      onUpdate(update) {
        const added = update.added.map((resource) => resource.name)
        const messages = update.added.map((resource) => resource.resource)
        seen.push({ type, added: added.sort(), removed: [...update.removed], messages })
        for (const wake of waiters.splice(0)) wake()
        return undefined
      },
    })
  }
  client.start()
  closers.push(
    () => client.close(),
    () => server.close(),
    () => pilot.close(),
  )
  const settled = async () => {
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
  }
  const until = async (found: (update: Seen) => boolean) => {
    for (;;) {
      const update = seen.find(found)
      if (update) return update
      await new Promise<void>((resolve) => waiters.push(resolve))
    }
  }
  await settled()
  return { seen, settled, until }
}

const sidecarNode = (pilot: Pilot, name = 'client') => ({
  id: `sidecar~${pilot.registry.workload('default', name)?.ip}~${name}.default~default.svc.cluster.local`,
  metadata: { NAMESPACE: 'default' },
})

const everything = {
  [CLUSTER_TYPE]: '*',
  [LISTENER_TYPE]: '*',
  [ROUTE_TYPE]: ['80'],
  [SECRET_TYPE]: ['default', 'ROOTCA'],
} as const

describe('a connected sidecar', () => {
  it('gets its resources, and its certificate', async () => {
    const { pilot } = pilotOf(base)
    const { seen } = await connect(pilot, sidecarNode(pilot), everything)
    const of = (type: string) => seen.find((update) => update.type === type)?.added
    expect(of(CLUSTER_TYPE)).toContain('outbound|80||a.default.svc.cluster.local')
    expect(of(LISTENER_TYPE)).toContain('virtualInbound')
    expect(of(ROUTE_TYPE)).toEqual(['80'])
    expect(of(SECRET_TYPE)).toEqual(['ROOTCA', 'default'])
  })

  it('is sent what changed and nothing else', async () => {
    const test = pilotOf(base + route(10))
    const { seen, settled } = await connect(test.pilot, sidecarNode(test.pilot), everything)
    seen.length = 0
    test.apply(route(20))
    await settled()
    expect(seen.map(({ type, added, removed }) => ({ type, added, removed }))).toEqual([
      { type: ROUTE_TYPE, added: ['80'], removed: [] },
    ])
  })

  it('is not sent anything for a change that means nothing to it', async () => {
    const test = pilotOf(base)
    const { seen, settled } = await connect(test.pilot, sidecarNode(test.pilot), everything)
    seen.length = 0
    test.apply('apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n')
    await settled()
    expect(seen).toEqual([])
  })

  it('loses the clusters of a service that is gone', async () => {
    const test = pilotOf(base)
    test.apply(serviceYaml('c', 'http:80'))
    const { until } = await connect(test.pilot, sidecarNode(test.pilot), everything)
    test.apply('')
    const { added, removed } = await until((update) => update.removed.length > 0)
    expect({ added, removed }).toEqual({ added: [], removed: ['outbound|80||c.default.svc.cluster.local'] })
  })
})

describe('changes', () => {
  it('are pushed at once when it was quiet, and then gathered for 100 ms', () => {
    const runtime = new ManualRuntime()
    const test = pilotOf(base, { runtime })
    closers.push(() => test.pilot.close())
    let pushes = 0
    test.pilot.onPush(() => pushes++)
    runtime.pass(1000)
    test.apply(route(1))
    expect(pushes).toBe(1)
    test.apply(route(2))
    test.apply(route(3))
    expect([pushes, test.pilot.pushPending]).toEqual([1, true])
    runtime.pass(99)
    expect(pushes).toBe(1)
    runtime.pass(1)
    expect([pushes, test.pilot.pushPending]).toEqual([2, false])
  })

  it('leave what they do not touch the very same object', () => {
    const test = pilotOf(base + route(10))
    closers.push(() => test.pilot.close())
    const before = test.pilot.context.clusterMemo
    test.apply(route(20))
    expect(test.pilot.context.clusterMemo).toBe(before)
  })
})

describe('a node', () => {
  it('without a pod is served by what it says of itself', async () => {
    const { pilot } = pilotOf(base)
    const node = { id: 'sidecar~192.0.2.9~vm.default~default.svc.cluster.local', metadata: { NAMESPACE: 'default' } }
    const { seen } = await connect(pilot, node, everything)
    expect(seen.find((update) => update.type === CLUSTER_TYPE)?.added).toContain(
      'outbound|80||a.default.svc.cluster.local',
    )
  })

  it('of a strange form is turned away', () => {
    const { pilot } = pilotOf(base)
    closers.push(() => pilot.close())
    expect(() => pilot.proxy({ id: 'nonsense', metadata: {} })).toThrow(/nonsense/)
  })
})

describe('a gRPC client that is its own proxy', () => {
  const target = 'a.default.svc.cluster.local:80'
  const cluster = 'outbound|80||a.default.svc.cluster.local'

  it('gets the listener that it names, its route, cluster and endpoints', async () => {
    const { pilot } = pilotOf(base)
    const node = {
      id: 'sidecar~127.0.0.1~grpc.default~default.svc.cluster.local',
      metadata: { GENERATOR: 'grpc', NAMESPACE: 'default' },
    }
    const { until } = await connect(pilot, node, {
      [LISTENER_TYPE]: [target],
      [ROUTE_TYPE]: [cluster],
      [CLUSTER_TYPE]: [cluster],
      [ENDPOINT_TYPE]: [cluster],
    })
    for (const type of [ROUTE_TYPE, CLUSTER_TYPE, ENDPOINT_TYPE]) {
      expect((await until((update) => update.type === type)).added).toEqual([cluster])
    }
    const listener = await until((update) => update.type === LISTENER_TYPE)
    expect(listener.added).toEqual([target])
    expect(listener.messages[0]).toHaveProperty('apiListener')
  })
})
