import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { LocalCache } from '../src/ratelimit/local-cache.ts'
import { MemoryBackend } from '../src/ratelimit/memory.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { makeAuthority, makeIdentity } from './support/certificates.ts'
import { RateLimitClient, startRateLimit, type TestRateLimit } from './support/ratelimit.ts'

let service: TestRateLimit
const started: TestRateLimit[] = []
const start = async (...args: Parameters<typeof startRateLimit>) => {
  service = await startRateLimit(...args)
  started.push(service)
  return service
}
afterEach(async () => {
  for (const one of started.splice(0)) await one.stop()
})

const OK = 1
const OVER_LIMIT = 2
const MINUTE = 2

const LIMITS = `
domain: shop
descriptors:
- key: path
  value: /checkout
  rate_limit: {unit: minute, requests_per_unit: 3}
- key: user
  rate_limit: {unit: hour, requests_per_unit: 2, name: per-user}
- key: plan
  value: gold
  descriptors:
  - key: user
    rate_limit: {unit: hour, requests_per_unit: 100, replaces: [{name: per-user}]}
- key: internal
  rate_limit: {unlimited: true}
- key: trial
  shadow_mode: true
  rate_limit: {unit: hour, requests_per_unit: 1}
- key: file
  value: img/*
  share_threshold: true
  rate_limit: {unit: day, requests_per_unit: 2}
- key: burst
  rate_limit: {unit: second, requests_per_unit: 2}
`
const wall = Date.UTC(2026, 0, 1, 0, 0, 10)

describe('the rate-limit service, counting in memory', () => {
  it('lets through exactly as many as the limit says, and tells what is left and when it begins anew', async () => {
    await start(LIMITS, {}, new TestRuntime(1, wall))
    const first = await service.ask('shop', ['path=/checkout'])
    expect(first).toMatchObject({
      overallCode: OK,
      statuses: [
        {
          code: OK,
          currentLimit: { requestsPerUnit: 3, unit: MINUTE, name: '' },
          limitRemaining: 2,
          durationUntilReset: { seconds: 50n },
        },
      ],
    })
    expect(await service.admitted('shop', ['path=/checkout'], 50)).toBe(2)
    const over = await service.ask('shop', ['path=/checkout'])
    expect(over.overallCode).toBe(OVER_LIMIT)
    expect(over.statuses[0]).toMatchObject({ code: OVER_LIMIT, limitRemaining: 0 })
    const other = (await service.ask('shop', ['path=/home'])).statuses[0]!
    expect([other.code, other.currentLimit]).toEqual([OK, undefined])
  })

  it('begins to count anew when the window of the clock is over, and forgets what is over', async () => {
    const runtime = new TestRuntime(1, wall)
    await start(LIMITS, {}, runtime)
    expect(await service.admitted('shop', ['path=/checkout'], 10)).toBe(3)
    runtime.advance(49_999)
    expect(await service.admitted('shop', ['path=/checkout'], 10)).toBe(0)
    runtime.advance(1)
    expect(await service.admitted('shop', ['path=/checkout'], 10)).toBe(3)
    for (let second = 0; second < 5; second++) {
      expect(await service.admitted('shop', ['burst=x'], 10)).toBe(2)
      runtime.advance(1000)
    }
  })

  it('counts each value of a key without a value by itself', async () => {
    await start(LIMITS)
    expect(await service.admitted('shop', ['user=ann'], 10)).toBe(2)
    expect(await service.admitted('shop', ['user=bob'], 10)).toBe(2)
  })

  it('gives the request the worst of its descriptors, and counts all of them', async () => {
    await start(LIMITS)
    await service.admitted('shop', ['user=ann'], 2)
    const answer = await service.ask('shop', ['path=/checkout', 'user=ann'])
    expect(answer.overallCode).toBe(OVER_LIMIT)
    expect(answer.statuses.map(({ code }) => code)).toEqual([OK, OVER_LIMIT])
    expect((await service.ask('shop', ['path=/checkout'])).statuses[0]?.limitRemaining).toBe(1)
  })

  it('with stop-increment-when-over-limit does not count in the others', async () => {
    await start(LIMITS, { STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT: 'true' })
    await service.admitted('shop', ['user=ann'], 2)
    expect((await service.ask('shop', ['path=/checkout', 'user=ann'])).overallCode).toBe(OVER_LIMIT)
    expect((await service.ask('shop', ['path=/checkout'])).statuses[0]?.limitRemaining).toBe(2)
  })

  it('lets a rule take the place of another by name', async () => {
    await start(LIMITS)
    const both = ['user=ann', 'plan=gold,user=ann']
    expect(await service.admitted('shop', both, 60)).toBe(60)
    expect(await service.admitted('shop', ['user=ann'], 5)).toBe(2)
  })

  it('knows unlimited rules, shadow rules, and thresholds that are shared by a wildcard', async () => {
    await start(LIMITS)
    const { statuses } = await service.ask('shop', ['internal=x'])
    expect(statuses[0]).toMatchObject({ code: OK, limitRemaining: 0xffff_ffff })
    expect(statuses[0]?.currentLimit).toBeUndefined()
    expect(await service.admitted('shop', ['trial=x'], 5)).toBe(5)
    expect(await service.stat('ratelimit.service.rate_limit.shop.trial.over_limit')).toBe(4)
    expect(await service.stat('ratelimit.service.rate_limit.shop.trial.shadow_mode')).toBe(4)
    expect(await service.admitted('shop', ['file=img/a.png'], 1)).toBe(1)
    expect(await service.admitted('shop', ['file=img/b.png'], 5)).toBe(1)
  })

  it('takes hits of a request, of a descriptor, and gives hits back', async () => {
    await start(LIMITS)
    const ask = (more: object) => service.ask('shop', [{ entries: [{ key: 'path', value: '/checkout' }], ...more }])
    expect((await service.ask('shop', ['path=/checkout'], 2)).statuses[0]?.limitRemaining).toBe(1)
    expect((await ask({ hitsAddend: 0n })).statuses[0]?.limitRemaining).toBe(1)
    expect((await ask({ hitsAddend: 2n })).overallCode).toBe(OVER_LIMIT)
    expect((await ask({ hitsAddend: 2n, isNegativeHits: true })).statuses[0]?.limitRemaining).toBe(1)
    // More than was there is not given back: nobody gets more than the limit.
    expect((await ask({ hitsAddend: 9n, isNegativeHits: true })).statuses[0]?.limitRemaining).toBe(3)
    expect(await service.admitted('shop', ['path=/checkout'], 9)).toBe(3)
  })

  it('takes the limit that a request brings along', async () => {
    await start(LIMITS)
    const asked = { entries: [{ key: 'anything', value: 'x' }], limit: { requestsPerUnit: 4, unit: MINUTE } }
    expect(await service.admitted('shop', [asked], 20)).toBe(4)
    expect(await service.failure('shop', [{ ...asked, limit: { requestsPerUnit: 4, unit: 0 } }])).toEqual({
      code: 2,
      message: 'the limit that the request brings along has no unit',
    })
  })

  it('refuses what the reference refuses, in its words, and counts it', async () => {
    await start(LIMITS)
    expect(await service.failure('', ['a=b'])).toEqual({ code: 2, message: 'rate limit domain must not be empty' })
    expect(await service.failure('shop', [])).toEqual({
      code: 2,
      message: 'rate limit descriptor list must not be empty',
    })
    expect(await service.stat('ratelimit.service.call.should_rate_limit.service_error')).toBe(2)
    expect((await service.ask('nowhere', ['a=b'])).overallCode).toBe(OK)
    expect(await service.stat('ratelimit.service.rate_limit.nowhere.domain_not_found')).toBe(1)
  })

  it('tells clients of their limit in headers, of the one that is nearest', async () => {
    await start(
      LIMITS,
      { LIMIT_RESPONSE_HEADERS_ENABLED: 'true', LIMIT_RESET_HEADER: 'X-Reset' },
      new TestRuntime(1, wall),
    )
    const { responseHeadersToAdd } = await service.ask('shop', ['path=/checkout', 'user=ann'])
    expect(responseHeadersToAdd.map(({ key, value }) => [key, value])).toEqual([
      ['RateLimit-Limit', '2'],
      ['RateLimit-Remaining', '1'],
      ['X-Reset', '3590'],
    ])
  })

  it('in shadow mode lets everything through and counts what would be over', async () => {
    await start(LIMITS, { SHADOW_MODE: 'true' })
    expect(await service.admitted('shop', ['path=/checkout'], 10)).toBe(10)
    expect(await service.stat('ratelimit.service.global_shadow_mode')).toBe(7)
    expect(await service.stat('ratelimit.service.rate_limit.shop.path_/checkout.over_limit')).toBe(7)
  })

  it('counts hits near the limit, and remembers what is over in its local cache', async () => {
    await start('domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 10}}]', {
      LOCAL_CACHE_SIZE_IN_BYTES: '1000000',
    })
    for (let i = 0; i < 13; i++) await service.ask('d', ['k=v'])
    const rule = 'ratelimit.service.rate_limit.d.k'
    const stats = ['total_hits', 'within_limit', 'near_limit', 'over_limit', 'over_limit_with_local_cache']
    expect(await Promise.all(stats.map((stat) => service.stat(`${rule}.${stat}`)))).toEqual([13, 10, 2, 3, 2])
    expect(await service.stat('ratelimit.localcache.hitCount')).toBe(2)
  })
})

describe('what the rate-limit service keeps in memory', () => {
  it('is the counters of the windows that run', async () => {
    const runtime = new TestRuntime(1, wall)
    const backend = new MemoryBackend(runtime)
    const hits = (second: number, count: number) =>
      Array.from({ length: count }, (_, i) => {
        const windowEnd = wall / 1000 + second + 1
        return { key: `k${i}`, hits: 1n, windowEnd, ttl: 1, perSecond: true }
      })
    for (let second = 0; second < 20; second++) {
      await backend.add(hits(second, 500))
      expect(backend.size).toBe(500)
      runtime.advance(1000)
    }
    expect(await backend.read(hits(20, 1))).toEqual([0n])
    expect(backend.size).toBe(0)
  })

  it('is no more of what is over its limit than the size of the local cache', () => {
    const runtime = new TestRuntime(1, wall)
    const cache = new LocalCache(runtime, 1)
    for (let i = 0; i < 50_000; i++) cache.add(`domain_key_value${i}_1767225600`, 60)
    expect(cache.entries).toBeLessThan(12_000)
    expect(cache.has('domain_key_value49999_1767225600')).toBe(true)
    expect(cache.has('domain_key_value0_1767225600')).toBe(false)
    runtime.advance(60_000)
    expect(cache.has('domain_key_value49999_1767225600')).toBe(false)
  })
})

describe('the other doors of the rate-limit service', () => {
  it('answers the same as JSON over HTTP, with 429 for what is over', async () => {
    await start(LIMITS, {}, new TestRuntime(1, wall))
    const post = async (body: string) => {
      const response = await fetch(`http://${service.server.addresses.http}/json`, { method: 'POST', body })
      return [response.status, await response.text()] as const
    }
    const body = JSON.stringify({ domain: 'shop', descriptors: [{ entries: [{ key: 'path', value: '/checkout' }] }] })
    const [status, json] = await post(body)
    expect(status).toBe(200)
    expect(JSON.parse(json)).toEqual({
      overallCode: 'OK',
      statuses: [
        {
          code: 'OK',
          currentLimit: { requestsPerUnit: 3, unit: 'MINUTE' },
          limitRemaining: 2,
          durationUntilReset: '50s',
        },
      ],
    })
    await service.admitted('shop', ['path=/checkout'], 2)
    expect((await post(body))[0]).toBe(429)
    expect(await post('{}')).toEqual([400, 'Bad Request\n'])
    expect(await post('{"nonsense": 1}')).toEqual([400, 'Bad Request\n'])
    expect(await service.get('http', '/elsewhere')).toEqual({ status: 404, text: '404 page not found\n' })
  })

  it('shows its limits and its counters', async () => {
    await start(LIMITS)
    await service.admitted('shop', ['plan=gold,user=ann'], 3)
    const dump = (await service.get('debug', '/rlconfig')).text
    expect(dump).toContain(
      'shop.plan_gold.user: unit=HOUR requests_per_unit=100, shadow_mode: false, quota_mode: false\n',
    )
    expect(dump).toContain('shop.internal: unit=UNKNOWN requests_per_unit=0, shadow_mode: false, quota_mode: false\n')
    const stats = (await service.get('debug', '/stats')).text
    expect(stats).toContain('ratelimit.service.rate_limit.shop.plan_gold.user.total_hits: 3\n')
    const metrics = (await service.get('debug', '/metrics')).text
    expect(metrics).toContain('ratelimit_service_rate_limit_total_hits{domain="shop",key1="plan_gold",key2="user"} 3\n')
    expect(metrics).toContain('ratelimit_service_total_requests{grpc_method="ShouldRateLimit"} 3\n')
    expect(metrics).toContain('ratelimit_service_response_time_seconds_count{grpc_method="ShouldRateLimit"} 3\n')
    expect(metrics).toContain('ratelimit_service_config_load_success 1\n')
  })

  it('speaks gRPC over TLS, and on a unix socket', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-tls-'))
    try {
      const authority = await makeAuthority('CN=test')
      const { cert, key } = await makeIdentity(authority, 'CN=ratelimit', [{ type: 'dns', value: 'ratelimit' }])
      fs.writeFileSync(path.join(folder, 'cert.pem'), cert)
      fs.writeFileSync(path.join(folder, 'key.pem'), key)
      await start(LIMITS, {
        GRPC_SERVER_USE_TLS: 'true',
        GRPC_SERVER_TLS_CERT: path.join(folder, 'cert.pem'),
        GRPC_SERVER_TLS_KEY: path.join(folder, 'key.pem'),
      })
      const client = new RateLimitClient(service.server.addresses.grpc, Buffer.from(authority.cert))
      expect(await client.admitted('shop', ['path=/checkout'], 5)).toBe(3)
      client.close()
      await start(LIMITS, { GRPC_UDS: path.join(folder, 'grpc.sock') })
      expect(service.server.addresses.grpc).toBe(`unix:${folder}/grpc.sock`)
      expect(await service.admitted('shop', ['path=/checkout'], 5)).toBe(3)
    } finally {
      fs.rmSync(folder, { recursive: true })
    }
  })

  it('gives its metrics an address of their own, if asked to', async () => {
    await start(LIMITS, { USE_PROMETHEUS: 'true', PROMETHEUS_ADDR: '127.0.0.1:0', PROMETHEUS_PATH: '/m' })
    const answer = await fetch(`http://${service.server.addresses.metrics}/m`)
    expect(await answer.text()).toContain('ratelimit_service_config_load_success 1')
  })

  it('is healthy for gRPC and HTTP, until it is told to end', async () => {
    await start(LIMITS)
    expect(await service.get('http', '/healthcheck')).toEqual({ status: 200, text: 'OK' })
    expect([await service.health(''), await service.health('ratelimit')]).toEqual([1, 1])
    await expect(service.health('other')).rejects.toMatchObject({ code: 5, details: 'unknown service' })
  })
})
