import { describe, expect, it } from 'vitest'
import { loadText } from '../src/api/load.ts'

const LIMIT = 'envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit'

const read = (text: string, options = {}) => {
  const { objects, problems } = loadText('f.yaml', text, options)
  const said = problems
    .filter(({ message }) => !message.startsWith('not enforced yet'))
    .map(({ line, col, severity, message }) => `${line}:${col} ${severity} ${message}`)
  return { object: objects[0], said }
}

const virtualService = (spec: string) => `apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: myapp
spec:
  hosts:
    - myapp
${spec}`

describe('timeout and retries beside http', () => {
  const text = virtualService(`  http:
    - route:
        - destination:
            host: myapp
            subset: v1
  timeout: 5s
  retries:
    attempts: 3
    perTryTimeout: 2s
    retryOn: gateway-error,connect-failure,refused-stream
`)

  it('are taken as part of the route', () => {
    const { object, said } = read(text)
    expect(said).toEqual([
      '13:3 warning spec: "timeout" is no field of a VirtualService: taken as part of spec.http[0]; write it there, beside "route"',
      '14:3 warning spec: "retries" is no field of a VirtualService: taken as part of spec.http[0]; write it there, beside "route"',
    ])
    const route = [{ destination: { host: 'myapp', subset: 'v1' } }]
    const retries = { attempts: 3, perTryTimeout: '2s', retryOn: 'gateway-error,connect-failure,refused-stream' }
    expect(object).toMatchObject({ spec: { hosts: ['myapp'], http: [{ route, timeout: '5s', retries }] } })
    expect(object).not.toHaveProperty('spec.timeout')
  })

  it('have the place where they were written', () => {
    const { object } = read(text)
    expect(object?.origin.locate(['spec', 'http', 0, 'retries', 'attempts'])).toMatchObject({ line: 15, col: 15 })
    const bad = read(text.replace('attempts: 3', 'attempts: -3'))
    expect(bad.said.at(-1)).toBe('15:15 error spec.http[0].retries.attempts: must not be negative')
  })

  it('go to every entry that has none of its own', () => {
    const { object, said } = read(
      virtualService(`  http:
    - match: [{port: 80}]
      route: [{destination: {host: a}}]
      timeout: 1s
    - route: [{destination: {host: b}}]
  timeout: 5s
`),
    )
    expect(object).toMatchObject({ spec: { http: [{ timeout: '1s' }, { timeout: '5s' }] } })
    expect(said).toEqual([expect.stringContaining('taken as part of those entries of spec.http without it')])
  })

  it('are errors, if strict', () => {
    expect(read(text, { strict: true })).toEqual({
      object: undefined,
      said: ['13:3 error spec: unknown field "timeout"', '14:3 error spec: unknown field "retries"'],
    })
  })
})

describe('a mirror as an entry of its own', () => {
  const text = virtualService(`  http:
    - route:
        - destination:
            host: myapp
            subset: v1
    - mirror:
        host: myapp
        subset: v2
      mirrorPercentage:
        value: 50
    - match: [{port: 81}]
      timeout: 0s
      route: [{destination: {host: other}}]
`)

  it('is taken as part of the entry before it', () => {
    const { object, said } = read(text.replace('timeout: 0s', 'timeout: 1s'))
    expect(said).toEqual([
      '13:7 warning spec.http[1]: an entry with nothing but a mirror routes nowhere: taken as part of spec.http[0]; write it there, beside "route"',
      '18:7 warning spec.http[1]: is never used: rule 0 before it matches everything',
    ])
    expect(object).toMatchObject({
      spec: { http: [{ mirror: { host: 'myapp', subset: 'v2' }, mirrorPercentage: { value: 50 } }, { timeout: '1s' }] },
    })
    expect(object).toHaveProperty('spec.http.length', 2)
  })

  it('leaves every other place as it was', () => {
    const { object, said } = read(text)
    expect(said.at(-1)).toBe('19:16 error spec.http[1].timeout: must be at least 1ms, is 0s')
    expect(object).toBeUndefined()
    const good = read(text.replace('timeout: 0s', 'timeout: 1s')).object
    expect(good?.origin.locate(['spec', 'http', 0, 'mirror', 'subset'])).toMatchObject({ line: 15 })
    expect(good?.origin.locate(['spec', 'http', 0, 'route', 0, 'destination', 'host'])).toMatchObject({ line: 11 })
    expect(good?.origin.locate(['spec', 'http', 1, 'timeout'])).toMatchObject({ line: 19 })
  })

  it('is an error, if strict, or if the entry before it has a mirror already', () => {
    const needed = 'one of route, redirect, directResponse and delegate is needed'
    expect(read(text, { strict: true }).said[0]).toBe(`13:7 error spec.http[1]: ${needed}`)
    const two = virtualService(`  http:
    - route: [{destination: {host: a}}]
      mirror: {host: b}
    - mirror: {host: c}
`)
    expect(read(two).said).toContain(`11:7 error spec.http[1]: ${needed}`)
    expect(read(virtualService('  http:\n    - mirror: {host: c}\n')).said).toEqual([
      `9:7 error spec.http[0]: ${needed}`,
    ])
  })
})

describe('a TypedStruct whose fields stand beside @type', () => {
  const filter = (config: string) => `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  name: limit
spec:
  configPatches:
    - applyTo: HTTP_FILTER
      patch:
        operation: INSERT_BEFORE
        value:
          name: envoy.filters.http.local_ratelimit
          typed_config:
            "@type": type.googleapis.com/udpa.type.v1.TypedStruct
${config.replace(/^/gm, '            ')}
`
  const text = filter('stat_prefix: http_local_rate_limiter\ntoken_bucket:\n  max_tokens: 10\n  fill_interval: 60s')

  it('is taken as the message of its filter, and a local rate limit is switched on', () => {
    const { object, said } = read(text)
    expect(said).toEqual([
      `13:22 warning spec.configPatches[0].patch.value.typed_config: the fields of a TypedStruct belong under "value", beside "type_url": taken as ${LIMIT}, and switched on (filter_enabled and filter_enforced at 100 %); write "@type": "type.googleapis.com/${LIMIT}", with filter_enabled and filter_enforced`,
    ])
    const all = { numerator: 100, denominator: 'HUNDRED' }
    expect(object).toMatchObject({
      spec: {
        configPatches: [
          {
            patch: {
              value: {
                typed_config: {
                  '@type': 'type.googleapis.com/udpa.type.v1.TypedStruct',
                  type_url: `type.googleapis.com/${LIMIT}`,
                  value: {
                    stat_prefix: 'http_local_rate_limiter',
                    token_bucket: { max_tokens: 10, fill_interval: '60s' },
                    filter_enabled: { runtime_key: 'local_rate_limit_enabled', default_value: all },
                    filter_enforced: { runtime_key: 'local_rate_limit_enforced', default_value: all },
                  },
                },
              },
            },
          },
        ],
      },
    })
    const path = ['spec', 'configPatches', 0, 'patch', 'value', 'typed_config', 'value', 'token_bucket', 'max_tokens']
    expect(object?.origin.locate(path)).toMatchObject({ line: 16, col: 27 })
  })

  it('keeps the percentages that it has', () => {
    const given = filter(
      'filter_enabled: {default_value: {numerator: 50}}\nfilterEnforced: {default_value: {numerator: 50}}\ntoken_bucket: {max_tokens: 1}',
    )
    const { object, said } = read(given)
    expect(said[0]).not.toContain('switched on')
    expect(JSON.stringify(object)).not.toContain('HUNDRED')
  })

  it('is what Envoy refuses, if strict, and if the filter is not known', () => {
    const refused = 'a TypedStruct needs type_url, and its fields under value: Envoy refuses the listener with it'
    expect(read(text, { strict: true }).said).toEqual([
      `12:11 error spec.configPatches[0].patch.value.typed_config: ${refused}`,
    ])
    expect(read(text.replace('envoy.filters.http.local_ratelimit', 'mine')).said).toEqual([
      `12:11 error spec.configPatches[0].patch.value.typed_config: ${refused}`,
    ])
  })

  it('is left alone when it is well-formed', () => {
    const good = filter(`type_url: type.googleapis.com/${LIMIT}\nvalue:\n  stat_prefix: a`)
    expect(read(good, { strict: true }).said).toEqual([])
  })
})

describe('smaller things that the API server would refuse', () => {
  it('a targetPort in quotes is a number', () => {
    const text = 'apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80, targetPort: "8080"}]}\n'
    expect(read(text).object).toMatchObject({ spec: { ports: [{ port: 80, targetPort: 8080 }] } })
    expect(read(text).said[0]).toMatch(/^4:39 warning .*write it without quotes$/)
    expect(read(text, { strict: true }).said[0]).toMatch(/^4:39 error .*write it without quotes$/)
  })

  it('placeholders for base64 are kept', () => {
    const text = 'apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {a: <base64>}\n'
    expect(read(text).said).toEqual(['4:11 warning data.a: is no base64: kept as it is'])
    expect(read(text, { strict: true }).said).toEqual(['4:11 error data.a: is no base64: kept as it is'])
  })

  it('what is left out as "..." may be what is required: the object is kept, and makes nothing', () => {
    const { objects, others, problems } = loadText(
      'f.yaml',
      'apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\nspec:\n  replicas: 1\n  ...\n',
    )
    expect(objects).toEqual([])
    expect(others).toMatchObject([{ kind: 'Deployment', metadata: { name: 'a' } }])
    expect(problems.every(({ severity }) => severity === 'warning')).toBe(true)
  })
})
