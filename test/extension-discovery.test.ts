import fs from 'node:fs'
import http from 'node:http'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { SystemRuntime } from '../src/runtime-system.ts'
import { readJson } from '../src/xds/json.ts'
import { memoryTransport } from '../src/xds/memory-transport.ts'
import { pack } from '../src/xds/messages.ts'
import { AdsServer } from '../src/xds/server.ts'
import type { AdsConnection } from '../src/xds/server-connection.ts'
import { Client, eventually, httpFilter, type RunningProxy, socketAddress, startProxy } from './support/proxy.ts'
import { snapshot } from './support/xds-resources.ts'

const T = 'type.googleapis.com/'
const FAULT = `${T}envoy.extensions.filters.http.fault.v3.HTTPFault`
const BUFFER = `${T}envoy.extensions.filters.http.buffer.v3.Buffer`
const ROUTER = `${T}envoy.extensions.filters.http.router.v3.Router`
const ANSWER = `${T}envoy.extensions.filters.network.direct_response.v3.Config`
const RBAC = `${T}envoy.extensions.filters.network.rbac.v3.RBAC`
const PROXY_PROTOCOL = `${T}envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol`

const abort = (status: number) => ({ '@type': FAULT, abort: { http_status: status, percentage: { numerator: 100 } } })
const answer = (text: string) => ({ '@type': ANSWER, response: { inline_string: text } })
const rbac = (action: 'ALLOW' | 'DENY') => ({
  '@type': RBAC,
  stat_prefix: 'p.',
  rules: { action, policies: { all: { permissions: [{ any: true }], principals: [{ any: true }] } } },
})
const router = { name: 'envoy.filters.http.router', typed_config: { '@type': ROUTER } }
const ads = { ads: {}, resource_api_version: 'V3', initial_fetch_timeout: '0.2s' }
const discovered = (types: string[], more: object = {}, name = 'x') => ({
  name,
  config_discovery: { config_source: ads, type_urls: types, ...more },
})
const listener = (filters: object[], more: object = {}, name = 'l') => ({
  name,
  address: socketAddress(0),
  filter_chains: [{ filters }],
  ...more,
})
/** A listener that answers "fine" past a filter. */
const manager = (filters: object[], more: object = {}) => httpFilter('fine', { http_filters: filters, ...more })
const extension = (config: object, name = 'x') =>
  pack(readJson('envoy.config.core.v3.TypedExtensionConfig', { name, typed_config: config }))

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
})

/** A control plane that has extension configs alone. */
class ControlPlane {
  readonly nacks: string[] = []
  readonly server: AdsServer
  private connection: AdsConnection | undefined
  private current = snapshot()

  constructor(...configs: object[]) {
    this.current = snapshot(...configs.map((config) => extension(config)))
    this.server = new AdsServer({
      runtime: new SystemRuntime(),
      source: {
        connected: (connection) => {
          this.connection = connection
          connection.push(this.current)
        },
        nacked: (_connection, _typeUrl, nack) => this.nacks.push(nack.message),
      },
    })
    cleanup.push(() => this.server.close())
  }

  /** Waits until the proxy has answered. */
  async push(proxy: RunningProxy, ...configs: object[]): Promise<void> {
    const seen = () => proxy.counter('extension_config_discovery.http_filter.x.update_attempt')
    const before = seen()
    this.current = snapshot(...configs.map((config) => extension(config)))
    this.connection!.push(this.current)
    await eventually(() => seen() > before)
  }
}

async function start(listeners: object[], plane: ControlPlane, apiType = 'DELTA_GRPC'): Promise<RunningProxy> {
  const proxy = await startProxy(
    {
      static_resources: { listeners },
      dynamic_resources: { ads_config: { api_type: apiType, transport_api_version: 'V3' } },
    },
    { adsTransport: memoryTransport(plane.server) },
  )
  cleanup.push(() => proxy.stop())
  await proxy.server.whenReady()
  return proxy
}

const get = async (proxy: RunningProxy, name = 'l') => {
  const response = await fetch(`http://127.0.0.1:${proxy.port(name)}/`)
  return `${response.status} ${await response.text()}`
}
const stat = (proxy: RunningProxy, name: string) => proxy.counter(`extension_config_discovery.http_filter.x.${name}`)
const dumped = async (proxy: RunningProxy) => {
  const { configs } = JSON.parse((await proxy.admin('/config_dump')).body)
  return configs.filter((c: { '@type': string }) => c['@type'].endsWith('EcdsConfigDump'))
}

describe.each(['DELTA_GRPC', 'GRPC'])('an HTTP filter with config_discovery (%s)', (apiType) => {
  it('has its config before the listener serves, and changes it between two requests of a connection', async () => {
    const plane = new ControlPlane(abort(418))
    const proxy = await start([listener([manager([discovered([FAULT, BUFFER]), router])])], plane, apiType)
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    cleanup.push(() => agent.destroy())
    const status = () =>
      new Promise<number | undefined>((resolve, reject) => {
        const request = http.get({ port: proxy.port('l'), agent }, (response) => {
          response.resume().once('end', () => resolve(response.statusCode))
        })
        request.once('error', reject)
      })
    expect(await status()).toBe(418)
    await plane.push(proxy, abort(419))
    expect(await status()).toBe(419)
    await plane.push(proxy, { '@type': BUFFER, max_request_bytes: 100 })
    expect(await status()).toBe(200)
    expect(proxy.counter('http.h.downstream_cx_total')).toBe(1)
    expect(stat(proxy, 'config_reload')).toBe(3)
    const [section] = await dumped(proxy)
    expect(section.ecds_filters).toEqual([
      {
        version_info: expect.any(String),
        ecds_filter: {
          '@type': `${T}envoy.config.core.v3.TypedExtensionConfig`,
          name: 'x',
          typed_config: { '@type': BUFFER, max_request_bytes: 100 },
        },
        last_updated: expect.any(String),
      },
    ])
    expect(plane.nacks).toEqual([])
  })

  it('answers 500 with NFCF when none comes in time, and recovers when one does', async () => {
    const log = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-ecds-')), 'log')
    cleanup.push(() => fs.rmSync(path.dirname(log), { recursive: true }))
    const access_log = [
      {
        name: 'f',
        typed_config: {
          '@type': `${T}envoy.extensions.access_loggers.file.v3.FileAccessLog`,
          path: log,
          log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS%\n' } },
        },
      },
    ]
    const plane = new ControlPlane()
    const proxy = await start([listener([manager([discovered([FAULT]), router], { access_log })])], plane, apiType)
    expect(await get(proxy)).toBe('500 ')
    expect(stat(proxy, 'init_fetch_timeout')).toBe(1)
    expect(stat(proxy, 'config_fail')).toBe(1)
    expect((await dumped(proxy))[0].ecds_filters).toBeUndefined()
    await plane.push(proxy, abort(418))
    expect((await get(proxy)).slice(0, 3)).toBe('418')
    await eventually(() => fs.readFileSync(log, 'utf8') === '500 NFCF\n418 FI\n')
  })

  it('refuses another type with Envoy’s words, and goes on with what it has', async () => {
    const plane = new ControlPlane(abort(418))
    const proxy = await start([listener([manager([discovered([FAULT]), router])])], plane, apiType)
    await plane.push(proxy, { '@type': BUFFER, max_request_bytes: 1 })
    await eventually(() => plane.nacks.length === 1)
    expect(plane.nacks).toEqual([
      'Error: filter config has type URL envoy.extensions.filters.http.buffer.v3.Buffer but expect envoy.extensions.filters.http.fault.v3.HTTPFault.',
    ])
    expect((await get(proxy)).slice(0, 3)).toBe('418')
    expect([stat(proxy, 'config_fail'), stat(proxy, 'update_rejected'), stat(proxy, 'config_reload')]).toEqual([
      1, 1, 1,
    ])
  })

  it('uses its default until one comes, without waiting when it is told so', async () => {
    const plane = new ControlPlane()
    const defaults = { default_config: abort(499), apply_default_config_without_warming: true }
    const slow = { ...ads, initial_fetch_timeout: '0s' }
    const filter = discovered([FAULT], { ...defaults, config_source: slow })
    const proxy = await start([listener([manager([filter, router])])], plane, apiType)
    expect((await get(proxy)).slice(0, 3)).toBe('499')
    await plane.push(proxy, abort(418))
    expect((await get(proxy)).slice(0, 3)).toBe('418')
  })

  it('goes back to its default, or to nothing, when it is taken away', async () => {
    const plane = new ControlPlane(abort(418))
    const filter = discovered([FAULT], { default_config: abort(499) })
    const listeners = [
      listener([manager([filter, router])]),
      listener([manager([discovered([FAULT]), router])], {}, 'm'),
    ]
    const proxy = await start(listeners, plane, apiType)
    expect((await get(proxy)).slice(0, 3)).toBe('418')
    proxy.server.extensions.remove('x')
    expect((await get(proxy)).slice(0, 3)).toBe('499')
    expect(await get(proxy, 'm')).toBe('500 ')
    expect((await dumped(proxy))[0].ecds_filters).toBeUndefined()
  })

  it('shows what came as a TypedStruct as what it stands for', async () => {
    const { '@type': type_url, ...value } = abort(418)
    const plane = new ControlPlane({ '@type': `${T}xds.type.v3.TypedStruct`, type_url, value })
    const proxy = await start([listener([manager([discovered([FAULT]), router])])], plane, apiType)
    expect((await get(proxy)).slice(0, 3)).toBe('418')
    const [section] = await dumped(proxy)
    expect(section.ecds_filters[0].ecds_filter.typed_config).toEqual(abort(418))
  })

  it('may be the last of its chain', async () => {
    const plane = new ControlPlane({ '@type': ROUTER })
    const proxy = await start([listener([manager([discovered([ROUTER])])])], plane, apiType)
    expect(await get(proxy)).toBe('200 fine')
  })

  it('shares what came with a listener that comes later, unless it does not fit there', async () => {
    const plane = new ControlPlane(abort(418))
    const proxy = await start([listener([manager([discovered([FAULT]), router])])], plane, apiType)
    const late = readJson(
      'envoy.config.listener.v3.Listener',
      listener([manager([discovered([FAULT]), router])], {}, 'm'),
    )
    proxy.server.listeners.addOrUpdate(late, '', true)
    await eventually(() => proxy.server.listeners.all().some((l) => l.name === 'm' && l.active !== undefined))
    expect((await get(proxy, 'm')).slice(0, 3)).toBe('418')
    const misfit = listener(
      [manager([discovered([BUFFER], { default_config: { '@type': BUFFER, max_request_bytes: 9 } }), router])],
      {},
      'n',
    )
    proxy.server.listeners.addOrUpdate(readJson('envoy.config.listener.v3.Listener', misfit), '', true)
    await eventually(() => proxy.server.listeners.all().some((l) => l.name === 'n' && l.active !== undefined))
    expect(await get(proxy, 'n')).toBe('200 fine')
    expect(stat(proxy, 'config_conflict')).toBe(1)
  })
})

describe('a listener that names extension configs', () => {
  it('is warming until they have come', async () => {
    const plane = new ControlPlane()
    const slow = discovered([FAULT], { config_source: { ...ads, initial_fetch_timeout: '0s' } })
    const proxy = await startProxy(
      {
        static_resources: { listeners: [listener([manager([slow, router])])] },
        dynamic_resources: { ads_config: { api_type: 'DELTA_GRPC', transport_api_version: 'V3' } },
      },
      { adsTransport: memoryTransport(plane.server) },
    )
    cleanup.push(() => proxy.stop())
    await eventually(() => stat(proxy, 'update_attempt') === 1)
    expect(proxy.server.waitingFor).toEqual(['listener l'])
    await eventually(() => plane.server.connections.length === 1)
    await plane.push(proxy, abort(418))
    await proxy.server.whenReady()
    expect((await get(proxy)).slice(0, 3)).toBe('418')
  })

  it('has no connections while a network filter lacks its config', async () => {
    const file = (name: string, config: object): object => {
      fs.writeFileSync(
        path.join(folder, name),
        JSON.stringify({
          version_info: '1',
          resources: [{ '@type': `${T}envoy.config.core.v3.TypedExtensionConfig`, name, typed_config: config }],
        }),
      )
      return { path_config_source: { path: path.join(folder, name) }, initial_fetch_timeout: '1s' }
    }
    const replace = (name: string, config: object): void => {
      file(`${name}.new`, config)
      const text = fs.readFileSync(path.join(folder, `${name}.new`), 'utf8').replaceAll(`${name}.new`, name)
      fs.writeFileSync(path.join(folder, `${name}.new`), text)
      fs.renameSync(path.join(folder, `${name}.new`), path.join(folder, name))
    }
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-ecds-'))
    cleanup.push(() => fs.rmSync(folder, { recursive: true }))
    const plain = { name: 'd', typed_config: answer('behind') }
    const proxy = await startProxy({
      static_resources: {
        listeners: [
          listener([discovered([ANSWER], { config_source: file('n1', answer('one')) }, 'n1')], {}, 'a'),
          listener([discovered([RBAC], { config_source: file('n2', answer('x')) }, 'n2'), plain], {}, 'b'),
          listener(
            [plain],
            { listener_filters: [discovered([PROXY_PROTOCOL], { config_source: file('l1', answer('x')) }, 'l1')] },
            'c',
          ),
        ],
      },
    })
    cleanup.push(() => proxy.stop())
    const said = async (name: string): Promise<string> => {
      const client = new Client(proxy.port(name))
      cleanup.push(() => client.socket.destroy())
      client.socket.write('PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n')
      await client.ended
      return client.text
    }
    expect(await said('a')).toBe('one')
    expect(await said('b')).toBe('')
    expect(await said('c')).toBe('')
    expect(
      (await proxy.admin('/stats?filter=extension_config_missing: [1-9]|network_extension_config_missing')).body,
    ).toMatch(/network_extension_config_missing: 1/)
    replace('n1', answer('two'))
    replace('n2', rbac('ALLOW'))
    replace('l1', { '@type': PROXY_PROTOCOL })
    await eventually(() => proxy.counter('extension_config_discovery.network_filter.n1.config_reload') === 2)
    await eventually(() => proxy.counter('extension_config_discovery.network_filter.n2.config_reload') === 1)
    await eventually(() => proxy.counter('extension_config_discovery.tcp_listener_filter.l1.config_reload') === 1)
    expect(await said('a')).toBe('two')
    expect(await said('b')).toBe('behind')
    expect(await said('c')).toBe('behind')
    expect((await dumped(proxy)).map((section: { ecds_filters: object[] }) => section.ecds_filters.length)).toEqual([
      2, 1,
    ])
    expect(proxy.warnings).toEqual([
      expect.stringContaining('Filesystem config update rejected: Error: filter config has type URL'),
      expect.stringContaining('Filesystem config update rejected: Error: filter config has type URL'),
    ])
  })

  const refused = (filters: object[], more: object = {}) =>
    startProxy({ static_resources: { listeners: [listener(filters, more)] } }).then(
      async (proxy) => {
        await proxy.stop()
        return ''
      },
      (error: Error) => error.message,
    )

  it.each<[string, object[], string]>([
    [
      'a default that does not have one of the types',
      [discovered([ROUTER], { default_config: abort(400) }), router],
      'Error: filter config has type URL envoy.extensions.filters.http.fault.v3.HTTPFault but expect envoy.extensions.filters.http.router.v3.Router.',
    ],
    [
      'no default where there has to be one',
      [discovered([FAULT], { apply_default_config_without_warming: true }), router],
      'Error: filter config x applied without warming but has no default config.',
    ],
    [
      'a type that there is not',
      [discovered([`${T}foo.Bar`]), router],
      'Error: no factory found for a required type URL foo.Bar.',
    ],
    [
      'a default that may not end the chain',
      [discovered([FAULT], { default_config: abort(400) })],
      'Error: non-terminal filter named x of type envoy.filters.http.fault is the last filter in a http filter chain.',
    ],
    [
      'a last filter that is off',
      [{ ...discovered([ROUTER]), disabled: true }],
      'Error: the last (terminal) filter (x) in the chain cannot be disabled by default.',
    ],
    [
      'a source of its own',
      [
        discovered([FAULT], {
          config_source: {
            api_config_source: { api_type: 'GRPC', grpc_services: [{ envoy_grpc: { cluster_name: 'c' } }] },
          },
        }),
        router,
      ],
      'config_discovery.config_source: only ads and path_config_source are supported',
    ],
  ])('is refused for %s', async (_, filters, words) => {
    expect(await refused([manager(filters)])).toContain(words)
  })
})
