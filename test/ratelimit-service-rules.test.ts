import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { matches } from '../src/ratelimit/find-rule.ts'
import { startRateLimit, type TestRateLimit } from './support/ratelimit.ts'

const OK = 1
const OVER_LIMIT = 2

/** The examples of the reference's README, and what it says of each. */
const LIMITS = `
domain: example8
descriptors:
- {key: key1, detailed_metric: true, rate_limit: {unit: day, requests_per_unit: 10}}
- {key: key1, value: value1, rate_limit: {unit: day, requests_per_unit: 20}}
---
domain: example10
descriptors:
- key: route
  value_to_metric: true
  descriptors:
  - key: http_method
    value_to_metric: true
    descriptors:
    - {key: subject_id, rate_limit: {unit: day, requests_per_unit: 60}}
---
domain: wildcard
descriptors:
- key: user
  value_to_metric: true
  descriptors:
  - key: action
    value: read*
    value_to_metric: true
    descriptors:
    - {key: resource, rate_limit: {unit: day, requests_per_unit: 100}}
- {key: path, value: /api/*/action, rate_limit: {unit: day, requests_per_unit: 2}}
- {key: path, rate_limit: {unit: day, requests_per_unit: 50}}
---
domain: shared
descriptors:
- {key: files, value: files/*, share_threshold: true, detailed_metric: true, rate_limit: {unit: day, requests_per_unit: 10}}
- {key: own, value: own/*, rate_limit: {unit: day, requests_per_unit: 10}}
---
domain: depth
descriptors:
- {key: key, value: value, rate_limit: {unit: day, requests_per_unit: 300}}
---
domain: quotas
descriptors:
- {key: a, quota_mode: true, metadata: {tier: gold, of: {a: 1}}, rate_limit: {unit: day, requests_per_unit: 1}}
- {key: b, quota_mode: true, metadata: {tier: tin, of: {b: 2}}, rate_limit: {unit: day, requests_per_unit: 3}}
- {key: c, rate_limit: {unit: day, requests_per_unit: 1}}
`

describe('the rules of the rate-limit service', () => {
  let service: TestRateLimit
  beforeAll(async () => {
    service = await startRateLimit(LIMITS, { RESPONSE_DYNAMIC_METADATA: 'true' })
  })
  afterAll(() => service.stop())
  const hits = (key: string) => service.stat(`ratelimit.service.rate_limit.${key}.total_hits`)

  it('count for statistics by value where detailed_metric says so', async () => {
    for (const value of ['value1', 'other', 'other', '']) await service.ask('example8', [`key1=${value}`])
    expect(await hits('example8.key1_value1')).toBe(1)
    expect(await hits('example8.key1_other')).toBe(2)
    expect(await hits('example8.key1_')).toBe(1)
  })

  it('count for statistics with the values of the levels that value_to_metric is set on', async () => {
    await service.ask('example10', ['route=api,http_method=GET,subject_id=123'])
    await service.ask('example10', ['route=web,http_method=POST,subject_id=456'])
    await service.ask('wildcard', ['user=alice,action=readfile,resource=documents'])
    expect(await hits('example10.route_api.http_method_GET.subject_id')).toBe(1)
    expect(await hits('example10.route_web.http_method_POST.subject_id')).toBe(1)
    expect(await hits('wildcard.user_alice.action_readfile.resource')).toBe(1)
  })

  it('match wildcards anywhere in a value, before a rule without a value', async () => {
    expect(await service.admitted('wildcard', ['path=/api/1/action'], 5)).toBe(2)
    expect(await service.admitted('wildcard', ['path=/api/2/action'], 5)).toBe(2)
    expect(await service.admitted('wildcard', ['path=/api/2/other'], 5)).toBe(5)
    const match = (pattern: string, text: string) => matches(pattern.split('*'), text)
    expect(match('/api/*/r/*/a', '/api/v1/r/123/a')).toBe(true)
    expect(match('/api/*/r/*/a', '/api/v1/r/a')).toBe(false)
    expect(match('ab*ba', 'aba')).toBe(false)
    expect(match('a*b*b', 'ab')).toBe(false)
    expect(match('*', '')).toBe(true)
  })

  it('share one threshold among all that match a wildcard only if asked to', async () => {
    expect(await service.admitted('shared', ['files=files/a.pdf'], 5)).toBe(5)
    expect(await service.admitted('shared', ['files=files/b.csv'], 9)).toBe(5)
    expect(await service.admitted('shared', ['own=own/a.pdf'], 12)).toBe(10)
    expect(await service.admitted('shared', ['own=own/b.csv'], 12)).toBe(10)
    expect(await hits('shared.files_files/*')).toBe(14)
    expect(await hits('shared.own_own/*')).toBe(24)
  })

  it('hold for descriptors with as many entries as they have levels', async () => {
    const [exact, deeper] = (await service.ask('depth', ['key=value', 'key=value,sub=x'])).statuses
    expect(exact?.currentLimit?.requestsPerUnit).toBe(300)
    expect(deeper?.currentLimit).toBeUndefined()
  })

  it('of quotas make a request fail only when all of them are used up, and those that are left give their metadata', async () => {
    const ask = async (...asked: string[]) => {
      const { overallCode, statuses, dynamicMetadata } = await service.ask('quotas', asked)
      return { code: overallCode, codes: statuses.map(({ code }) => code), metadata: dynamicMetadata?.metadata }
    }
    expect(await ask('a=x', 'b=x')).toEqual({
      code: OK,
      codes: [OK, OK],
      metadata: { tier: 'gold', of: { a: 1, b: 2 } },
    })
    expect(await ask('a=x', 'b=x')).toEqual({
      code: OK,
      codes: [OVER_LIMIT, OK],
      metadata: { tier: 'tin', of: { b: 2 } },
    })
    expect((await ask('c=x', 'b=x')).code).toBe(OK)
    expect(await ask('a=x', 'b=x')).toEqual({ code: OVER_LIMIT, codes: [OVER_LIMIT, OVER_LIMIT], metadata: undefined })
    expect((await ask('c=x', 'b=y')).code).toBe(OVER_LIMIT)
  })

  it('are told back in dynamic metadata with the request', async () => {
    const { dynamicMetadata } = await service.ask(
      'quotas',
      ['d=1,e=2', { entries: [{ key: 'f', value: '' }], hitsAddend: 0n, limit: { requestsPerUnit: 5, unit: 3 } }],
      7,
    )
    expect(dynamicMetadata).toEqual({
      domain: 'quotas',
      hitsAddend: 7,
      descriptors: [
        { entries: ['d=1', 'e=2'] },
        { entries: ['f='], hitsAddend: 0, limit: 'requests_per_unit:5 unit:HOUR' },
      ],
    })
  })
})
