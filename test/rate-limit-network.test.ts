import { afterEach, describe, expect, test } from 'vitest'
import { overHttp2 } from './support/ext-authz.ts'
import {
  Client,
  echoServer,
  eventually,
  httpFilter,
  socketAddress,
  startProxy,
  staticCluster,
  tcpProxyFilter,
} from './support/proxy.ts'
import { type LimitAnswer, OK, OVER, rateLimitService, ScriptedRls } from './support/scripted-rls.ts'

const NETWORK = 'envoy.extensions.filters.network'

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
})

const entries = (...pairs: [string, string][]) => ({ entries: pairs.map(([key, value]) => ({ key, value })) })

const TCP = tcpProxyFilter({ cluster: 'echo' })

/** A TCP proxy to an echo server, or another last filter, whose connections are counted. */
async function limited(answers: LimitAnswer[], config: object = {}, bootstrap: object = {}, last: object = TCP) {
  const rls = await ScriptedRls.start(...answers)
  const echo = await echoServer('')
  cleanup.push(
    () => rls.stop(),
    () => echo.close(),
  )
  const filter = {
    name: 'envoy.filters.network.ratelimit',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.network.ratelimit.v3.RateLimit',
      stat_prefix: 'db',
      domain: 'tcp',
      timeout: '5s',
      descriptors: [entries(['port', 'db'])],
      rate_limit_service: rateLimitService(),
      ...config,
    },
  }
  const proxy = await startProxy({
    static_resources: {
      clusters: [staticCluster('echo', echo.port), staticCluster('rls', rls.port, overHttp2)],
      listeners: [
        {
          name: 'l',
          address: socketAddress(0),
          filter_chains: [{ filters: [filter, last] }],
        },
      ],
    },
    ...bootstrap,
  })
  cleanup.push(() => proxy.stop())
  const client = new Client(proxy.port('l'))
  cleanup.push(() => client.destroy())
  return { rls, proxy, client, count: (name: string) => proxy.counter(`ratelimit.db.${name}`) }
}

describe('a connection', () => {
  test('within its limits waits for the answer, and loses nothing', async () => {
    const { rls, client, count } = await limited([OK])
    client.write('hello')
    await client.receives('hello')
    expect([rls.asked[0]!.domain, rls.descriptors]).toEqual(['tcp', [['port=db']]])
    expect(['total', 'ok', 'active', 'cx_closed'].map(count)).toEqual([1, 1, 0, 0])
  })

  test('over its limits is closed, before it has sent a byte', async () => {
    const { client, count } = await limited([OVER])
    await client.ended
    expect(client.text).toBe('')
    expect(['over_limit', 'cx_closed', 'active'].map(count)).toEqual([1, 1, 0])
  })

  test('over its limits stays when a runtime layer enforces nothing', async () => {
    const layer = { name: 's', static_layer: { ratelimit: { tcp_filter_enforcing: 0 } } }
    const { client, count } = await limited([OVER], {}, { layered_runtime: { layers: [layer] } })
    client.write('hello')
    await client.receives('hello')
    expect(['over_limit', 'cx_closed'].map(count)).toEqual([1, 0])
  })

  test('that nobody can tell about stays, or is closed when the filter says so', async () => {
    const open = await limited([{ fails: 14 }])
    open.client.write('hello')
    await open.client.receives('hello')
    expect(['error', 'failure_mode_allowed'].map(open.count)).toEqual([1, 1])
    const shut = await limited(['hangs'], { failure_mode_deny: true, timeout: '0.05s' })
    await shut.client.ended
    expect(['error', 'failure_mode_allowed', 'cx_closed'].map(shut.count)).toEqual([1, 0, 1])
  })

  describe('that goes before the answer', () => {
    const patient = { timeout: '60s' }
    const http = httpFilter('')
    const echo = { name: 'e', typed_config: { '@type': `type.googleapis.com/${NETWORK}.echo.v3.Echo` } }
    const fixed = { name: 'd', typed_config: { '@type': `type.googleapis.com/${NETWORK}.direct_response.v3.Config` } }
    const reset = (client: Client) => client.socket.resetAndDestroy()
    const half = (client: Client) => client.socket.end()
    const halfAfterBytes = (client: Client) => client.socket.end('GET / HTTP/1.1\r\nhost: a\r\n\r\n')

    test.each([
      ['HTTP', 'with a reset', http, reset],
      ['HTTP', 'with the end of its data', http, half],
      ['HTTP', 'with the end of its data, after a request', http, halfAfterBytes],
      ['an echo', 'with the end of its data', echo, half],
      ['a direct response', 'with a reset', fixed, reset],
    ])('to %s %s takes its call along', async (_what, _how, last, go) => {
      const { rls, proxy, client, count } = await limited(['hangs'], patient, {}, last)
      await eventually(() => rls.asked.length === 1)
      expect(count('active')).toBe(1)
      go(client)
      await client.ended
      await eventually(() => rls.cancelled === 1)
      expect(['active', 'error', 'ok', 'cx_closed', 'total'].map(count)).toEqual([0, 0, 0, 0, 1])
      expect([proxy.counter('listener.l.downstream_cx_active'), client.text]).toEqual([0, ''])
      if (last === http) expect(proxy.counter('http.h.downstream_cx_destroy_remote')).toBe(1)
    })

    // A TCP proxy reads nothing before it has an upstream connection; a direct response may yet follow the end of data.
    test.each([
      ['through a TCP proxy', 'with a reset', TCP, reset],
      ['through a TCP proxy', 'with the end of its data', TCP, half],
      ['to a direct response', 'with the end of its data', fixed, half],
    ])('%s %s is not noticed', async (_what, _how, last, go) => {
      const { rls, proxy, client, count } = await limited(['hangs', OVER], patient, {}, last)
      await eventually(() => rls.asked.length === 1)
      go(client)
      await new Promise((resolve) => client.socket.once(go === reset ? 'close' : 'finish', resolve))
      const other = new Client(proxy.port('l'))
      cleanup.push(() => other.destroy())
      await other.ended
      expect(['total', 'over_limit', 'active'].map(count)).toEqual([2, 1, 1])
    })

    test('through a TCP proxy, with the end of its data only, is served all the same', async () => {
      const { rls, client, count } = await limited(['hangs'], { timeout: '0.3s' })
      await eventually(() => rls.asked.length === 1)
      client.socket.end('hello')
      await client.ended
      expect([client.text, count('failure_mode_allowed'), count('active')]).toEqual(['hello', 1, 0])
    })
  })
})

test('descriptors speak of the connection', async () => {
  const descriptors = [
    entries(['client', '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'], ['sni', '%REQUESTED_SERVER_NAME%']),
    entries(['all', '']),
  ]
  const { rls, client } = await limited([OK], { descriptors })
  client.write('hello')
  await client.receives('hello')
  expect(rls.descriptors).toEqual([['client=127.0.0.1,sni=-', 'all=']])
  await expect(limited([OK], { descriptors: [entries(['k', '%NO_SUCH%'])] })).rejects.toThrow(
    'Not supported field in StreamInfo: NO_SUCH',
  )
})
