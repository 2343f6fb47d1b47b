import { describe, expect, test } from 'vitest'
import { TestRuntime } from '../src/runtime-test.ts'
import { askingHarness, held, limitOn } from './support/asking.ts'
import { get } from './support/http.ts'
import { Client, eventually } from './support/proxy.ts'
import { OK, OVER, rateLimitService, ScriptedRls } from './support/scripted-rls.ts'

const { asking, started } = askingHarness()

describe('a request that waits for the service', () => {
  test('waits for the answer with its body', async () => {
    const { a, p } = await asking([OK])
    expect((await get(p.http, '/', {}, 'POST', 'hello')).status).toBe(200)
    expect(a.last.body).toBe('hello')
  })

  test.each([
    ['body', '5\r\nhello\r\n', '0\r\n\r\n'],
    ['whole body', '5\r\nhello\r\n0\r\n\r\n', ''],
    ['trailers', '5\r\nhello\r\n0\r\nx-sum: 9\r\n\r\n', ''],
  ])('keeps its %s from the upstream until the service has answered', async (_what, early, late) => {
    const { answer, give } = held({ overallCode: 'OK' })
    const trailers = { http_protocol_options: { enable_trailers: true } }
    const { rls, a, p } = await asking([answer, OVER], { timeout: '60s' }, { hcm: trailers })
    const client = new Client(p.http)
    client.write('POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n')
    await eventually(() => rls.asked.length === 1)
    client.write(early)
    // What came before another one's whole request has been read.
    expect((await get(p.http, '/')).status).toBe(429)
    expect([p.counter('cluster.a.upstream_cx_total'), p.counter('cluster.a.upstream_rq_total')]).toEqual([0, 0])
    give()
    client.write(late)
    await client.receives('200 OK')
    expect(a.last.body).toBe('hello')
    client.destroy()
  })

  test('may have a body that no buffer holds: no more of it is read for the time being', async () => {
    const { answer, give } = held({ overallCode: 'OK' })
    const { rls, a, p } = await asking([answer])
    const body = 'x'.repeat(4 << 20)
    const client = new Client(p.http)
    client.write(`POST / HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
    await eventually(
      () => rls.asked.length === 1 && p.counter('http.h.downstream_flow_control_paused_reading_total') > 0,
    )
    expect([client.text, p.counter('cluster.a.upstream_cx_total')]).toEqual(['', 0])
    give()
    await client.receives('200 OK')
    expect(a.last.body.length).toBe(body.length)
    client.destroy()
  })

  test('is not asked about any more once the client has gone', async () => {
    const done = limitOn('done', { apply_on_stream_done: true })
    const { rls, p, a } = await asking(['hangs', OK], { timeout: '60s' }, { limits: [limitOn('now'), done] })
    const client = new Client(p.http)
    client.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    await eventually(() => rls.asked.length === 1)
    client.destroy()
    await eventually(() => rls.cancelled === 1)
    expect(a.received).toHaveLength(0)
    const counted = ['ok', 'over_limit', 'error', 'failure_mode_allowed']
    expect(counted.map((name) => p.counter(`cluster.a.ratelimit.${name}`))).toEqual([0, 0, 0, 0])
    // Nor is it counted at its end: all that comes is of the next one.
    await get(p.http, '/')
    await eventually(() => rls.asked.length === 3)
    expect(rls.descriptors.flat()).toEqual(['generic_key=now', 'generic_key=now', 'generic_key=done'])
  })
})

describe('without an answer', () => {
  test('the service has 20 ms, unless the filter says otherwise', async () => {
    const expected = 'x-envoy-expected-rq-timeout-ms'
    const clock = new TestRuntime()
    const preset = await asking(['hangs'], { timeout: undefined }, { clock })
    const late = get(preset.p.http, '/')
    await eventually(() => preset.rls.asked.length === 1)
    expect(preset.rls.metadata[0]).toMatchObject({ [expected]: '20' })
    const timeouts = () => preset.p.counter('cluster.rls.upstream_rq_timeout')
    clock.advance(19)
    expect(timeouts()).toBe(0)
    clock.advance(1)
    expect(timeouts()).toBe(1)
    expect((await late).status).toBe(200)
    const { answer, give } = held({ overallCode: 'OK' })
    const endless = await asking([answer], { timeout: '0s' })
    const response = get(endless.p.http, '/')
    await eventually(() => endless.rls.asked.length === 1)
    expect(endless.rls.metadata[0]).not.toHaveProperty(expected)
    give()
    expect((await response).status).toBe(200)
    expect(endless.p.counter('cluster.a.ratelimit.ok')).toBe(1)
  })

  test('in time, within its cluster, or at all', async () => {
    const deny = { failure_mode_deny: true }
    const late = await asking(['hangs'], { ...deny, timeout: '0.05s' })
    expect((await get(late.p.http, '/')).status).toBe(500)
    await eventually(() => late.rls.cancelled === 1)
    const unknown = await asking([OK], { ...deny, rate_limit_service: rateLimitService('nowhere') })
    expect((await get(unknown.p.http, '/')).status).toBe(500)
    const nobody = started(await ScriptedRls.start())
    nobody.stop()
    const down = await asking([OK], deny, { port: nobody.port })
    expect((await get(down.p.http, '/')).status).toBe(500)
  })
})
