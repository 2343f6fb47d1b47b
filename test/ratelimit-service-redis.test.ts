import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { RateLimitEvent } from '../src/ratelimit/server.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { makeAuthority, makeIdentity } from './support/certificates.ts'
import { startRateLimit } from './support/ratelimit.ts'
import { startRedis, type TestRedis } from './support/redis.ts'

const LIMITS = `
domain: shop
descriptors:
- key: path
  value: /checkout
  rate_limit: {unit: day, requests_per_unit: 20}
- key: user
  rate_limit: {unit: hour, requests_per_unit: 5}
- key: burst
  rate_limit: {unit: second, requests_per_unit: 3}
`
const OK = 1
const isRedis = (ready: boolean) => (event: RateLimitEvent) => event.type === 'redis' && event.ready === ready

describe('the rate-limit service, counting in Redis', () => {
  let redis: TestRedis
  const started: { stop(): Promise<void> }[] = []
  const start = async (env: Record<string, string> = {}, runtime?: TestRuntime) => {
    const service = await startRateLimit(LIMITS, { REDIS_URL: redis.url, ...env }, runtime)
    started.push(service)
    return service
  }
  beforeAll(async () => {
    redis = await startRedis()
  })
  afterEach(async () => {
    for (const one of started.splice(0)) await one.stop()
    await redis.ask('FLUSHALL')
  })
  afterAll(() => redis.stop())

  it('admits together with others exactly as many as the limit says', async () => {
    const services = await Promise.all([start(), start(), start()])
    await Promise.all(services.map((service) => service.event(isRedis(true))))
    const admitted = await Promise.all(services.map((service) => service.admitted('shop', ['path=/checkout'], 40)))
    expect(admitted.reduce((sum, n) => sum + n)).toBe(20)
  })

  it('counts under the keys of the reference, and lets Redis forget them', async () => {
    const service = await start({ EXPIRATION_JITTER_MAX_SECONDS: '0' }, new TestRuntime(1, Date.UTC(2026, 0, 1, 5, 30)))
    await service.event(isRedis(true))
    await service.ask('shop', ['path=/checkout', 'user=ann'], 3)
    const hour = Date.UTC(2026, 0, 1, 5) / 1000
    const day = Date.UTC(2026, 0, 1) / 1000
    expect(await redis.ask('GET', `shop_user_ann_${hour}`)).toBe('3')
    expect(await redis.ask('GET', `shop_path_/checkout_${day}`)).toBe('3')
    expect(await redis.ask('TTL', `shop_user_ann_${hour}`)).toBe('3600')
    expect(await redis.ask('TTL', `shop_path_/checkout_${day}`)).toBe('86400')
  })

  it('fails requests at once while Redis is gone, and counts again when it is back', async () => {
    const service = await start()
    await service.event(isRedis(true))
    expect(await service.admitted('shop', ['user=ann'], 9)).toBe(5)
    const gone = service.event(isRedis(false))
    await redis.kill()
    await gone
    // What is asked while the connection is tried again is answered all the same.
    const before = performance.now()
    const { code, message } = await service.failure('shop', ['user=ann'])
    expect(performance.now() - before).toBeLessThan(1000)
    expect(code).toBe(2)
    expect(message).toMatch(
      new RegExp(
        `^(?:dial tcp 127\\.0\\.0\\.1:${redis.port}: connect: connection refused|response returned from Conn: EOF)$`,
      ),
    )
    expect(await service.stat('ratelimit.service.call.should_rate_limit.redis_error')).toBe(1)
    expect((await service.get('http', '/healthcheck')).status).toBe(200)
    const from = service.events.length
    await redis.start()
    await service.event(isRedis(true), from)
    expect(await service.admitted('shop', ['user=ann'], 9)).toBe(5)
  })

  it('waits for an answer no longer than it is told to, and goes on when Redis does', async () => {
    const service = await start({ REDIS_TIMEOUT: '200ms', REDIS_HEALTH_CHECK_ACTIVE_CONNECTION: 'true' })
    await service.event(isRedis(true))
    redis.freeze(true)
    try {
      const failures = await Promise.all([service.failure('shop', ['user=ann']), service.failure('shop', ['user=bob'])])
      for (const { message } of failures) expect(message).toMatch(/no answer from the Redis|Conn: EOF/)
      expect((await service.get('http', '/healthcheck')).status).toBe(500)
    } finally {
      redis.freeze(false)
    }
    const from = service.events.findLastIndex(isRedis(false))
    await service.event(isRedis(true), from)
    expect((await service.ask('shop', ['user=cid'])).overallCode).toBe(OK)
  })

  it('listens before there is a Redis, and is not healthy until then', async () => {
    await redis.kill()
    const service = await start()
    await service.event(isRedis(false))
    expect((await service.get('http', '/healthcheck')).status).toBe(500)
    expect(await service.health('ratelimit')).toBe(2)
    expect((await service.failure('shop', ['user=ann'])).message).toContain('connection refused')
    await redis.start()
    await service.event(isRedis(true))
    expect(await service.health('ratelimit')).toBe(1)
  })

  it('passes on the words of Redis when it refuses a command', async () => {
    const service = await start({ EXPIRATION_JITTER_MAX_SECONDS: '0' }, new TestRuntime(1, Date.UTC(2026, 0, 1)))
    await service.event(isRedis(true))
    const key = `shop_user_ann_${Date.UTC(2026, 0, 1) / 1000}`
    await redis.ask('SET', key, 'nonsense')
    expect((await service.failure('shop', ['user=ann'])).message).toBe(
      `command ["INCRBY" "${key}" "1"] in pipeline returned error: ERR value is not an integer or out of range`,
    )
  })

  it('counts limits per second in a Redis of their own', async () => {
    const other = await startRedis({ password: 'secret' })
    started.push(other)
    const env = {
      REDIS_PERSECOND: 'true',
      REDIS_PERSECOND_URL: other.url,
      REDIS_PERSECOND_AUTH: 'secret',
      EXPIRATION_JITTER_MAX_SECONDS: '0',
    }
    const wall = Date.UTC(2026, 0, 1)
    const service = await start(env, new TestRuntime(1, wall))
    await service.event((event) => event.type === 'redis' && event.shown.endsWith(String(other.port)))
    await service.event((event) => event.type === 'redis' && event.shown.endsWith(String(redis.port)))
    const { statuses } = await service.ask('shop', ['user=ann', 'burst=x', 'path=/checkout'])
    expect(statuses.map(({ limitRemaining }) => limitRemaining)).toEqual([4, 2, 19])
    expect(await other.ask('GET', `shop_burst_x_${wall / 1000}`)).toBe('1')
    expect(await redis.ask('EXISTS', `shop_burst_x_${wall / 1000}`)).toBe('0')
  })

  it('reaches a Redis by TLS, and no other than the one whose certificate is vouched for', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-tls-'))
    started.push({ stop: async () => fs.rmSync(folder, { recursive: true }) })
    const authority = await makeAuthority('CN=test')
    const { cert, key } = await makeIdentity(authority, 'CN=redis', [{ type: 'ip', value: '127.0.0.1' }])
    const secure = await startRedis({ tls: { cert, key, ca: authority.cert } })
    started.push(secure)
    const ca = path.join(folder, 'ca.pem')
    fs.writeFileSync(ca, authority.cert)
    const service = await start({ REDIS_URL: secure.url, REDIS_TLS_CACERT: ca })
    await service.event(isRedis(true))
    expect((await service.ask('shop', ['user=ann'])).overallCode).toBe(OK)
    const stranger = await start({ REDIS_URL: secure.url })
    expect(await stranger.event(isRedis(false))).toMatchObject({
      reason: expect.stringMatching(/certificate/) as string,
    })
  })

  it('reaches a Redis by its unix socket', async () => {
    for (const REDIS_URL of [redis.socket, `unix://${redis.socket}`]) {
      const service = await start({ REDIS_URL })
      await service.event(isRedis(true))
      expect((await service.ask('shop', ['user=ann'])).overallCode).toBe(OK)
    }
  })

  it('says why a Redis does not let it in', async () => {
    const closed = await startRedis({ password: 'secret' })
    started.push(closed)
    const service = await start({ REDIS_URL: closed.url })
    const event = await service.event(isRedis(false))
    expect(event).toMatchObject({ reason: expect.stringContaining('NOAUTH') as string })
    const right = await start({ REDIS_URL: `redis://:secret@127.0.0.1:${closed.port}/3` })
    await right.event(isRedis(true))
    expect((await right.ask('shop', ['user=ann'])).overallCode).toBe(OK)
  })
})
