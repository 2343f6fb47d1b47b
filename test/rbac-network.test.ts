import tls from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Identity, makeAuthority, makeIdentity, makeSelfSigned } from './support/certificates.ts'
import {
  Client,
  echoServer,
  type RunningProxy,
  socketAddress,
  startProxy,
  staticCluster,
  tcpProxyFilter,
} from './support/proxy.ts'

const RBAC = 'type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC'
const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext'
const MTLS = 'type.googleapis.com/envoy.extensions.rbac.principals.mtls_authenticated.v3.Config'
const ANY = [{ any: true }]

/** Rules with one policy. */
const rules = (principal: object = { any: true }, more: { action?: string; condition?: object } = {}) => {
  const { action = 'ALLOW', condition } = more
  return { action, policies: { p: { permissions: ANY, principals: [principal], condition } } }
}
const named = (matcher: object) => ({ authenticated: { principal_name: matcher } })

describe('RBAC on connections', () => {
  let proxy: RunningProxy | undefined
  let echo: Awaited<ReturnType<typeof echoServer>>
  let authority: Identity
  let server: Identity
  const clients: Record<string, Identity | undefined> = {}
  beforeAll(async () => {
    echo = await echoServer('')
    authority = await makeAuthority('CN=ca')
    const make = (subject: string, sans: Parameters<typeof makeIdentity>[2]) => makeIdentity(authority, subject, sans)
    server = await make('CN=server', [{ type: 'dns', value: 'server.test' }])
    clients.uri = await make('CN=u', [{ type: 'url', value: 'spiffe://td/ns/a/sa/x' }])
    clients.two = await make('CN=t', [
      { type: 'url', value: 'spiffe://td/ns/a/sa/y' },
      { type: 'url', value: 'https://second/' },
    ])
    clients.dns = await make('CN=d', [{ type: 'dns', value: 'a.example.com' }])
    clients.subject = await make('CN=only subject', [])
    clients.alien = await makeSelfSigned('CN=alien', [{ type: 'url', value: 'spiffe://td/ns/a/sa/x' }])
    clients.nobody = undefined
  })
  afterEach(() => proxy?.stop())
  afterAll(() => echo.close())

  async function start(config: object, secure = false, trust: object = {}): Promise<void> {
    const tlsContext = {
      common_tls_context: {
        tls_certificates: [
          { certificate_chain: { inline_string: server.cert }, private_key: { inline_string: server.key } },
        ],
        validation_context: { trusted_ca: { inline_string: authority.cert }, ...trust },
      },
    }
    const filters = [
      { name: 'rbac', typed_config: { '@type': RBAC, stat_prefix: 's.', ...config } },
      tcpProxyFilter({ cluster: 'echo' }),
    ]
    const transport_socket = secure ? { name: 'tls', typed_config: { '@type': TLS, ...tlsContext } } : undefined
    proxy = await startProxy({
      static_resources: {
        listeners: [{ name: 'l', address: socketAddress(0), filter_chains: [{ filters, transport_socket }] }],
        clusters: [staticCluster('echo', echo.port)],
      },
    })
  }

  /** Whether a TLS client with the certificate of that name gets an answer. */
  const passes = (name: string) =>
    new Promise<boolean>((resolve) => {
      const { key, cert } = clients[name] ?? {}
      const socket = tls.connect({ port: proxy!.port('l'), rejectUnauthorized: false, key, cert }, () =>
        socket.write('x'),
      )
      socket.on('data', () => {
        resolve(true)
        socket.destroy()
      })
      socket.on('error', () => {})
      socket.on('close', () => resolve(false))
    })
  const ask = async (...names: string[]) => {
    const out: string[] = []
    for (const name of names) if (await passes(name)) out.push(name)
    return out
  }
  const all = ['uri', 'two', 'dns', 'subject', 'nobody']

  test.each([
    ['anyone over TLS', { authenticated: {} }, all],
    ['a URI SAN', named({ exact: 'spiffe://td/ns/a/sa/x' }), ['uri']],
    ['any of several URI SANs', named({ exact: 'https://second/' }), ['two']],
    ['a DNS SAN', named({ suffix: '.example.com' }), ['dns']],
    ['the subject, whatever SANs there are', named({ prefix: 'CN=' }), ['uri', 'two', 'dns', 'subject']],
    ['nobody by name', { not_id: named({ safe_regex: { regex: '.+' } }) }, ['nobody']],
    ['an empty name, which those without a certificate have', named({ safe_regex: { regex: '.*' } }), all],
  ])('principal: %s', async (_what, principal, expected) => {
    await start({ rules: rules(principal) }, true)
    expect(await ask(...all)).toEqual(expected)
  })

  test('a certificate that was verified, with a SAN of a kind', async () => {
    const custom = (config: object) => ({ custom: { name: 'x', typed_config: { '@type': MTLS, ...config } } })
    await start({ rules: rules(custom({ any_validated_client_certificate: true })) }, true)
    expect(await ask(...all)).toEqual(['uri', 'two', 'dns', 'subject'])
    await proxy!.stop()
    const san_matcher = { san_type: 'URI', matcher: { prefix: 'spiffe://' } }
    await start({ rules: rules(custom({ san_matcher })) }, true, { trust_chain_verification: 'ACCEPT_UNTRUSTED' })
    expect(await ask(...all, 'alien')).toEqual(['uri', 'two'])
    await proxy!.stop()
    await expect(start({ rules: rules(custom({})) }, true)).rejects.toThrow(
      'At least one configuration field must be set',
    )
  })

  test('a condition in CEL on the connection', async () => {
    const field = { select_expr: { operand: { ident_expr: { name: 'connection' } }, field: 'mtls' } }
    await start({ rules: rules({ any: true }, { condition: field }) }, true)
    expect(await ask(...all)).toEqual(['uri', 'two', 'dns', 'subject'])
  })

  test('a tree by the URI SAN', async () => {
    const extension = (type: string, config = {}) => ({
      name: type,
      typed_config: { '@type': `type.googleapis.com/${type}`, ...config },
    })
    const action = extension('envoy.config.rbac.v3.Action', { name: 'x' })
    const input = extension('envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput')
    const map = { 'spiffe://td/ns/a/sa/y,https://second/': { action } }
    await start({ matcher: { matcher_tree: { input, exact_match_map: { map } } } }, true)
    expect(await ask(...all)).toEqual(['two'])
    await proxy!.stop()
    const header = extension('envoy.type.matcher.v3.HttpRequestHeaderMatchInput', { header_name: 'a' })
    await expect(start({ matcher: { matcher_tree: { input: header, exact_match_map: { map } } } })).rejects.toThrow(
      "RBAC network filter cannot match 'type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput'",
    )
  })

  test('asks once, or at each read', async () => {
    const talk = async (enforcement_type: string) => {
      await start({ rules: rules(), enforcement_type, shadow_rules: rules({ any: true }, { action: 'DENY' }) })
      const client = new Client(proxy!.port('l'))
      client.write('a')
      await client.receives('a')
      client.write('b')
      await client.receives('ab')
      client.destroy()
      const counts = [proxy!.counter('s.rbac.allowed'), proxy!.counter('s.rbac.shadow_denied')]
      await proxy!.stop()
      return counts
    }
    expect(await talk('ONE_TIME_ON_FIRST_BYTE')).toEqual([1, 1])
    expect(await talk('CONTINUOUS')).toEqual([2, 2])
  })

  test('a refused connection may be left waiting before it is closed', async () => {
    await start({ rules: rules({ any: true }, { action: 'DENY' }), delay_deny: '0.2s' })
    const client = new Client(proxy!.port('l'))
    const begun = performance.now()
    client.write('a')
    await client.ended
    expect(performance.now() - begun).toBeGreaterThanOrEqual(190)
    expect(client.text).toBe('')
    expect(proxy!.counter('s.rbac.denied')).toBe(1)
  })

  test('headers are nothing that it could look at', async () => {
    const header = { header: { name: 'x-a', present_match: true } }
    await expect(start({ rules: rules({ not_id: { or_ids: { ids: [header] } } }) })).rejects.toThrow(
      'Found header(name: "x-a") rule,not supported by RBAC network filter',
    )
  })

  test('headers are found however deep in permissions they are', async () => {
    const header = { header: { name: 'x-a', present_match: true } }
    for (const permission of [{ not_rule: header }, { and_rules: { rules: [{ not_rule: { not_rule: header } }] } }]) {
      const policies = { p: { permissions: [permission], principals: [{ any: true }] } }
      await expect(start({ rules: { action: 'DENY', policies } })).rejects.toThrow('Found header(name: "x-a") rule')
    }
  })
})
