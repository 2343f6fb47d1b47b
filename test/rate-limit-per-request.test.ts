import { describe, expect, test } from 'vitest'
import { SystemRuntime } from '../src/runtime-system.ts'
import { askingHarness, limitOn, runtime } from './support/asking.ts'
import { get, httpFilter } from './support/http.ts'
import { OK, rateLimitFilter } from './support/scripted-rls.ts'

const { asking } = askingHarness()

describe('rate limits', () => {
  test.each([
    ['0', 0, 0, false],
    ['0.9', 0.9, 0, false],
    ['30, for a request beyond that', 30, 30, false],
    ['30, for a request within that', 30, 29, true],
    ['100', 100, 99, true],
    ['more than 100', 150, 99, true],
    ['less than 0, which is none', -1, 99, true],
    ['no number', true, 99, true],
  ])('count as their runtime key says: %s', async (_what, percent, chance, counts) => {
    class Certain extends SystemRuntime {
      override randomU32() {
        return 100 + chance
      }
    }
    const limits = [limitOn('some', { disable_key: 'some' }), limitOn('all')]
    const off = { http_filter_enabled: 0 } // under a key that no rate limit has
    const bootstrap = runtime({ ratelimit: { some: { http_filter_enabled: percent }, '': off } })
    const { rls, p } = await asking([OK], {}, { limits, bootstrap, clock: new Certain() })
    await get(p.http, '/')
    expect(rls.descriptors).toEqual([counts ? ['generic_key=some', 'generic_key=all'] : ['generic_key=all']])
  })

  test.each<[string, object, [number, number] | undefined]>([
    ['of a year', { unit: 'YEAR' }, [42, 6]],
    ['of a unit that is called unknown', { unit: 'UNKNOWN' }, [42, 0]],
    ['of a unit that there is not', { unit: 'FORTNIGHT' }, undefined],
    ['of a unit that only services know', { unit: 'WEEK' }, undefined],
    ['of a unit in small letters', { unit: 'hour' }, undefined],
    ['of a unit by number', { unit: 3 }, undefined],
    ['of units in a list', { unit: ['HOUR'] }, undefined],
    ['of no unit', { unit: undefined }, undefined],
    ['of less than no requests', { requests_per_unit: -1 }, [4294967295, 3]],
    ['of more requests than there are numbers', { requests_per_unit: 5e9 }, [705032704, 3]],
  ])('of metadata: a limit %s', async (_what, more, told) => {
    const value = { requests_per_unit: 42, unit: 'HOUR', ...more }
    const before = httpFilter('m', 'envoy.extensions.filters.http.set_metadata.v3.Config', {
      metadata: [{ metadata_namespace: 'shop', value: { limit: value } }],
    })
    const limit = { dynamic_metadata: { metadata_key: { key: 'shop', path: [{ key: 'limit' }] } } }
    const setup = { filters: [before, rateLimitFilter()], limits: [limitOn('v', { limit })] }
    const { rls, p } = await asking([OK], {}, setup)
    await get(p.http, '/')
    const [descriptor] = rls.asked[0]!.descriptors
    expect(descriptor!.limit && [descriptor!.limit.requestsPerUnit, descriptor!.limit.unit]).toEqual(told)
  })
})
