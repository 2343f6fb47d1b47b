import { afterEach, describe, expect, test } from 'vitest'
import { Client, eventually, httpFilter, type RunningProxy, socketAddress, startProxy } from './support/proxy.ts'

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
})

const bucket = (max: number, perFill = max) => ({ max_tokens: max, tokens_per_fill: perFill, fill_interval: '300s' })
const echo = {
  name: 'envoy.filters.network.echo',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo' },
}
const limit = (config: object) => ({
  name: 'limit',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit',
    stat_prefix: 'mine',
    ...config,
  },
})
const listenerLimit = (config: object) => ({
  name: 'limit',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit',
    stat_prefix: 'mine',
    ...config,
  },
})
const inspector = {
  name: 'http',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector' },
}
const accessLog = {
  name: 'file',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
    path: '/dev/stdout',
    log_format: {
      text_format_source: {
        inline_string: '%RESPONSE_FLAGS% %DOWNSTREAM_LOCAL_CLOSE_REASON% %BYTES_SENT% %RESPONSE_CODE_DETAILS%\n',
      },
    },
  },
}

async function proxyOf(filters: object[], listener: object = {}, bootstrap: object = {}) {
  const lines: string[] = []
  const l = { name: 'l', address: socketAddress(0), filter_chains: [{ filters }], ...listener }
  const proxy = await startProxy(
    { static_resources: { listeners: [l] }, ...bootstrap },
    { logs: { open: () => ({ write: (line) => lines.push(line.trim()) }) } },
  )
  cleanup.push(() => proxy.stop())
  return Object.assign(proxy, { lines })
}

/** What one connection after the other got for what it said: its echo, or how it ended. */
async function talk(proxy: RunningProxy, count: number): Promise<string[]> {
  const out: string[] = []
  for (let i = 0; i < count; i++) {
    const client = new Client(proxy.port('l'))
    client.write('hi')
    await Promise.race([client.receives('hi'), client.ended])
    out.push(client.text || 'closed')
    client.destroy()
  }
  return out
}

describe('a limit of connections', () => {
  test('closes what its bucket does not have, and says so', async () => {
    const proxy = await proxyOf([limit({ token_bucket: bucket(2) }), echo], { access_log: [accessLog] })
    expect(await talk(proxy, 4)).toEqual(['hi', 'hi', 'closed', 'closed'])
    expect(proxy.counter('local_rate_limit.mine.rate_limited')).toBe(2)
    expect(proxy.counter(`listener.127.0.0.1_0.downstream_cx_total`)).toBe(4)
    await eventually(() => proxy.lines.length >= 4)
    expect(proxy.lines.filter((line) => line.startsWith('URX'))).toEqual(
      Array(2).fill('URX local_ratelimit_close_over_limit 0 -'),
    )
  })

  test('resets a connection whose first bytes a listener filter has seen', async () => {
    const proxy = await proxyOf([limit({ token_bucket: bucket(1) }), httpFilter('ok')], {
      listener_filters: [inspector],
    })
    const ask = async () => {
      const client = new Client(proxy.port('l'))
      client.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
      await Promise.race([client.receives('ok'), client.ended])
      const got = client.error ?? client.text.slice(0, 12)
      client.destroy()
      return got
    }
    expect([await ask(), await ask()]).toEqual(['HTTP/1.1 200', 'ECONNRESET'])
  })

  test('is not there when it is switched off, by its default or by a runtime key', async () => {
    const off = (runtime_enabled: object) => limit({ token_bucket: bucket(1), runtime_enabled })
    const proxy = await proxyOf([off({ default_value: false, runtime_key: 'k' }), echo])
    expect(await talk(proxy, 2)).toEqual(['hi', 'hi'])
    const keyed = await proxyOf(
      [off({ default_value: true, runtime_key: 'k' }), echo],
      {},
      {
        layered_runtime: { layers: [{ name: 's', static_layer: { k: false } }] },
      },
    )
    expect(await talk(keyed, 2)).toEqual(['hi', 'hi'])
  })

  test('filters with one share key and the same bucket take from one', async () => {
    const shared = (prefix: string, tokens: object) =>
      limit({ stat_prefix: prefix, share_key: 'x', token_bucket: tokens })
    const one = await proxyOf([shared('a', bucket(3)), shared('b', bucket(3)), echo])
    expect(await talk(one, 3)).toEqual(['hi', 'closed', 'closed'])
    expect(['a', 'b'].map((name) => one.counter(`local_rate_limit.${name}.rate_limited`))).toEqual([1, 1])
    const two = await proxyOf([shared('a', bucket(3)), shared('b', bucket(2)), echo])
    expect(await talk(two, 3)).toEqual(['hi', 'hi', 'closed'])
    // One that says what the other leaves to its default is another bucket.
    const said = await proxyOf([shared('a', { max_tokens: 2, fill_interval: '300s' }), shared('b', bucket(2, 1)), echo])
    expect(await talk(said, 3)).toEqual(['hi', 'hi', 'closed'])
  })

  test('two proxies share nothing, whatever their keys', async () => {
    const filter = limit({ share_key: 'x', token_bucket: bucket(1) })
    for (const proxy of [await proxyOf([filter, echo]), await proxyOf([filter, echo])]) {
      expect(await talk(proxy, 2)).toEqual(['hi', 'closed'])
    }
  })

  test('may fill every 50 ms, one token at a time where it says nothing else', async () => {
    await expect(
      proxyOf([limit({ token_bucket: { max_tokens: 1, fill_interval: '0.05s' } }), echo]),
    ).resolves.toBeDefined()
  })

  test.each([
    [{ token_bucket: { max_tokens: 1, fill_interval: '0.01s' } }, 'fill timer must be >= 50ms'],
    [{}, 'value is required'],
    [{ token_bucket: bucket(1), stat_prefix: '' }, 'value length must be at least 1 characters'],
  ])('%j is refused', async (config, message) => {
    await expect(proxyOf([limit(config), echo])).rejects.toThrow(message)
  })
})

describe('a limit of sockets, as a listener filter', () => {
  test('closes them before their filter chain', async () => {
    const proxy = await proxyOf([echo], { listener_filters: [listenerLimit({ token_bucket: bucket(2) })] })
    expect(await talk(proxy, 3)).toEqual(['hi', 'hi', 'closed'])
    expect(proxy.counter('listener_local_ratelimit.mine.rate_limited')).toBe(1)
    expect(proxy.counter('listener.127.0.0.1_0.downstream_cx_total')).toBe(2)
  })

  test('is not there when it is switched off', async () => {
    const runtime_enabled = { default_value: false, runtime_key: 'k' }
    const proxy = await proxyOf([echo], {
      listener_filters: [listenerLimit({ token_bucket: bucket(1), runtime_enabled })],
    })
    expect(await talk(proxy, 2)).toEqual(['hi', 'hi'])
  })
})
