import { afterEach, describe, expect, it } from 'vitest'
import { startMesh, type TestMesh, type TestMeshOptions } from '../src/testing/index.ts'
import { client, pod, service } from './support/mesh.ts'

const REVIEWS = [client(), service('reviews'), pod('reviews', 'v1'), pod('reviews', 'v2')].join('')

const route = (http: string) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
    - ${http}
      route: [{destination: {host: reviews}}]
---`

const OUTLIERS = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    outlierDetection:
      consecutive5xxErrors: 2
      interval: 10s
      baseEjectionTime: 3m
      maxEjectionPercent: 50
---`

describe('a mesh in a test', () => {
  let mesh: TestMesh
  const start = async (options: TestMeshOptions | string) => {
    mesh = await startMesh(options)
    return mesh
  }
  afterEach(() => mesh?.close())

  it('answers with status, headers and body, and tells what the sidecar did', async () => {
    await start({
      yaml: REVIEWS,
      apps: {
        'reviews-v1': (request, response) => {
          response.setHeader('x-app', 'mine')
          response.end(JSON.stringify({ path: request.url, method: request.method }))
        },
        'reviews-v2': (_, response) => response.writeHead(200, { 'x-app': 'other' }).end('{}'),
      },
    })
    const answers = [
      await mesh.call('client', 'http://reviews:9080/a?b'),
      await mesh.call('client', 'http://reviews:9080/a?b'),
    ]
    const first = answers.find((answer) => answer.instance === 'reviews-v1')!
    expect(first).toMatchObject({
      status: 200,
      headers: { 'x-app': 'mine', server: 'envoy' },
      workload: 'reviews-v1',
      attempts: 1,
      tried: ['reviews-v1'],
      flags: [],
      details: 'via_upstream',
      cluster: 'outbound|9080||reviews.default.svc.cluster.local',
    })
    expect(first.json()).toEqual({ path: '/a?b', method: 'GET' })
    expect(answers.map(({ headers }) => headers['x-app']).sort()).toEqual(['mine', 'other'])
    const posted = await mesh.call('client', 'http://reviews:9080/', { body: { a: 1 }, headers: { 'x-a': 'b' } })
    expect(posted.status).toBe(200)
  })

  it('shows trailers, attempts and who was tried', async () => {
    let calls = 0
    await start({
      yaml: REVIEWS + route('retries: {attempts: 3, retryOn: 5xx}'),
      apps: {
        reviews: (_, response) => {
          if (++calls < 3) return void response.writeHead(500).end()
          response.writeHead(200, { trailer: 'x-sum' })
          response.write('body')
          response.addTrailers({ 'x-sum': '42' })
          response.end()
        },
      },
    })
    const answer = await mesh.call('client', 'http://reviews:9080/', { headers: { te: 'trailers' } })
    expect([answer.status, answer.body, answer.attempts, answer.tried.length]).toEqual([200, 'body', 3, 3])
    expect(new Set(answer.tried)).toEqual(new Set(['reviews-v1', 'reviews-v2']))
  })

  it('takes, edits and deletes objects', async () => {
    await start(REVIEWS)
    const status = async () => (await mesh.call('client', 'http://reviews:9080/')).status
    await mesh.apply(route('fault: {abort: {httpStatus: 418, percentage: {value: 100}}}'))
    expect(await status()).toBe(418)
    await mesh.edit({ kind: 'VirtualService', name: 'reviews' }, (vs) => {
      const { spec } = vs as unknown as { spec: { http: { fault: { abort: { httpStatus: number } } }[] } }
      spec.http[0]!.fault.abort.httpStatus = 503
    })
    expect(await status()).toBe(503)
    await mesh.delete({ kind: 'VirtualService', name: 'reviews' })
    expect(await status()).toBe(200)
    await expect(mesh.delete({ kind: 'VirtualService', name: 'reviews' })).rejects.toThrow(
      'there is no VirtualService default/reviews; there are: none',
    )
  })

  it('refuses YAML with errors, with their places, and goes on with what it had', async () => {
    await expect(startMesh(`${client()}\nkind: Service\n---`)).rejects.toThrow(/yaml:\d+:\d+: error: no apiVersion/)
    await start(REVIEWS)
    await expect(mesh.apply(route('timeout: never'))).rejects.toThrow(/apply\[0\]:8:\d+: error: .*timeout/)
    expect((await mesh.call('client', 'http://reviews:9080/')).status).toBe(200)
  })

  it('ejects for three minutes that take no time', async () => {
    await start(REVIEWS + OUTLIERS + route('retries: {attempts: 2, retryOn: 5xx}'))
    await mesh.fault('reviews-v1', 'abort 500')
    for (let i = 0; i < 8; i++) expect((await mesh.call('client', 'http://reviews:9080/')).status).toBe(200)
    const ejection = await mesh.waitFor('outlier', ({ action }) => action === 'eject')
    expect(ejection).toMatchObject({
      workload: 'client',
      instance: 'reviews-v1',
      reason: 'consecutive_5xx',
      ejections: 1,
    })
    expect(mesh.ejected()).toMatchObject([{ workload: 'client', instance: 'reviews-v1' }])
    expect(await mesh.split('client', 'http://reviews:9080/', 6)).toEqual({ v2: 6 })
    const cluster = 'outbound|9080||reviews.default.svc.cluster.local'
    expect(mesh.stats('client', `cluster.${cluster}.outlier_detection.ejections_active`)).toBe(1)
    expect(
      mesh
        .clusters('client')
        .find(({ name }) => name === cluster)
        ?.hosts.map((h) => [h.instance, h.health]),
    ).toEqual(
      expect.arrayContaining([
        ['reviews-v1', '/failed_outlier_check'],
        ['reviews-v2', 'healthy'],
      ]),
    )
    await mesh.clearFault()
    const started = performance.now()
    await mesh.clock.advance('2m')
    expect(mesh.ejected()).toHaveLength(1)
    await mesh.clock.advance('70s')
    expect(performance.now() - started).toBeLessThan(2000)
    expect(mesh.ejected()).toEqual([])
    await mesh.waitFor('outlier', ({ action, instance }) => action === 'uneject' && instance === 'reviews-v1')
    expect(Object.keys(await mesh.split('client', 'http://reviews:9080/', 6)).sort()).toEqual(['v1', 'v2'])
  })

  it('times out after ten seconds that take no time', async () => {
    await start({ yaml: REVIEWS + route('timeout: 10s'), apps: { reviews: () => {} } })
    const answer = mesh.call('client', 'http://reviews:9080/')
    await mesh.clock.advance('9.9s')
    expect(await Promise.race([answer, 'waiting'])).toBe('waiting')
    await mesh.clock.advance('200ms')
    expect(await answer).toMatchObject({ status: 504, flags: ['UT'], body: 'upstream request timeout' })
  })

  it('backs off between retries on the moved clock', async () => {
    const at: number[] = []
    await start({
      yaml: REVIEWS + route('retries: {attempts: 2, retryOn: 5xx, backoff: 10s}'),
      apps: {
        reviews: (_, response) => {
          at.push(mesh.clock.now())
          response.writeHead(503).end()
        },
      },
    })
    const answer = mesh.call('client', 'http://reviews:9080/', { timeout: 3000 })
    await mesh.clock.advance('3m')
    expect(await answer).toMatchObject({ status: 503, attempts: 3, flags: ['URX'] })
    expect(at[1]! - at[0]!).toBeGreaterThan(100)
  })

  it('lets an instance die and come back', async () => {
    await start(REVIEWS + route('retries: {attempts: 2, retryOn: "connect-failure,reset"}'))
    await mesh.kill('reviews-v1')
    expect(mesh.workloads().find(({ name }) => name === 'reviews-v1')?.down).toBe(true)
    for (let i = 0; i < 4; i++) {
      const answer = await mesh.call('client', 'http://reviews:9080/')
      expect([answer.status, answer.instance]).toEqual([200, 'reviews-v2'])
    }
    await mesh.restore('reviews-v1')
    expect(Object.keys(await mesh.split('client', 'http://reviews:9080/', 8)).sort()).toEqual(['v1', 'v2'])
    await mesh.kill('client')
    await expect(mesh.call('client', 'http://reviews:9080/')).rejects.toThrow('client was killed')
  })

  it('tells events as they come', async () => {
    await start(REVIEWS)
    const changes = mesh.follow('changed')
    const next = changes.next()
    await mesh.apply(OUTLIERS)
    expect((await next).value).toEqual({ type: 'changed', summary: 'added DestinationRule default/reviews' })
    await expect(mesh.waitFor('outlier', () => true, { timeout: 20 })).rejects.toThrow(
      'no such outlier event within 20 ms; there was none',
    )
    const last = changes.next()
    await mesh.close()
    expect(await last).toEqual({ value: undefined, done: true })
  })

  it('repeats splits, faults and delays with the same seed, whatever else happens', async () => {
    const split = route('fault: {abort: {httpStatus: 418, percentage: {value: 30}}}')
    const run = async (seed: number, noise: boolean) => {
      await start({ yaml: REVIEWS + service('other') + pod('other', 'v1') + client('second') + split, seed })
      const seen: string[] = []
      for (let i = 0; i < 40; i++) {
        const answer = await mesh.call('client', 'http://reviews:9080/')
        seen.push(answer.instance ?? String(answer.status))
        // What others draw does not count.
        if (noise) await mesh.call('second', 'http://reviews:9080/')
      }
      await mesh.close()
      return seen
    }
    const first = await run(7, false)
    expect(new Set(first)).toEqual(new Set(['418', 'reviews-v1', 'reviews-v2']))
    expect(await run(7, true)).toEqual(first)
    expect(await run(8, false)).not.toEqual(first)
  })
})
