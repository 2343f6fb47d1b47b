import { describe, expect, test } from 'vitest'
import { get, httpFilter, httpHarness, oneHost, routerFilter } from './support/http.ts'

const { upstream, proxy } = httpHarness()

const ALWAYS = { numerator: 100 }
const ABORT = { http_status: 503, percentage: ALWAYS }

/** A manager whose fault filter has that config. */
const faulty = (config: object): object => ({
  route_config: oneHost([{ match: { prefix: '/' }, route: { cluster: 'a' } }]),
  http_filters: [httpFilter('f', 'envoy.extensions.filters.http.fault.v3.HTTPFault', config), routerFilter()],
})

describe('runtime keys of the fault filter', () => {
  const status = async (config: object, layer: object, headers: Record<string, string> = {}): Promise<number> => {
    const layers = [{ name: 's', static_layer: layer }]
    const p = await proxy(faulty(config), [await upstream('a')], {}, { layered_runtime: { layers } })
    return (await get(p.http, '/', headers)).status
  }

  test('turn faults off and on', async () => {
    expect(await status({ abort: ABORT }, { 'fault.http.abort.abort_percent': 0 })).toBe(200)
    const never = { ...ABORT, percentage: { numerator: 0 } }
    const all = { fault: { http: { abort: { abort_percent: { numerator: 100, denominator: 'HUNDRED' } } } } }
    expect(await status({ abort: never }, all)).toBe(503)
  })

  test('give the status and the duration', async () => {
    expect(await status({ abort: ABORT }, { 'fault.http.abort.http_status': 429 })).toBe(429)
    const delay = { fixed_delay: '600s', percentage: ALWAYS }
    expect(await status({ delay, abort: ABORT }, { 'fault.http.delay.fixed_duration_ms': 1 })).toBe(503)
  })

  test('have other names where the config says so, and count more than what headers ask for', async () => {
    const own = { abort: ABORT, abort_percent_runtime: 'mine' }
    expect(await status(own, { mine: 0, 'fault.http.abort.abort_percent': 100 })).toBe(200)
    const asked = { 'x-envoy-fault-abort-request': '418', 'x-envoy-fault-abort-request-percentage': '0' }
    const byHeader = { abort: { header_abort: {}, percentage: { numerator: 50 } } }
    expect(await status(byHeader, { 'fault.http.abort.abort_percent': 100 }, asked)).toBe(418)
  })

  test('limit how many are faulty at once', async () => {
    expect(await status({ abort: ABORT }, { 'fault.http.max_active_faults': 0 })).toBe(200)
  })
})
