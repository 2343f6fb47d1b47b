import { once } from 'node:events'
import net from 'node:net'
import { describe, expect, it } from 'vitest'
import { Mesh } from '../src/mesh/mesh.ts'
import { MovableRuntime } from '../src/runtime-movable.ts'
import { SeededRuntime } from '../src/runtime-system.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { client, pod, service, startMesh } from './support/mesh.ts'

describe('a clock that can be moved', () => {
  it('runs timers in the order of their times, each at its own time', async () => {
    const runtime = new MovableRuntime()
    const start = runtime.now()
    const seen: [string, number][] = []
    const note = (name: string) => () => seen.push([name, Math.round((runtime.now() - start) / 1000)])
    runtime.after(60_000, note('minute'))
    runtime.after(10_000, () => {
      note('ten')()
      runtime.after(5000, note('ten and five'))
    })
    runtime.after(10_000, note('ten, later'))
    runtime.after(20_000, note('never')).cancel()
    const began = performance.now()
    await runtime.advance(61_000)
    expect(performance.now() - began).toBeLessThan(1000)
    expect(seen).toEqual([
      ['ten', 10],
      ['ten, later', 10],
      ['ten and five', 15],
      ['minute', 60],
    ])
    expect(Math.round((runtime.now() - start) / 1000)).toBe(61)
  })

  it('goes on as time does, before and after a move', async () => {
    const runtime = new MovableRuntime()
    const later = (ms: number) => new Promise<number>((resolve) => runtime.after(ms, () => resolve(runtime.now())))
    const first = runtime.now()
    expect((await later(20)) - first).toBeGreaterThanOrEqual(20)
    await runtime.advance(3_600_000)
    const second = runtime.now()
    expect(second - first).toBeGreaterThan(3_600_000)
    expect((await later(20)) - second).toBeGreaterThanOrEqual(20)
    expect(runtime.wallNow() - Date.now()).toBeGreaterThan(3_500_000)
  })

  it('lets what a timer sends arrive and be answered before the next one runs', async () => {
    const runtime = new MovableRuntime()
    const server = net.createServer((socket) => socket.pipe(socket))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const socket = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1')
    await once(socket, 'connect')
    const seen: string[] = []
    socket.on('data', (bytes) => seen.push(`answer ${bytes}`))
    for (const n of [1, 2, 3])
      runtime.after(n * 1000, () => {
        seen.push(`timer ${n}`)
        socket.write(String(n))
      })
    await runtime.advance(10_000)
    expect(seen).toEqual(['timer 1', 'answer 1', 'timer 2', 'answer 2', 'timer 3', 'answer 3'])
    socket.destroy()
    server.close()
  })

  it('makes one move after the other', async () => {
    const runtime = new MovableRuntime()
    const start = runtime.now()
    await Promise.all([runtime.advance(1000), runtime.advance(2000), runtime.fork('a').now()])
    expect(Math.round((runtime.now() - start) / 1000)).toBe(3)
    expect(Math.abs(runtime.fork('a').now() - runtime.now())).toBeLessThan(100)
  })
})

describe('chance under a seed', () => {
  it.each([
    ['the movable runtime', (seed: number) => new MovableRuntime(seed)],
    ['the seeded runtime', (seed: number) => new SeededRuntime(seed)],
    ['the test runtime', (seed: number) => new TestRuntime(seed)],
  ])('is a stream for each name in %s, whatever others draw', (_, make) => {
    const draw = (runtime: { randomU32(): number }) => Array.from({ length: 5 }, () => runtime.randomU32())
    const one = make(7)
    const other = make(7)
    draw(other)
    draw(other.fork('b'))
    const expected = draw(one.fork('a'))
    expect(draw(other.fork('a'))).toEqual(expected)
    expect(draw(other.fork('b'))).not.toEqual(expected)
    expect(draw(make(8).fork('a'))).not.toEqual(expected)
    expect(one.uuid()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  })

  it('gives two runs with --seed the same splits and faults', async () => {
    const yaml = `${client()}${service('reviews')}${pod('reviews', 'v1')}${pod('reviews', 'v2')}
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
    - fault: {abort: {httpStatus: 418, percentage: {value: 20}}}
      retries: {attempts: 0}
      route:
        - {destination: {host: reviews, subset: v1}, weight: 70}
        - {destination: {host: reviews, subset: v2}, weight: 30}
---`
    const run = async (seed: number) => {
      const { mesh, get, stop } = await startMesh(yaml, { seed })
      expect(mesh).toBeInstanceOf(Mesh)
      await mesh.faults.set('reviews-v1', 'abort 507 30%')
      const seen: string[] = []
      for (let i = 0; i < 60; i++) {
        const { status, answer } = await get('client', 'http://reviews:9080/')
        seen.push(`${answer.by ?? ''} ${status}`)
      }
      await stop()
      return seen
    }
    const first = await run(7)
    expect(new Set(first)).toEqual(new Set([' 418', 'reviews-v1 200', 'reviews-v1 507', 'reviews-v2 200']))
    expect(await run(7)).toEqual(first)
    expect(await run(9)).not.toEqual(first)
  })
})
