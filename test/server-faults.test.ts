import { once } from 'node:events'
import net from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { FaultSyntaxError, formatFault, parseFault } from '../src/api/server-fault.ts'
import { MovableRuntime } from '../src/runtime-movable.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

/** Retries that Istio would do by itself confuse tests of single faults. */
const NO_RETRIES = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
    - retries: {attempts: 0}
      route: [{destination: {host: reviews}}]
---`

const REVIEWS = [client(), service('reviews'), pod('reviews', 'v1')].join('')

describe('a fault at an instance', () => {
  let mesh: TestMesh
  afterEach(() => mesh?.stop())

  it('aborts with a status, a body and headers, and ends when it is cleared', async () => {
    mesh = await startMesh(REVIEWS + NO_RETRIES)
    await mesh.get('client', 'http://reviews:9080/')
    await mesh.mesh.faults.set('reviews', 'abort 418 body="short and stout" response-header="x-pot: tea"')
    const got = await mesh.get('client', 'http://reviews:9080/')
    expect([got.status, got.text, got.headers['x-pot'], got.answer.by]).toEqual([
      418,
      'short and stout',
      'tea',
      'reviews-v1',
    ])
    await mesh.mesh.faults.clear('reviews')
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(200)
  })

  it('is seen by the client as an upstream failure, and retried on another instance', async () => {
    const retrying = NO_RETRIES.replace('{attempts: 0}', '{attempts: 3, retryOn: 5xx}')
    mesh = await startMesh(REVIEWS + pod('reviews', 'v2') + retrying, { seed: 1 })
    await mesh.mesh.faults.set('reviews-v1', 'reset')
    for (let i = 0; i < 10; i++) {
      const got = await mesh.get('client', 'http://reviews:9080/')
      expect([got.status, got.answer.by]).toEqual([200, 'reviews-v2'])
    }
    expect(mesh.mesh.faults.list()[0]?.rules[0]?.struck).toBeGreaterThan(0)
  })

  it('resets before the response and in the middle of it', async () => {
    const runtime = new MovableRuntime(1)
    mesh = await startMesh(REVIEWS + NO_RETRIES, { runtime })
    await mesh.mesh.faults.set('reviews', 'reset')
    const before = await mesh.get('client', 'http://reviews:9080/')
    expect([before.status, before.text]).toEqual([
      503,
      'upstream connect error or disconnect/reset before headers. reset reason: connection termination',
    ])
    await mesh.mesh.faults.set('reviews', 'reset after=20')
    // Sidecars give a client they hang up on a second to do so first.
    const broken = async () => {
      const got = mesh.get('client', 'http://reviews:9080/')
      await expect.poll(() => mesh.mesh.faults.list()[0]?.rules[0]?.struck).toBe(1)
      await runtime.advance(2100)
      return got
    }
    const middle = await broken()
    expect([middle.status, middle.answer.error]).toEqual([0, 'the response broke off: aborted'])
    await mesh.mesh.faults.set('reviews', 'reset after=headers')
    expect((await broken()).status).toBe(0)
  })

  it('refuses connections, also of a sidecar that has some', async () => {
    mesh = await startMesh(REVIEWS + NO_RETRIES)
    await mesh.get('client', 'http://reviews:9080/')
    await mesh.mesh.faults.set('reviews', 'refuse')
    const got = await mesh.get('client', 'http://reviews:9080/')
    expect(got.status).toBe(503)
    expect(got.text).toMatch(/reset reason: remote connection failure/)
    await mesh.mesh.faults.clear()
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(200)
  })

  it('waits as long as it says, by the clock of the mesh', async () => {
    const runtime = new MovableRuntime(1)
    mesh = await startMesh(REVIEWS + NO_RETRIES, { runtime })
    await mesh.mesh.faults.set('reviews', 'delay 5s')
    let done = false
    const started = performance.now()
    const got = mesh.get('client', 'http://reviews:9080/').finally(() => {
      done = true
    })
    await runtime.advance(4900)
    expect(done).toBe(false)
    await runtime.advance(200)
    expect((await got).status).toBe(200)
    expect(performance.now() - started).toBeLessThan(2500)
  })

  it('lets requests that wait or hang go on when it is cleared', async () => {
    mesh = await startMesh(REVIEWS + NO_RETRIES)
    await mesh.mesh.faults.set('reviews', 'hang')
    const got = mesh.get('client', 'http://reviews:9080/')
    await expect.poll(() => mesh.mesh.faults.list()[0]?.rules[0]?.struck).toBe(1)
    await mesh.mesh.faults.clear('reviews')
    expect((await got).status).toBe(200)
  })

  it('is limited to paths, methods, headers and a number of requests', async () => {
    mesh = await startMesh(REVIEWS + NO_RETRIES)
    const status = async (path: string, send = {}) =>
      (await mesh.get('client', `http://reviews:9080${path}`, send)).status
    await mesh.mesh.faults.set(
      'reviews',
      'abort 500 path=/a*,/exact; abort 501 method=POST path=/b; abort 502 header=x-user:jason',
    )
    expect([await status('/abc?q'), await status('/exact'), await status('/exactly'), await status('/b')]).toEqual([
      500, 500, 200, 200,
    ])
    expect(await status('/b', { method: 'POST', body: 'x' })).toBe(501)
    expect(await status('/c', { headers: { 'x-user': 'jason' } })).toBe(502)
    expect(await status('/c', { headers: { 'x-user': 'other' } })).toBe(200)
    await mesh.mesh.faults.set('reviews', 'abort 500 first=2')
    expect([await status('/'), await status('/'), await status('/')]).toEqual([500, 500, 200])
  })

  it('ends by itself after its time', async () => {
    const runtime = new MovableRuntime(1)
    mesh = await startMesh(REVIEWS + NO_RETRIES, { runtime })
    await mesh.mesh.faults.set('reviews', 'abort 500 for=1m')
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(500)
    await runtime.advance(60_001)
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(200)
  })

  it('flaps by the clock', async () => {
    const runtime = new MovableRuntime(1)
    mesh = await startMesh(REVIEWS + NO_RETRIES, { runtime })
    await mesh.mesh.faults.set('reviews', 'flap up=10s down=5s')
    const status = async () => (await mesh.get('client', 'http://reviews:9080/')).status
    expect(await status()).toBe(200)
    await runtime.advance(11_000)
    expect(await status()).toBe(503)
    await runtime.advance(5_000)
    expect(await status()).toBe(200)
    await runtime.advance(10_000)
    expect(await status()).toBe(503)
  })

  it('slows a body down', async () => {
    const runtime = new MovableRuntime(1)
    mesh = await startMesh(REVIEWS + NO_RETRIES, { runtime })
    await mesh.mesh.faults.set('reviews', 'slow 100b/s')
    let done = false
    const got = mesh.get('client', 'http://reviews:9080/').finally(() => {
      done = true
    })
    await runtime.advance(2000)
    expect(done).toBe(false)
    await runtime.advance(20_000)
    expect((await got).echo?.workload).toBe('reviews-v1')
  })

  it('strikes by chance, the same for the same seed', async () => {
    const run = async () => {
      mesh = await startMesh(REVIEWS + NO_RETRIES, { seed: 7 })
      await mesh.mesh.faults.set('reviews', 'abort 500 50%')
      const seen: number[] = []
      for (let i = 0; i < 40; i++) seen.push((await mesh.get('client', 'http://reviews:9080/')).status)
      await mesh.stop()
      return seen
    }
    const first = await run()
    expect(new Set(first)).toEqual(new Set([200, 500]))
    expect(await run()).toEqual(first)
  })

  it('comes with an annotation, and goes with it, without a restart', async () => {
    const withFault = (annotations: string) =>
      client() + service('reviews') + pod('reviews', 'v1', { annotations }) + NO_RETRIES
    mesh = await startMesh(withFault('dinghy.dev/fault: "abort 507"'), { watch: true })
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(507)
    await mesh.write('mesh.yaml', withFault(''))
    await expect.poll(async () => (await mesh.get('client', 'http://reviews:9080/')).status).toBe(200)
  })

  it('is refused with its place when the annotation is wrong', async () => {
    const yaml = client() + pod('reviews', 'v1', { annotations: 'dinghy.dev/fault: "abrt 500"' })
    const error = (await startMesh(yaml).catch((e: Error) => e)) as Error & {
      events: { problems?: { line: number; col: number; message: string }[] }[]
    }
    const problem = error.events.flatMap((e) => e.problems ?? []).find((p) => p.message.includes('dinghy.dev/fault'))
    expect(problem).toMatchObject({
      line: 15,
      message: 'metadata.annotations["dinghy.dev/fault"]: "abrt" is no fault: did you mean abort? in "abrt 500"',
    })
  })

  it('strikes plain TCP: refused, reset, held up, and broken when the app goes down', async () => {
    const runtime = new MovableRuntime(1)
    mesh = await startMesh(
      client() + service('db', 'default', { name: 'tcp', port: 9000 }) + pod('db', 'v1', { port: 9000 }),
      { runtime },
    )
    const connect = async () => {
      const db = mesh.mesh.registry.services.find((s) => s.hostname.startsWith('db.'))!
      const to = await mesh.mesh.captureOf('client', db.address, 9000)
      const socket = net.connect(to)
      socket.on('error', () => {})
      await once(socket, 'connect')
      return socket
    }
    const echoed = async (socket: net.Socket) => {
      socket.write('ping')
      // A reset is an end like another.
      const end = once(socket, 'close').then(() => 'closed')
      return Promise.race([once(socket, 'data').then(([bytes]) => String(bytes)), end]).catch(() => 'closed')
    }
    expect(await echoed(await connect())).toBe('ping')
    await mesh.mesh.faults.set('db', 'refuse')
    expect(await echoed(await connect())).toBe('closed')
    await mesh.mesh.faults.set('db', 'reset')
    expect(await echoed(await connect())).toBe('closed')
    await mesh.mesh.faults.set('db', 'delay 30s')
    const late = echoed(await connect())
    await runtime.advance(30_100)
    expect(await late).toBe('ping')
    await mesh.mesh.faults.clear('db')
    const before = await connect()
    expect(await echoed(before)).toBe('ping')
    await mesh.mesh.faults.set('db', 'flap up=1s down=1s')
    const gone = once(before, 'close')
    await runtime.advance(1100)
    await gone
  })

  it('strikes HTTP/2, as a gRPC status too', async () => {
    const grpc = service('reviews', 'default', { name: 'grpc', port: 9080 })
    mesh = await startMesh(client() + grpc + pod('reviews', 'v1') + NO_RETRIES)
    const get = (headers = {}) => mesh.get('client', 'http://reviews:9080/x', { headers })
    expect((await get()).echo?.request.path).toBe('/x')
    await mesh.mesh.faults.set('reviews', 'grpc UNAVAILABLE message="gone fishing"')
    const refused = await get({ 'content-type': 'application/grpc', te: 'trailers' })
    expect([refused.status, refused.headers['grpc-status'], refused.headers['grpc-message']]).toEqual([
      200,
      '14',
      'gone fishing',
    ])
    expect((await get()).status).toBe(503)
    await mesh.mesh.faults.set('reviews', 'abort 429 body=slower')
    expect(await get()).toMatchObject({ status: 429, text: 'slower' })
    await mesh.mesh.faults.set('reviews', 'reset')
    expect((await get()).status).toBe(503)
    await mesh.mesh.faults.set('reviews', 'delay 1ms')
    expect((await get()).echo?.workload).toBe('reviews-v1')
    await mesh.mesh.faults.clear()
    expect((await get()).status).toBe(200)
  })

  it('strikes an app without a sidecar', async () => {
    const bare = pod('reviews', 'v1', { labels: 'sidecar.istio.io/inject: "false"' })
    mesh = await startMesh(client() + service('reviews') + bare + NO_RETRIES)
    const status = async () => (await mesh.get('client', 'http://reviews:9080/')).status
    expect(await status()).toBe(200)
    await mesh.mesh.faults.set('reviews', 'abort 508')
    expect(await status()).toBe(508)
    await mesh.mesh.faults.set('reviews', 'refuse')
    expect(await status()).toBe(503)
    await mesh.mesh.faults.clear()
    expect(await status()).toBe(200)
  })

  it('refuses every other request, not every other connection, when it refuses half', async () => {
    mesh = await startMesh(REVIEWS + NO_RETRIES, { seed: 3 })
    await mesh.mesh.faults.set('reviews', 'refuse 50%')
    const seen: number[] = []
    for (let i = 0; i < 20; i++) seen.push((await mesh.get('client', 'http://reviews:9080/')).status)
    // The sidecar of the app retries what was refused once, as Istio has it.
    expect(new Set(seen)).toEqual(new Set([200, 503]))
  })
})

describe('the words of a fault', () => {
  it.each([
    ['delay 200ms±50ms 10%', { kind: 'delay', ms: 200, jitter: 50 }],
    ['delay p50=20ms p99=2s', { kind: 'delay-distribution', p50: 20, p99: 2000 }],
    ['abort 503', { kind: 'abort', status: 503, body: '', headers: [] }],
    ['grpc 14', { kind: 'grpc', status: 14, message: 'fault injected' }],
    ['reset after=10kb', { kind: 'reset', after: 10240 }],
    ['refuse port=9080', { kind: 'refuse' }],
    ['flap up=10s down=5s', { kind: 'flap', up: 10_000, down: 5000 }],
    ['slow 1.5kb/s path=/a*', { kind: 'slow', bytesPerSecond: 1536 }],
    ['hang first=5 for=1m', { kind: 'hang' }],
  ])('%s', (text, action) => {
    expect(parseFault(text)[0]?.action).toEqual(action)
    expect(formatFault(parseFault(`${text}; hang`))).toBe(`${text}; hang`)
  })

  it.each([
    ['', 'no fault; there are delay, abort, grpc, reset, refuse, flap, slow, hang'],
    ['abort', 'the status must be a whole number of 200 to 599 in "abort"'],
    ['delay soon', '"soon" is no duration such as 200ms or 1m30s in "delay soon"'],
    ['delay 1s 150%', '"150%" is no percentage of 0% to 100% in "delay 1s 150%"'],
    ['hang methd=GET', 'methd= means nothing to hang: did you mean method=? in "hang methd=GET"'],
    ['refuse path=/a', 'refuse is about connections, which have no path, method or header, in "refuse path=/a"'],
    ['flap up=1s', 'flap needs up= and down=, as in flap up=10s down=5s, in "flap up=1s"'],
    ['hang path=a', 'path=a does not begin with / (or with ~, for an expression) in "hang path=a"'],
    ['abort 500 body="x', 'a quote is missing in body="x'],
  ])('%s is refused', (text, message) => {
    expect(() => parseFault(text)).toThrow(new FaultSyntaxError(message))
  })
})
