import http from 'node:http'
import net from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { overHttp2 } from '../support/ext-authz.ts'
import { get, type RawResponse, routerFilter } from '../support/http.ts'
import { socketAddress, staticCluster } from '../support/proxy.ts'
import { type LimitAnswer, rateLimitFilter, ScriptedRls } from '../support/scripted-rls.ts'
import { dinghyProxy, type RunningEnvoy, realEnvoy, startEnvoy } from './envoy.ts'

// What a rate limit service is asked by a real Envoy and by ours about the same requests, and what becomes of them.

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const end of cleanup.splice(0).reverse()) await end()
})

const key = (value: string) => ({ generic_key: { descriptor_value: value } })
const extension = (type: string, config: object, name = 'ext') => ({
  extension: { name, typed_config: { '@type': `type.googleapis.com/${type}`, ...config } },
})
const expr = (text: string) =>
  extension('envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor', { descriptor_key: 'k', text })
const input = (name: string, config: object) => extension(`envoy.type.matcher.v3.${name}`, config, 'named')
const ofHeader = (header_name: string, more: object = {}) => ({
  request_headers: { header_name, descriptor_key: 'k', ...more },
})
const ofQuery = (query_parameter_name: string, more: object = {}) => ({
  query_parameters: { query_parameter_name, descriptor_key: 'k', ...more },
})
const onHeader = (matcher: object, more: object = {}) => ({
  header_value_match: { descriptor_value: 'v', headers: [matcher], ...more },
})
const onQuery = (matcher: object, more: object = {}) => ({
  query_parameter_value_match: { descriptor_value: 'v', query_parameters: [matcher], ...more },
})
const onAddress = (ranges: object[], invert_match = false) => ({
  remote_address_match: { descriptor_value: '%PROTOCOL%', address_matcher: { ranges, invert_match } },
})
const metadata = (more: object, name = 'a') => ({
  metadata: { descriptor_key: 'k', metadata_key: { key: 'ns', path: [{ key: name }] }, source: 'ROUTE_ENTRY', ...more },
})

/** `rate_limits` of one route each. */
const LIMITS: readonly object[][] = [
  [{ source_cluster: {} }, { destination_cluster: {} }],
  [ofHeader('X-A')],
  [ofHeader('x-empty')],
  [ofHeader('x-no')],
  [ofHeader('x-no', { skip_if_absent: true })],
  [':path', ':authority', 'host', ':method', ':scheme'].map((name) => ofHeader(name)),
  [ofQuery('b'), ofQuery('a'), ofQuery('c')],
  [ofQuery('z')],
  [ofQuery('z', { skip_if_absent: true }), key('v')],
  [{ remote_address: {} }, { masked_remote_address: { v4_prefix_mask_len: 12 } }, { masked_remote_address: {} }],
  [key('é'), key('%REQ(x-a)%'), key('100%')],
  [onHeader({ name: 'x-a', string_match: { exact: 'two' } })],
  [onHeader({ name: 'x-a', string_match: { exact: 'one,two' } })],
  [onHeader({ name: 'x-no', present_match: true }, { expect_match: false })],
  [onQuery({ name: 'a', string_match: { exact: '2' } })],
  [onQuery({ name: 'b', string_match: { exact: 'Ax' } })],
  [onQuery({ name: 'b', string_match: { exact: '%41x' } }, { expect_match: false, descriptor_key: 'q' })],
  [onAddress([{ address_prefix: '10.1.0.0', prefix_len: 16 }])],
  [onAddress([{ address_prefix: '10.1.0.0', prefix_len: 16 }], true)],
  [onAddress([], true)],
  [metadata({})],
  [metadata({}, 'n')],
  [metadata({ default_value: 'd' }, 'n')],
  [metadata({ skip_if_absent: true }, 'none'), key('v')],
  [metadata({ source: 'CLUSTER_ENTRY' })],
  ...['request.headers["x-a"]', '1.0/3.0', '1e20', 'true', 'null', '[1]', 'duration("1.5s")', 'type(1)', 'b"x"'].map(
    (text) => [expr(text)],
  ),
  [input('HttpRequestHeaderMatchInput', { header_name: 'x-a' })],
  [input('HttpRequestHeaderMatchInput', { header_name: 'x-empty' }), key('v')],
  [input('HttpRequestQueryParamMatchInput', { query_param: 'b' })],
  [input('HttpResponseHeaderMatchInput', { header_name: 'x-a' })],
]

/** Answers for requests that have a descriptor, and how the filter is set for them. */
const status = (code: string, unit: string, limitRemaining: number, more: object = {}) => ({
  code,
  currentLimit: { requestsPerUnit: 10, unit, ...more },
  limitRemaining,
  durationUntilReset: '30.7s',
})
const pairs = (...list: [string, string][]) => list.map(([name, value]) => ({ key: name, value }))
const body = Buffer.from('<p>slow').toString('base64')
const DRAFT = { enable_x_ratelimit_headers: 'DRAFT_VERSION_03' }
const ANSWERS: readonly [LimitAnswer, object][] = [
  [{ rls: { overallCode: 'OK' } }, {}],
  [{ rls: { overallCode: 'OVER_LIMIT' } }, {}],
  [{ rls: { overallCode: 'OVER_LIMIT', rawBody: body } }, { disable_x_envoy_ratelimited_header: true }],
  [{ rls: { overallCode: 'OVER_LIMIT' } }, { rate_limited_status: { code: 503 }, stat_prefix: 'waf' }],
  [{ rls: { overallCode: 'OVER_LIMIT' } }, { rate_limited_status: { code: 302 } }],
  [{ rls: { overallCode: 'OVER_LIMIT' } }, { filter_enforced: { default_value: { numerator: 0 } } }],
  [
    { rls: { overallCode: 'OVER_LIMIT', statuses: [status('OVER_LIMIT', 'DAY', 0)] } },
    { enable_retry_after_header: true },
  ],
  [{ rls: { overallCode: 'OK', statuses: [status('OK', 'WEEK', 3, { name: 'n', unitMultiplier: 2 })] } }, DRAFT],
  [
    {
      rls: {
        overallCode: 'OK',
        responseHeadersToAdd: pairs(['X-B', '1'], ['x-b', '2'], ['content-type', 'a/b']),
        requestHeadersToAdd: pairs(['x-a', 'three'], ['user-agent', 'rls']),
      },
    },
    {},
  ],
  [
    {
      rls: { overallCode: 'OVER_LIMIT', rawBody: body, responseHeadersToAdd: pairs(['content-type', 'text/html']) },
    },
    { response_headers_to_add: [{ header: { key: 'x-why', value: '%RESPONSE_FLAGS% %RESP(x-envoy-ratelimited)%' } }] },
  ],
  [{ fails: 14 }, {}],
  [{ fails: 14 }, { failure_mode_deny: true, status_on_error: { code: 503 } }],
  [{ fails: 14 }, { failure_mode_deny_percent: { default_value: { numerator: 100 } } }],
]

const REQUEST = '/p?a=1&b=%41x&c&a=2'
const HEADERS = { 'x-a': 'one\r\nx-a: two', 'x-empty': '', 'x-forwarded-for': '10.1.2.3', 'user-agent': 'me' }

interface Outcome {
  readonly asked: unknown[]
  readonly answers: unknown[]
  readonly counters: readonly string[]
}

/** What comes of requests to each of some routes, at a proxy whose service gives such answers. */
async function outcome(
  command: () => Promise<string[]>,
  routes: object[],
  answers: LimitAnswer[],
  filter: object,
): Promise<Outcome> {
  const rls = await ScriptedRls.start(...answers)
  const upstream = http.createServer((request, response) => {
    response.end(JSON.stringify([request.headers['x-a'], request.headers['user-agent']]))
  })
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
  const { port: upstreamPort } = upstream.address() as net.AddressInfo
  const port = await freePort()
  const hcm = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: 'h',
    route_config: { name: 'rc', virtual_hosts: [{ name: 'vh', domains: ['*'], routes }] },
    http_filters: [rateLimitFilter(filter), routerFilter()],
  }
  const envoy: RunningEnvoy = await startEnvoy(
    {
      node: { id: 'n', cluster: 'frontend' },
      static_resources: {
        listeners: [
          {
            name: 'l',
            address: socketAddress(port),
            filter_chains: [{ filters: [{ name: 'hcm', typed_config: hcm }] }],
          },
        ],
        clusters: [
          staticCluster('a', upstreamPort, { metadata: { filter_metadata: { ns: { a: 'of the cluster' } } } }),
          staticCluster('rls', rls.port, overHttp2),
        ],
      },
    },
    command,
  )
  cleanup.push(
    () => rls.stop(),
    () => upstream.close(),
    () => envoy.stop(),
  )
  const got: unknown[] = []
  for (let i = 0; i < routes.length; i++) got.push(seen(await get(port, REQUEST, { ...HEADERS, 'x-case': String(i) })))
  const counters = (await envoy.get('/stats'))
    .split('\n')
    .filter((line) => /^cluster\.a\..*(ratelimit|_rq_[45])/.test(line))
  return { asked: rls.asked.map(({ descriptors }) => plain(descriptors)), answers: got, counters }
}

const plain = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_key, v) => (typeof v === 'bigint' ? String(v) : v)))

function seen({ status: code, headers, body: text }: RawResponse): unknown {
  const told = [...headers].filter(
    ([name]) => !/^(date|server|x-envoy-upstream-service-time|transfer-encoding)$/.test(name),
  )
  return [code, told.sort(), text]
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as net.AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

const route = (i: number, limits: object[], more: object = {}) => ({
  match: { prefix: '/', headers: [{ name: 'x-case', string_match: { exact: String(i) } }] },
  metadata: { filter_metadata: { ns: { a: 'of the route', n: 5 } } },
  route: { cluster: 'a', rate_limits: limits, ...more },
})

test('descriptors are those of a real Envoy', async () => {
  const routes = LIMITS.map((actions, i) => route(i, [{ actions }, { actions: [key('last')] }]))
  const real = await outcome(realEnvoy, routes, [], {})
  const ours = await outcome(dinghyProxy, routes, [], {})
  expect(real.asked).toHaveLength(LIMITS.length)
  expect(ours.asked).toEqual(real.asked)
  expect(ours.answers).toEqual(real.answers)
})

test.each(ANSWERS.map(([answer, filter], i) => [i, answer, filter] as const))(
  'what becomes of requests is what it is with a real Envoy: answer %i',
  async (_i, answer, filter) => {
    const routes = [route(0, [{ actions: [key('v')] }])]
    const real = await outcome(realEnvoy, routes, [answer], filter)
    const ours = await outcome(dinghyProxy, routes, [answer], filter)
    expect(ours).toEqual(real)
  },
)
