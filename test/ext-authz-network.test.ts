import tls from 'node:tls'
import { afterEach, expect, test } from 'vitest'
import { makeAuthority, makeIdentity } from './support/certificates.ts'
import { Authorizer, type CheckAnswer, grpcService, overHttp2 } from './support/ext-authz.ts'
import {
  Client,
  echoServer,
  eventually,
  httpFilter,
  type RunningProxy,
  socketAddress,
  startProxy,
  staticCluster,
  tcpProxyFilter,
} from './support/proxy.ts'

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
})

/** A TCP proxy to an echo server, or another last filter, that asks first. */
async function asking(
  answers: CheckAnswer[],
  config: object = {},
  before: object[] = [],
  transport_socket?: object,
  last: object = tcpProxyFilter({ cluster: 'echo' }),
) {
  const auth = await Authorizer.start(...answers)
  const echo = await echoServer('')
  const filter = {
    name: 'envoy.filters.network.ext_authz',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz',
      stat_prefix: 'e',
      grpc_service: grpcService(),
      transport_api_version: 'V3',
      ...config,
    },
  }
  const proxy: RunningProxy = await startProxy({
    node: { id: 'n', cluster: 'c', metadata: { labels: { app: 'db' } } },
    static_resources: {
      clusters: [staticCluster('echo', echo.port), staticCluster('auth', auth.port, overHttp2)],
      listeners: [
        {
          name: 'l',
          address: socketAddress(0),
          filter_chains: [{ filters: [...before, filter, last], transport_socket }],
        },
      ],
    },
  })
  cleanup.push(
    () => auth.stop(),
    () => echo.close(),
    () => proxy.stop(),
  )
  const client = new Client(proxy.port('l'))
  cleanup.push(() => client.destroy())
  return { auth, proxy, client }
}

test('a connection waits for its permission, and loses nothing', async () => {
  const { auth, proxy, client } = await asking([{ check: {} }], { bootstrap_metadata_labels_key: 'labels' })
  client.write('hello')
  await client.receives('hello')
  const { source, destination, request } = auth.last.attributes!
  expect(source!.address!.address).toMatchObject({ case: 'socketAddress', value: { address: '127.0.0.1' } })
  expect([destination!.labels, request]).toEqual([{ app: 'db' }, undefined])
  client.write(' again')
  await client.receives('hello again')
  expect(auth.checks).toHaveLength(1)
  expect([proxy.counter('ext_authz.e.ok'), proxy.counter('ext_authz.e.total')]).toEqual([1, 1])
})

test('one that is refused is closed without a word', async () => {
  const { proxy, client } = await asking([{ check: { status: { code: 7 } } }])
  client.write('hello')
  await client.ended
  expect(client.text).toBe('') // an echo, had it come through
  expect([proxy.counter('ext_authz.e.denied'), proxy.counter('ext_authz.e.cx_closed')]).toEqual([1, 1])
})

test('a failing authorizer closes, or lets pass where that is allowed', async () => {
  const shut = await asking([{ fails: 14 }])
  shut.client.write('hello')
  await shut.client.ended
  expect([shut.client.text, shut.proxy.counter('ext_authz.e.error')]).toEqual(['', 1])
  const open = await asking([{ fails: 14 }], { failure_mode_allow: true })
  open.client.write('hello')
  await open.client.receives('hello')
  expect(open.proxy.counter('ext_authz.e.failure_mode_allowed')).toBe(1)
})

test('a hanging authorizer is not waited for beyond its time', async () => {
  const { proxy, client } = await asking(['hangs'], { grpc_service: grpcService({ timeout: '0.05s' }) })
  client.write('hello')
  await client.ended
  expect([client.text, proxy.counter('ext_authz.e.error')]).toEqual(['', 1])
})

const patient = { grpc_service: grpcService({ timeout: '60s' }) }

test.each([
  ['a TCP proxy', 'with a reset', undefined, (client: Client) => client.socket.resetAndDestroy()],
  ['HTTP', 'with a reset', httpFilter(''), (client: Client) => client.socket.resetAndDestroy()],
  ['HTTP', 'with the end of its data', httpFilter(''), (client: Client) => client.socket.end()],
])('a client of %s that leaves meanwhile %s takes its call along', async (_what, _how, last, go) => {
  const { auth, proxy, client } = await asking(['hangs'], patient, [], undefined, last)
  client.write('hello')
  await eventually(() => auth.checks.length === 1)
  expect(proxy.counter('ext_authz.e.active')).toBe(1)
  go(client)
  await eventually(() => auth.cancelled === 1)
  expect(['active', 'error', 'cx_closed'].map((name) => proxy.counter(`ext_authz.e.${name}`))).toEqual([0, 0, 0])
  await client.ended
  expect([proxy.counter('listener.l.downstream_cx_active'), client.text]).toEqual([0, ''])
})

test('a client of a TCP proxy that has no more to say waits for the answer', async () => {
  const { auth, proxy, client } = await asking(['hangs', { check: {} }], patient)
  client.socket.end('hello')
  await eventually(() => auth.checks.length === 1)
  const other = new Client(proxy.port('l'))
  cleanup.push(() => other.destroy())
  other.socket.end('bye')
  await other.ended
  expect([other.text, proxy.counter('ext_authz.e.ok'), proxy.counter('ext_authz.e.active')]).toEqual(['bye', 1, 1])
})

test('nobody asks about an HTTP client that leaves without a word', async () => {
  const { auth, proxy, client } = await asking([{ check: {} }], {}, [], undefined, httpFilter(''))
  client.socket.end()
  await client.ended
  expect([auth.checks.length, proxy.counter('ext_authz.e.total')]).toEqual([0, 0])
})

test('only connections that an RBAC filter has picked are asked about', async () => {
  const rbac = (action: object) => ({
    name: 'envoy.filters.network.rbac',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC',
      stat_prefix: 'r',
      shadow_rules: { policies: { 'istio-ext-authz-p': { permissions: [action], principals: [{ any: true }] } } },
      shadow_rules_stat_prefix: 'istio_ext_authz_',
    },
  })
  const enabled = {
    filter: 'envoy.filters.network.rbac',
    path: [{ key: 'istio_ext_authz_shadow_effective_policy_id' }],
    value: { string_match: { prefix: 'istio-ext-authz' } },
  }
  const no = { check: { status: { code: 7 } } }
  const picked = await asking([no], { filter_enabled_metadata: enabled }, [rbac({ any: true })])
  picked.client.write('hello')
  await picked.client.ended
  expect(picked.client.text).toBe('')
  const other = await asking([no], { filter_enabled_metadata: enabled }, [rbac({ destination_port: 1 })])
  other.client.write('hello')
  await other.client.receives('hello')
  expect([other.auth.checks.length, other.proxy.counter('ext_authz.e.disabled')]).toEqual([0, 1])
})

test('the certificate of a client is shown only where that is switched on', async () => {
  const authority = await makeAuthority('CN=ca')
  const server = await makeIdentity(authority, 'CN=server', [{ type: 'dns', value: 'server.test' }])
  const { key, cert } = await makeIdentity(authority, 'CN=client', [{ type: 'url', value: 'spiffe://td/c' }])
  const socket = {
    name: 'tls',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
      common_tls_context: {
        tls_certificates: [
          { certificate_chain: { inline_string: server.cert }, private_key: { inline_string: server.key } },
        ],
        validation_context: { trusted_ca: { inline_string: authority.cert } },
      },
    },
  }
  const shown = async (config: object) => {
    const { auth, proxy } = await asking([{ check: {} }], config, [], socket)
    const client = tls.connect({ port: proxy.port('l'), rejectUnauthorized: false, key, cert })
    cleanup.push(() => client.destroy())
    client.write('x')
    await new Promise((resolve, reject) => client.once('data', resolve).once('error', reject))
    return decodeURIComponent(auth.last.attributes!.source!.certificate)
  }
  expect(await shown({})).toBe('')
  expect(await shown({ include_peer_certificate: true })).toContain(cert.trim())
})

test('in shadow mode nobody is turned away, and the refusal is counted', async () => {
  const { proxy, client } = await asking([{ check: { status: { code: 7 } } }], { shadow_mode: true })
  client.write('hello')
  await client.receives('hello')
  expect(proxy.counter('ext_authz.e.denied')).toBe(1)
})
