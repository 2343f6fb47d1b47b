import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import tls from 'node:tls'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type App, startApp } from './support/app.ts'
import { makeAuthority, makeIdentity } from './support/certificates.ts'
import { type DnsServer, startDnsServer } from './support/dns-server.ts'
import { type RunningProxy, socketAddress, startProxy, tcpProxyFilter } from './support/proxy.ts'

const cleanup: (() => unknown)[] = []
let app: App
let dns: DnsServer
let folder: string
beforeEach(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-dfp-'))
  app = await startApp((request, response) => response.end(request.headers.host))
  dns = await startDnsServer((name) => {
    if (name === 'silent.test') return { drop: true }
    if (name === 'broken.test') return { rcode: 5 }
    return name.startsWith('no') ? undefined : { addresses: ['127.0.0.1'] }
  })
  cleanup.push(
    () => app.close(),
    () => dns.close(),
    () => fs.rmSync(folder, { recursive: true }),
  )
})
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
})

const TYPES = 'type.googleapis.com/envoy.extensions.'
const resolver = () => ({
  name: 'envoy.network.dns_resolver.cares',
  typed_config: {
    '@type': `${TYPES}network.dns_resolver.cares.v3.CaresDnsResolverConfig`,
    resolvers: [socketAddress(dns.port)],
    dns_resolver_options: { no_default_search_domain: true },
  },
})
const cache = (more: object = {}) => ({
  name: 'names',
  dns_lookup_family: 'V4_ONLY',
  typed_dns_resolver_config: resolver(),
  ...more,
})
const cluster = (config: object, more: object = {}) => ({
  name: 'any',
  lb_policy: 'CLUSTER_PROVIDED',
  cluster_type: {
    name: 'envoy.clusters.dynamic_forward_proxy',
    typed_config: { '@type': `${TYPES}clusters.dynamic_forward_proxy.v3.ClusterConfig`, ...config },
  },
  ...more,
})

async function start(filter: object, clusterConfig: object, more: object = {}): Promise<RunningProxy> {
  const perRoute = {
    dfp: { '@type': `${TYPES}filters.http.dynamic_forward_proxy.v3.PerRouteConfig`, host_rewrite_header: 'x-to' },
  }
  const hcm = {
    '@type': `${TYPES}filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: 'h',
    route_config: {
      virtual_hosts: [
        {
          name: 'v',
          domains: ['*'],
          routes: [
            { match: { prefix: '/to' }, route: { cluster: 'any' }, typed_per_filter_config: perRoute },
            { match: { prefix: '/' }, route: { cluster: 'any' } },
          ],
        },
      ],
    },
    http_filters: [
      {
        name: 'dfp',
        typed_config: { '@type': `${TYPES}filters.http.dynamic_forward_proxy.v3.FilterConfig`, ...filter },
      },
      { name: 'router', typed_config: { '@type': `${TYPES}filters.http.router.v3.Router` } },
    ],
    access_log: [
      {
        name: 'file',
        typed_config: {
          '@type': `${TYPES}access_loggers.file.v3.FileAccessLog`,
          path: path.join(folder, 'log'),
          log_format: { text_format_source: { inline_string: '%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' } },
        },
      },
    ],
  }
  const listener = {
    name: 'in',
    address: socketAddress(0),
    filter_chains: [{ filters: [{ name: 'hcm', typed_config: hcm }] }],
  }
  const proxy = await startProxy({
    static_resources: { listeners: [listener], clusters: [cluster(clusterConfig, more)] },
  })
  cleanup.push(() => proxy.stop())
  return proxy
}

const startCached = (more: object = {}) => start({ dns_cache_config: cache(more) }, { dns_cache_config: cache(more) })

async function get(
  proxy: RunningProxy,
  host: string,
  url = '/',
  headers: Record<string, string> = {},
): Promise<string> {
  const { request } = await import('node:http')
  return new Promise((resolve, reject) => {
    request({ port: proxy.port('in'), path: url, headers: { host: `${host}:${app.port}`, ...headers } }, (response) => {
      let text = ''
      response.on('data', (chunk) => {
        text += chunk
      })
      response.on('end', () => resolve(`${response.statusCode} ${text}`))
    })
      .on('error', reject)
      .end()
  })
}

const details = async (proxy: RunningProxy): Promise<string[]> => {
  await proxy.stop()
  return fs.readFileSync(path.join(folder, 'log'), 'utf8').trim().split('\n')
}

it('a request goes to the host that it names, which is resolved once', async () => {
  const proxy = await startCached()
  expect(await get(proxy, 'one.test')).toBe(`200 one.test:${app.port}`)
  expect(await get(proxy, 'one.test')).toBe(`200 one.test:${app.port}`)
  expect(await get(proxy, 'two.test')).toBe(`200 two.test:${app.port}`)
  expect(dns.queries).toEqual(['one.test/1', 'two.test/1'])
  expect(proxy.counter('dns_cache.names.num_hosts')).toBe(2)
  expect(proxy.counter('cluster.any.membership_total')).toBe(2)
  expect((await proxy.admin('/clusters')).body).toContain(`::hostname::two.test:${app.port}\n`)
})

it('a route may name another host', async () => {
  const proxy = await startCached()
  expect(await get(proxy, 'none.test', '/to', { 'x-to': `one.test:${app.port}` })).toBe(`200 one.test:${app.port}`)
  expect(dns.queries).toEqual(['one.test/1'])
})

it('names that cannot be resolved answer 503 and say why', async () => {
  const proxy = await startCached({ dns_query_timeout: '0.2s' })
  for (const host of ['none.test', 'broken.test', 'silent.test'])
    expect(await get(proxy, host)).toBe('503 DNS resolution failure')
  expect(await details(proxy)).toEqual([
    'DF dns_resolution_failure{cares_norecords:Domain_name_not_found}',
    'DF dns_resolution_failure{cares_failure:DNS_server_refused_query}',
    'DF dns_resolution_failure{resolve_timeout}',
  ])
})

it('the cache holds so many names, and so many requests may wait', async () => {
  const proxy = await startCached({
    max_hosts: 2,
    dns_query_timeout: '0.3s',
    dns_cache_circuit_breaker: { max_pending_requests: 1 },
  })
  expect(await get(proxy, 'one.test')).toMatch(/^200/)
  const answers = await Promise.all([get(proxy, 'silent.test'), get(proxy, 'silent.test')])
  expect(answers.sort()).toEqual(['503 DNS resolution failure', '503 Dynamic forward proxy pending request overflow'])
  expect(await get(proxy, 'three.test')).toBe('503 DNS cache overflow')
  expect(proxy.counter('dns_cache.names.host_overflow')).toBe(1)
  expect(proxy.counter('dns_cache.names.dns_rq_pending_overflow')).toBe(1)
})

it('each name may be a cluster of its own', async () => {
  const proxy = await start(
    { sub_cluster_config: {} },
    { sub_clusters_config: { max_sub_clusters: 1 } },
    { typed_dns_resolver_config: resolver(), dns_lookup_family: 'V4_ONLY' },
  )
  expect(await get(proxy, 'one.test')).toBe(`200 one.test:${app.port}`)
  expect(proxy.counter(`cluster.DFPCluster_one.test_${app.port}.upstream_rq_total`)).toBe(1)
  expect(await get(proxy, 'two.test')).toBe('503 Sub cluster overflow')
})

it('a TLS connection goes to the name that its client asks for', async () => {
  const authority = await makeAuthority('CN=tests')
  const identity = await makeIdentity(authority, 'CN=one', [{ type: 'dns', value: 'one.test' }])
  const server = tls.createServer({ key: identity.key, cert: identity.cert }, (socket) => {
    socket.on('error', () => {})
    socket.end('hello')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanup.push(() => server.close())
  const { port } = server.address() as { port: number }
  const sni = {
    name: 'sni',
    typed_config: {
      '@type': `${TYPES}filters.network.sni_dynamic_forward_proxy.v3.FilterConfig`,
      dns_cache_config: cache(),
      port_value: port,
    },
  }
  const inspector = {
    name: 'tls',
    typed_config: { '@type': `${TYPES}filters.listener.tls_inspector.v3.TlsInspector` },
  }
  const proxy = await startProxy({
    static_resources: {
      listeners: [
        {
          name: 'in',
          address: socketAddress(0),
          listener_filters: [inspector],
          filter_chains: [{ filters: [sni, tcpProxyFilter({ cluster: 'any' })] }],
        },
      ],
      clusters: [cluster({ dns_cache_config: cache() })],
    },
  })
  cleanup.push(() => proxy.stop())
  const socket = tls.connect({ port: proxy.port('in'), servername: 'one.test', rejectUnauthorized: false })
  let text = ''
  socket.on('data', (data) => {
    text += data.toString()
  })
  await new Promise((resolve) => socket.on('close', resolve))
  expect(text).toBe('hello')
  expect(dns.queries).toEqual(['one.test/1'])
})
