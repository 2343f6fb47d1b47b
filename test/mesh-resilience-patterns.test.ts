import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { startMesh, type TestMesh } from '../src/testing/index.ts'

/** Starts a folder under configs/patterns, as it is. */
const pattern = (name: string): Promise<TestMesh> =>
  startMesh({ files: [path.resolve(import.meta.dirname, '../configs/patterns', name)] })

describe('the resilience patterns of configs/patterns', () => {
  let mesh: TestMesh
  afterEach(() => mesh?.close())

  it('circuit breaker: one connection works, one request waits, the others are turned away at once', async () => {
    mesh = await pattern('circuit-breaker')
    const answers = await Promise.all(Array.from({ length: 5 }, () => mesh.call('curl', 'http://httpbin:8000/delay/1')))
    const turnedAway = answers.filter(({ status }) => status === 503)
    expect(turnedAway.length).toBeGreaterThanOrEqual(3)
    for (const answer of turnedAway) {
      expect(answer.flags).toEqual(['UO'])
      expect(answer.headers['x-envoy-overloaded']).toBe('true')
    }
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(5 - turnedAway.length)
  })

  it('circuit breaker: one 5xx ejects the host for three minutes', async () => {
    mesh = await pattern('circuit-breaker')
    expect((await mesh.call('curl', 'http://httpbin:8000/status/500')).status).toBe(500)
    await mesh.waitFor('outlier', ({ action }) => action === 'eject')
    const [host] = mesh.ejected()
    expect(host!.instance).toMatch(/^httpbin-v1/)
    await mesh.clock.advance('2s')
    const without = await mesh.call('curl', 'http://httpbin:8000/get')
    expect([without.status, without.flags]).toEqual([503, ['UH']])
    await mesh.clock.advance('2m50s')
    expect(mesh.ejected()).toHaveLength(1)
    await mesh.clock.advance('15s')
    expect(mesh.ejected()).toEqual([])
    await mesh.clock.advance('2s')
    expect((await mesh.call('curl', 'http://httpbin:8000/get')).status).toBe(200)
  })

  it('mirroring: v1 answers, v2 gets a copy of each, and its failures are nobody’s', async () => {
    mesh = await pattern('mirroring')
    await mesh.fault('httpbin-v2', 'abort 500; delay 1s')
    const copies = 'http.inbound_0.0.0.0_8000;.downstream_rq_total'
    expect(await mesh.split('curl', 'http://httpbin:8000/get', 10)).toEqual({ v1: 10 })
    await expect.poll(() => mesh.stats('httpbin-v2', copies)).toBe(10)
    // Written as people write it; what was assumed is said.
    const said = mesh.events.filter((event) => event.type === 'problem')
    expect(said.map(({ severity, file }) => [severity, path.basename(file)])).toEqual([
      ['warning', 'virtual-service.yaml'],
    ])
  })

  it('retries and timeout: an answer that fails is asked for three times more, a slow one given up', async () => {
    mesh = await pattern('retry-timeout')
    await mesh.fault('myapp-v1', 'abort 503')
    const failed = await mesh.call('curl', 'http://myapp:9080/')
    expect([failed.status, failed.attempts, failed.flags]).toEqual([503, 4, ['URX']])
    await mesh.fault('myapp-v1', 'abort 503 50%')
    const split = await mesh.split('curl', 'http://myapp:9080/', 40)
    expect(split.v1).toBeGreaterThan(30)

    // Each try has two seconds, all of them together five.
    await mesh.fault('myapp-v1', 'hang')
    const slow = mesh.call('curl', 'http://myapp:9080/')
    await expect.poll(() => mesh.stats('myapp-v1', /http\.inbound_.*downstream_rq_active/)).toBeDefined()
    await mesh.clock.advance('5s')
    const { status, flags, attempts } = await slow
    expect([status, flags]).toEqual([504, ['UT']])
    expect(attempts).toBeGreaterThanOrEqual(2)
  })

  it('fault injection: every request waits five seconds, and then is answered', async () => {
    mesh = await pattern('fault-injection')
    let answered = false
    const call = mesh.call('curl', 'http://ratings:9080/').then((answer) => {
      answered = true
      return answer
    })
    await expect.poll(() => mesh.stats('curl', /http\..*fault\.active_faults/)).not.toEqual({})
    await mesh.clock.advance('4.9s')
    expect(answered).toBe(false)
    await mesh.clock.advance('0.2s')
    const { status, flags } = await call
    expect([status, flags]).toEqual([200, ['DI']])

    const abort = { httpStatus: 503, percentage: { value: 100 } }
    await mesh.edit({ kind: 'VirtualService', name: 'ratings-fault-delay' }, (object) => ({
      ...object,
      spec: { hosts: ['ratings'], http: [{ fault: { abort }, route: [{ destination: { host: 'ratings' } }] }] },
    }))
    const aborted = await mesh.call('curl', 'http://ratings:9080/')
    expect([aborted.status, aborted.flags, aborted.body]).toEqual([503, ['FI'], 'fault filter abort'])
  })
})
