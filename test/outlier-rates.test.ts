import { afterEach, describe, expect, it } from 'vitest'
import { MovableRuntime } from '../src/runtime-movable.ts'
import { startApp } from './support/app.ts'
import { client, pod, service, startMesh } from './support/mesh.ts'
import { type SpreadProxy, startSpread, type Upstream } from './support/spread-proxy.ts'

const running: { stop(): Promise<void> }[] = []
afterEach(async () => {
  for (const proxy of running.splice(0)) await proxy.stop()
})

const failing: Upstream = (_request, response) => response.writeHead(500).end()
const answering =
  (status: number, headers: Record<string, string> = {}): Upstream =>
  (_request, response) =>
    response.writeHead(status, headers).end()

let clock = new MovableRuntime()

async function start(detection: object, upstreams: Record<string, Upstream>, cluster: object = {}) {
  const hosts = Object.fromEntries(Object.keys(upstreams).map((name) => [name, {}]))
  clock = new MovableRuntime()
  const proxy = await startSpread({
    groups: [{ hosts }],
    upstreams,
    proxy: { runtime: clock },
    cluster: {
      outlier_detection: { interval: '60s', max_ejection_percent: 100, ...detection },
      common_lb_config: { healthy_panic_threshold: { value: 0 }, update_merge_window: '0s' },
      ...cluster,
    },
  })
  running.push(proxy)
  return proxy
}

const count = (proxy: SpreadProxy, name: string) => proxy.counter(`cluster.a.outlier_detection.ejections_${name}`)

describe('outlier detection by rates', () => {
  const rates = { interval: '10s', consecutive_5xx: 1000, success_rate_request_volume: 4 }

  it('a host that fails more than the others is ejected, and /clusters tells the rates', async () => {
    const detection = { ...rates, success_rate_minimum_hosts: 3, success_rate_stdev_factor: 1000 }
    const proxy = await start(detection, {
      a: answering(200),
      b: answering(200),
      c: failing,
    })
    for (let i = 0; i < 30; i++) await proxy.call()
    await clock.advance(10_001)
    expect(count(proxy, 'enforced_success_rate')).toBe(1)
    expect([count(proxy, 'total'), count(proxy, 'success_rate'), count(proxy, 'active')]).toEqual([1, 1, 1])
    const { body } = await proxy.admin('/clusters')
    expect(body).toContain('a::outlier::success_rate_average::66.6667\n')
    expect(body).toContain('a::outlier::success_rate_ejection_threshold::19.5262\n')
    expect(body).toContain(`${proxy.addresses.c}::health_flags::/failed_outlier_check`)
    expect(body).toContain(`${proxy.addresses.c}::success_rate::0\n`)
  })

  it('without enough hosts for any verdict no rates are told', async () => {
    const proxy = await start({ ...rates, success_rate_minimum_hosts: 4 }, { a: answering(200), c: failing })
    for (let i = 0; i < 16; i++) await proxy.call()
    await clock.advance(10_001)
    const { body } = await proxy.admin('/clusters')
    expect(body).toContain(`${proxy.addresses.a}::success_rate::-1\n`)
  })

  it('as in Envoy, both rates together eject a host twice, and it counts twice as active', async () => {
    const detection = {
      ...rates,
      success_rate_minimum_hosts: 3,
      success_rate_stdev_factor: 1000,
      failure_percentage_minimum_hosts: 2,
      failure_percentage_request_volume: 5,
      failure_percentage_threshold: 60,
      enforcing_failure_percentage: 100,
    }
    const proxy = await start(detection, { a: answering(200), b: failing, c: answering(200) })
    for (let i = 0; i < 30; i++) await proxy.call()
    await clock.advance(10_001)
    expect(count(proxy, 'enforced_failure_percentage')).toBe(1)
    expect([count(proxy, 'enforced_success_rate'), count(proxy, 'enforced_total'), count(proxy, 'active')]).toEqual([
      1, 2, 2,
    ])
  })
})

describe('the counters of Envoy before 1.5', () => {
  it('count what was found, whether it was carried out or not', async () => {
    const off = await start({ consecutive_5xx: 1, enforcing_consecutive_5xx: 0 }, { a: failing })
    for (let i = 0; i < 3; i++) await off.call()
    expect([count(off, 'total'), count(off, 'consecutive_5xx'), count(off, 'enforced_total')]).toEqual([3, 3, 0])
    const full = await start({ consecutive_5xx: 1, max_ejection_percent: 10 }, { a: failing })
    for (let i = 0; i < 3; i++) await full.call()
    expect([count(full, 'total'), count(full, 'consecutive_5xx'), count(full, 'overflow')]).toEqual([0, 3, 3])
  })
})

describe('an error matcher', () => {
  const matching = (error_matcher: object) => ({
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
        explicit_http_config: { http_protocol_options: {} },
        outlier_detection: { error_matcher },
      },
    },
  })
  const status = (code: number) => ({
    http_response_headers_match: { headers: [{ name: ':status', string_match: { exact: String(code) } }] },
  })
  const bad = { http_response_headers_match: { headers: [{ name: 'x-bad', present_match: true }] } }

  it.each([
    ['one status', status(404), answering(404), true],
    ['another status', status(404), answering(503), false],
    ['one of several', { or_match: { rules: [status(404), status(429)] } }, answering(429), true],
    ['anything but a status', { not_match: status(200) }, answering(404), true],
    ['anything', { any_match: true }, answering(200), true],
    ['status and header', { and_match: { rules: [status(404), bad] } }, answering(404, { 'x-bad': '1' }), true],
    ['status without the header', { and_match: { rules: [status(404), bad] } }, answering(404), false],
  ])('%s', async (_name, matcher, upstream, ejected) => {
    const proxy = await start(
      { consecutive_5xx: 1 },
      { a: upstream },
      {
        ...matching(matcher),
        common_lb_config: { healthy_panic_threshold: { value: 0 }, update_merge_window: '0s' },
      },
    )
    await proxy.call()
    expect((await proxy.call()).body === 'no healthy upstream').toBe(ejected)
    expect(count(proxy, 'enforced_consecutive_5xx')).toBe(ejected ? 1 : 0)
  })
})

it("a DestinationRule's outlierDetectionHttpErrorCodes count in place of the 5xx", async () => {
  const app = await startApp((request, response) => response.writeHead(request.url === '/gone' ? 404 : 503).end())
  const rule = (codes: string) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100, outlierDetectionHttpErrorCodes: ${codes}}
---`
  const mesh = await startMesh(
    [client(), service('reviews'), pod('reviews', 'v1', { annotations: app.annotation }), rule('[404]')].join(''),
  )
  running.push({ stop: () => mesh.stop().then(() => app.close()) })
  const call = async (path: string) => (await mesh.get('client', `http://reviews:9080${path}`)).text
  expect(await call('/broken')).toBe('')
  expect(await call('/broken')).toBe('')
  expect(await call('/gone')).toBe('')
  expect(await call('/gone')).toBe('no healthy upstream')
})
