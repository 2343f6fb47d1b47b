import { afterEach, describe, expect, test } from 'vitest'
import { overHttp2 } from './support/ext-authz.ts'
import {
  Client,
  echoServer,
  eventually,
  socketAddress,
  startProxy,
  staticCluster,
  tcpProxyFilter,
} from './support/proxy.ts'
import { type LimitAnswer, OK, OVER, rateLimitService, ScriptedRls } from './support/scripted-rls.ts'

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
})

const entries = (...pairs: [string, string][]) => ({ entries: pairs.map(([key, value]) => ({ key, value })) })

/** A TCP proxy to an echo server whose connections are counted. */
async function limited(answers: LimitAnswer[], config: object = {}, bootstrap: object = {}) {
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
          filter_chains: [{ filters: [filter, tcpProxyFilter({ cluster: 'echo' })] }],
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

  test('that goes takes its call along', async () => {
    const { rls, client, count } = await limited(['hangs'])
    await eventually(() => rls.asked.length === 1)
    expect(count('active')).toBe(1)
    client.destroy()
    await eventually(() => rls.cancelled === 1 && count('active') === 0)
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
