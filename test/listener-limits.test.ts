import fs from 'node:fs'
import http from 'node:http'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  Client,
  echoServer,
  httpFilter,
  type RunningProxy,
  socketAddress,
  startProxy,
  staticCluster,
  tcpChain,
} from './support/proxy.ts'

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
})

async function start(bootstrap: object): Promise<RunningProxy> {
  const proxy = await startProxy(bootstrap)
  cleanup.push(() => proxy.stop())
  return proxy
}

async function connected(proxy: RunningProxy): Promise<Client> {
  const c = new Client(proxy.port('l'))
  cleanup.push(() => c.destroy())
  return c
}

describe('a proxy accepts no more connections', () => {
  const limited = async (more: object) => {
    const server = await echoServer('hi')
    cleanup.push(() => server.close())
    const listener = { name: 'l', address: socketAddress(0), filter_chains: [tcpChain('c')] }
    return start({ static_resources: { clusters: [staticCluster('c', server.port)], listeners: [listener] }, ...more })
  }
  const overflow = async (proxy: RunningProxy) => {
    const first = await connected(proxy)
    await first.receives('hi')
    const second = await connected(proxy)
    await second.ended
    expect(second.text).toBe('')
    return first
  }

  test('than the overload manager allows in all, and more once some have gone', async () => {
    const proxy = await limited({
      overload_manager: {
        resource_monitors: [
          {
            name: 'envoy.resource_monitors.global_downstream_max_connections',
            typed_config: {
              '@type':
                'type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig',
              max_active_downstream_connections: 1,
            },
          },
        ],
      },
    })
    const first = await overflow(proxy)
    expect(proxy.counter('listener.127.0.0.1_0.downstream_global_cx_overflow')).toBe(1)
    first.destroy()
    await expect.poll(() => proxy.counter('listener.127.0.0.1_0.downstream_cx_active')).toBe(0)
    await (await connected(proxy)).receives('hi')
  })

  test('than the runtime allows its listener', async () => {
    const layer = { name: 's', static_layer: { 'envoy.resource_limits.listener.l.connection_limit': 1 } }
    const proxy = await limited({ layered_runtime: { layers: [layer] } })
    await overflow(proxy)
    expect(proxy.counter('listener.127.0.0.1_0.downstream_cx_overflow')).toBe(1)
  })
})

test('a listener may be a unix socket, and takes the place of a stale one', async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-'))
  cleanup.push(() => fs.rmSync(dir, { recursive: true, force: true }))
  const at = path.join(dir, 's')
  const listener = { name: 'l', address: { pipe: { path: at } }, filter_chains: [{ filters: [httpFilter('hello')] }] }
  const proxy = await start({ static_resources: { listeners: [listener] } })
  const body = await new Promise<string>((resolve, reject) => {
    http
      .get({ socketPath: at, path: '/' }, (response) => {
        let text = ''
        response.on('data', (chunk) => {
          text += chunk
        })
        response.on('end', () => resolve(text))
      })
      .on('error', reject)
  })
  expect(body).toBe('hello')
  expect(proxy.counter(`listener.${at}.downstream_cx_total`)).toBe(1)
  expect((await proxy.admin('/listeners')).body).toBe(`l::${at}\n`)
})
