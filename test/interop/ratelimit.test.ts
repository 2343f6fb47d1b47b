import fs from 'node:fs'
import type { AddressInfo } from 'node:net'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { Upstream } from '../support/http.ts'
import { RateLimitClient } from '../support/ratelimit.ts'
import { startRedis, type TestRedis } from '../support/redis.ts'
import { dinghyProxy, type RunningEnvoy, realEnvoy, startEnvoy } from './envoy.ts'
import { type RunningCommand, startCommand } from './processes.ts'

const LIMITS = `
domain: shop
descriptors:
- key: path
  value: /checkout
  rate_limit: {unit: day, requests_per_unit: 20}
- key: user
  rate_limit: {unit: day, requests_per_unit: 3}
- key: user
  value: root
  rate_limit: {unlimited: true}
`

/** A proxy on a free port that asks a rate-limit service by path and by the header x-user. */
function bootstrap(port: number, upstream: number, service: string): Record<string, unknown> {
  const [host, servicePort] = service.split(':')
  const cluster = (name: string, address: string, to: number, more: object = {}) => ({
    name,
    type: 'STATIC',
    connect_timeout: '1s',
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address, port_value: to } } } }] }],
    },
    ...more,
  })
  const http2 = {
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
        explicit_http_config: { http2_protocol_options: {} },
      },
    },
  }
  const route = {
    match: { prefix: '/' },
    route: {
      cluster: 'app',
      rate_limits: [
        { actions: [{ request_headers: { header_name: ':path', descriptor_key: 'path' } }] },
        { actions: [{ request_headers: { header_name: 'x-user', descriptor_key: 'user', skip_if_absent: false } }] },
      ],
    },
  }
  const type = (name: string) => `type.googleapis.com/envoy.extensions.filters.${name}`
  return {
    static_resources: {
      clusters: [cluster('app', '127.0.0.1', upstream), cluster('ratelimit', host!, Number(servicePort), http2)],
      listeners: [
        {
          name: 'http',
          address: { socket_address: { address: '127.0.0.1', port_value: port } },
          filter_chains: [
            {
              filters: [
                {
                  name: 'hcm',
                  typed_config: {
                    '@type': type('network.http_connection_manager.v3.HttpConnectionManager'),
                    stat_prefix: 'http',
                    route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [route] }] },
                    http_filters: [
                      {
                        name: 'envoy.filters.http.ratelimit',
                        typed_config: {
                          '@type': type('http.ratelimit.v3.RateLimit'),
                          domain: 'shop',
                          failure_mode_deny: true,
                          timeout: '5s',
                          enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
                          rate_limit_service: {
                            transport_api_version: 'V3',
                            grpc_service: { envoy_grpc: { cluster_name: 'ratelimit' }, timeout: '5s' },
                          },
                        },
                      },
                      {
                        name: 'envoy.filters.http.router',
                        typed_config: { '@type': type('http.router.v3.Router') },
                      },
                    ],
                  },
                },
              ],
            },
          ],
        },
      ],
    },
  }
}

async function freePort(): Promise<number> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** `dinghy ratelimit` in a process of its own. */
async function startService(
  file: string,
  ...args: string[]
): Promise<RunningCommand & { grpc: string; debug: string }> {
  const command = startCommand(['ratelimit', file, '--grpc-port', '0', '--port', '0', '--debug-port', '0', ...args])
  const [, grpc] = await command.said(/gRPC on (\S+)/)
  const [, debug] = await command.said(/debug on (\S+)/)
  return Object.assign(command, { grpc: grpc!, debug: debug! })
}

const running: { stop(): unknown }[] = []
let upstream: Upstream
let redis: TestRedis
let file: string

const keep = <T extends { stop(): unknown }>(one: T): T => {
  running.unshift(one)
  return one
}
/** A proxy, and how to ask through it: the statuses of some requests, all at once. */
async function startProxied(command: () => Promise<string[]>, service: string) {
  const port = await freePort()
  const proxy: RunningEnvoy = keep(await startEnvoy(bootstrap(port, upstream.port, service), command))
  const get = (where: string, user: string) =>
    fetch(`http://127.0.0.1:${port}${where}`, { headers: { 'x-user': user } })
  const admitted = async (where: string, user: string, count: number) => {
    const answers = await Promise.all(Array.from({ length: count }, () => get(where, user)))
    await Promise.all(answers.map((answer) => answer.arrayBuffer()))
    const codes = answers.map(({ status }) => status)
    expect(codes.filter((code) => code !== 200 && code !== 429)).toEqual([])
    return codes.filter((code) => code === 200).length
  }
  return { proxy, get, admitted }
}

beforeAll(async () => {
  upstream = await Upstream.start('app')
  redis = await startRedis()
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-ratelimit-'))
  file = path.join(root, 'limits.yaml')
  fs.writeFileSync(file, LIMITS)
})
afterEach(async () => {
  for (const one of running.splice(0)) await one.stop()
  await redis.ask('FLUSHALL')
})
afterAll(async () => {
  upstream.stop()
  await redis.stop()
  fs.rmSync(path.dirname(file), { recursive: true, force: true })
})

describe.each([
  ['in memory', () => []],
  ['in Redis', () => ['--redis-url', redis.url]],
])('a real Envoy that asks dinghy ratelimit, counting %s', (_, args) => {
  it('lets through what the limits allow and answers 429 to the rest', async () => {
    const service = keep(await startService(file, ...args()))
    const { proxy, get, admitted } = await startProxied(realEnvoy, service.grpc)
    expect(await admitted('/home', 'ann', 10)).toBe(3)
    expect(await admitted('/home', 'bob', 10)).toBe(3)
    expect(await admitted('/checkout', 'root', 30)).toBe(20)
    const over = await get('/home', 'ann')
    expect(over.status).toBe(429)
    expect(over.headers.get('x-envoy-ratelimited')).toBe('true')
    expect(over.headers.get('x-ratelimit-limit')).toBe('3, 3;w=86400')
    expect(over.headers.get('x-ratelimit-remaining')).toBe('0')
    const reset = Number(over.headers.get('x-ratelimit-reset'))
    expect(reset).toBeGreaterThan(0)
    expect(reset).toBeLessThanOrEqual(86_400)
    const stats = await proxy.get('/stats?filter=ratelimit')
    expect(stats).toContain('cluster.app.ratelimit.over_limit: 25')
    expect(stats).toContain('cluster.app.ratelimit.ok: 26')
    expect(stats).not.toMatch(/ratelimit\.error: [1-9]/)
    const counted = await (await fetch(`http://${service.debug}/stats`)).text()
    expect(counted).toContain('ratelimit.service.rate_limit.shop.user.over_limit: 15')
  })
})

describe('several services that share one Redis', () => {
  it('admit together exactly what the limit says, asked by gRPC', async () => {
    const services = [
      await startService(file, '--redis-url', redis.url),
      await startService(file, '--redis-url', redis.url),
    ]
    services.forEach(keep)
    const clients = services.map(({ grpc }) => new RateLimitClient(grpc))
    await Promise.all(services.map(counting))
    const admitted = await Promise.all(clients.map((client) => client.admitted('shop', ['path=/checkout'], 200)))
    for (const client of clients) client.close()
    expect(admitted[0]! + admitted[1]!).toBe(20)
  })

  it.each([
    ['two proxies of ours', dinghyProxy],
    ['two real Envoys', realEnvoy],
  ])('admit together exactly what the limit says, asked by %s', async (_, command) => {
    const services = [
      await startService(file, '--redis-url', redis.url),
      await startService(file, '--redis-url', redis.url),
    ]
    services.forEach(keep)
    await Promise.all(services.map(counting))
    const proxies = await Promise.all(services.map(({ grpc }) => startProxied(command, grpc)))
    const admitted = await Promise.all(proxies.map((proxy) => proxy.admitted('/checkout', 'root', 60)))
    expect(admitted[0]! + admitted[1]!).toBe(20)
    expect(await Promise.all(proxies.map((proxy) => proxy.admitted('/checkout', 'root', 5)))).toEqual([0, 0])
  })

  it('end after the calls under way, when they are told to', async () => {
    const service = await startService(file, '--redis-url', redis.url)
    await counting(service)
    const client = new RateLimitClient(service.grpc)
    expect(await client.admitted('shop', ['user=ann'], 1)).toBe(1)
    redis.freeze(true)
    const last = client.ask('shop', ['user=ann'])
    const requests = async () =>
      /total_requests: (\d+)/.exec(await (await fetch(`http://${service.debug}/stats`)).text())?.[1]
    while ((await requests()) !== '2') await new Promise((resolve) => setTimeout(resolve, 10))
    const ended = service.stop()
    redis.freeze(false)
    expect((await last).statuses[0]?.limitRemaining).toBe(1)
    expect(await ended).toBe(0)
    client.close()
  })
})

/** Resolves when a service has reached its Redis. */
function counting(service: RunningCommand): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (!service.errors().includes('counting in the Redis')) return
      service.child.stderr!.off('data', look)
      resolve()
    }
    service.child.stderr!.on('data', look)
    look()
  })
}
