import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import tls from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { readSecretFile } from '../src/proxy/tls/secret-files.ts'
import { SecretStore } from '../src/proxy/tls/secrets.ts'
import { make } from '../src/xds/messages.ts'
import { makeAuthority } from './support/certificates.ts'
import { startPlane, type TestPlane } from './support/control-plane.ts'
import { type RunningProxy, socketAddress, startProxy } from './support/proxy.ts'

// Where a proxy of another process gets its secrets and its configuration from, as istio-agent's bootstraps say it.

const HTTPBIN = 'spiffe://cluster.local/ns/default/sa/httpbin'
const NODE = { id: 'sidecar~10.1.0.1~httpbin-1.default~default.svc.cluster.local', cluster: 'httpbin' }
const objects = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: httpbin}
---
apiVersion: v1
kind: Service
metadata: {name: httpbin}
spec: {selector: {app: httpbin}, ports: [{name: http, port: 8000}]}
---
apiVersion: v1
kind: Pod
metadata: {name: httpbin-1, labels: {app: httpbin}}
spec:
  serviceAccountName: httpbin
  containers: [{name: app, image: app}]
status: {podIP: 10.1.0.1}
`
const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3'

let plane: TestPlane
let dir = ''
let socket = ''
const cleanup: (() => unknown)[] = []
beforeAll(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-sources-'))
  socket = path.join(dir, 'socket')
  plane = await startPlane(objects, { tlsAddress: { host: '127.0.0.1', port: 0 }, sdsSocket: socket })
  fs.writeFileSync(path.join(dir, 'root.pem'), plane.plane.ca.rootPem)
  const token = plane.plane.accounts.issue({ namespace: 'default', name: 'httpbin', audiences: ['istio-ca'] })
  fs.writeFileSync(path.join(dir, 'token'), `${token}\n`)
})
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step()
})
afterAll(async () => {
  await plane.close()
  fs.rmSync(dir, { recursive: true, force: true })
})

const cluster = (name: string, address: object, more: object = {}) => ({
  name,
  type: 'STATIC',
  connect_timeout: '1s',
  load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] },
  ...more,
})
const agent = () => cluster('sds-grpc', { pipe: { path: socket } })
const fromAgent = (more: object = {}) => ({
  api_config_source: {
    api_type: 'GRPC',
    transport_api_version: 'V3',
    set_node_on_first_message_only: true,
    grpc_services: [{ envoy_grpc: { cluster_name: 'sds-grpc' } }],
    ...more,
  },
  initial_fetch_timeout: '0s',
  resource_api_version: 'V3',
})

/** A TLS listener that closes what it has accepted. */
const listener = (sdsConfig: object) => ({
  name: 'l',
  address: socketAddress(0),
  filter_chains: [
    {
      transport_socket: {
        name: 'envoy.transport_sockets.tls',
        typed_config: {
          '@type': `${TLS}.DownstreamTlsContext`,
          common_tls_context: { tls_certificate_sds_secret_configs: [{ name: 'default', sds_config: sdsConfig }] },
        },
      },
      filters: [
        {
          name: 'envoy.filters.network.direct_response',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config',
            response: { inline_string: 'hello' },
          },
        },
      ],
    },
  ],
})

async function run(bootstrap: object): Promise<RunningProxy> {
  const proxy = await startProxy({ node: NODE, ...bootstrap })
  cleanup.push(() => proxy.stop())
  return proxy
}

/** The certificate that a port shows. */
function shown(port: number): Promise<tls.PeerCertificate> {
  return new Promise((resolve, reject) => {
    const client = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, servername: 'x' }, () => {
      resolve(client.getPeerCertificate())
      client.destroy()
    })
    client.on('error', reject)
  })
}

test.each(['GRPC', 'DELTA_GRPC'])(
  'a listener serves with the certificate of its agent, and with the next one, %s',
  async (api_type) => {
    const proxy = await run({
      static_resources: { clusters: [agent()], listeners: [listener(fromAgent({ api_type }))] },
    })
    const first = await shown(proxy.port('l'))
    expect(first.subjectaltname).toBe(`URI:${HTTPBIN}`)
    plane.plane.ca.rotate()
    let next = first
    while (next.serialNumber === first.serialNumber) next = await shown(proxy.port('l'))
    expect(next.subjectaltname).toBe(`URI:${HTTPBIN}`)
    const dump = await proxy.admin('/config_dump')
    expect(dump.body).toContain('"name": "default"')
    expect(dump.body).not.toContain('PRIVATE KEY')
    expect(dump.body).not.toContain(Buffer.from('-----BEGIN PRIVATE KEY').toString('base64').slice(0, 24))
  },
)

test('a listener waits for an agent that is not there yet', async () => {
  const late = path.join(dir, 'late')
  const bootstrap = {
    static_resources: {
      clusters: [cluster('sds-grpc', { pipe: { path: late } })],
      listeners: [listener(fromAgent())],
    },
  }
  const starting = run(bootstrap)
  const { openSdsDoor } = await import('../src/mesh/doors/sds-door.ts')
  const { SystemRuntime } = await import('../src/runtime-system.ts')
  const door = await openSdsDoor(plane.plane, { socket: late }, { runtime: new SystemRuntime() })
  cleanup.push(() => door.close())
  const proxy = await starting
  await proxy.server.whenReady()
  expect((await shown(proxy.port('l'))).subjectaltname).toBe(`URI:${HTTPBIN}`)
})

const dynamic = (grpc_services: object[]) => ({
  ads_config: {
    api_type: 'DELTA_GRPC',
    transport_api_version: 'V3',
    set_node_on_first_message_only: true,
    grpc_services,
  },
  cds_config: { ads: {}, resource_api_version: 'V3' },
  // Listeners of a sidecar would take fixed ports.
})
const port = () => plane.port('tlsAddress')
const istiod = (common: object, sni = 'istiod.istio-system.svc') =>
  cluster('xds-grpc', socketAddress(port()), {
    transport_socket: {
      name: 'envoy.transport_sockets.tls',
      typed_config: { '@type': `${TLS}.UpstreamTlsContext`, sni, common_tls_context: common },
    },
  })
const named = (exact = 'istiod.istio-system.svc') => [{ san_type: 'DNS', matcher: { exact } }]
const trusted = (name?: string) => ({
  validation_context: {
    trusted_ca: { filename: path.join(dir, 'root.pem') },
    match_typed_subject_alt_names: named(name),
  },
})
const xds = [{ envoy_grpc: { cluster_name: 'xds-grpc' } }]
const known = (proxy: RunningProxy) => proxy.server.clusters.get('outbound|8000||httpbin.default.svc.cluster.local')

describe('the configuration comes over TLS', () => {
  test('to who shows the certificate of its agent', async () => {
    const sds = fromAgent()
    const proxy = await run({
      dynamic_resources: dynamic(xds),
      static_resources: {
        clusters: [
          agent(),
          istiod({
            tls_certificate_sds_secret_configs: [{ name: 'default', sds_config: sds }],
            combined_validation_context: {
              default_validation_context: { match_typed_subject_alt_names: named() },
              validation_context_sds_secret_config: { name: 'ROOTCA', sds_config: sds },
            },
          }),
        ],
      },
    })
    await proxy.server.whenReady()
    expect(known(proxy)).toBeDefined()
  })

  test('to who sends its token along', async () => {
    const token = fs.readFileSync(path.join(dir, 'token'), 'utf8').trim()
    const metadata = [{ key: 'authorization', value: `Bearer ${token}` }]
    const proxy = await run({
      dynamic_resources: dynamic([{ ...xds[0], initial_metadata: metadata }]),
      static_resources: { clusters: [agent(), istiod(trusted())] },
    })
    await proxy.server.whenReady()
    expect(known(proxy)).toBeDefined()
  })

  test('by google_grpc, with the token of a file', async () => {
    const service = {
      google_grpc: {
        target_uri: `127.0.0.1:${port()}`,
        stat_prefix: 'x',
        channel_credentials: { ssl_credentials: { root_certs: { filename: path.join(dir, 'root.pem') } } },
        channel_args: { args: { 'grpc.ssl_target_name_override': { string_value: 'istiod.istio-system.svc' } } },
        call_credentials: [
          {
            from_plugin: {
              name: 'envoy.grpc_credentials.file_based_metadata',
              typed_config: {
                '@type': 'type.googleapis.com/envoy.config.grpc_credential.v3.FileBasedMetadataConfig',
                secret_data: { filename: path.join(dir, 'token') },
                header_prefix: 'Bearer ',
              },
            },
          },
        ],
      },
    }
    const proxy = await run({ dynamic_resources: dynamic([service]), static_resources: { clusters: [agent()] } })
    await proxy.server.whenReady()
    expect(known(proxy)).toBeDefined()
  })

  test('not from a control plane of another name, nor of another root', async () => {
    const other = await startPlane(objects, { tlsAddress: { host: '127.0.0.1', port: 0 } })
    cleanup.push(() => other.close())
    fs.writeFileSync(path.join(dir, 'other.pem'), other.plane.ca.rootPem)
    for (const common of [
      trusted('somebody.else'),
      { validation_context: { trusted_ca: { filename: path.join(dir, 'other.pem') } } },
    ]) {
      const calls = plane.log.length
      const proxy = await run({
        dynamic_resources: dynamic(xds),
        static_resources: { clusters: [agent(), istiod(common)] },
      })
      while (!proxy.server.ads || proxy.counter('control_plane.connected_state') !== 0 || !failures(proxy))
        await new Promise((resolve) => setTimeout(resolve, 10))
      expect(plane.log.slice(calls).filter((line) => !line.endsWith(' ended'))).toEqual([])
    }
  })
})

/** How often the stream for clusters has failed. */
function failures(proxy: RunningProxy): number {
  proxy.server.ads?.publishStats()
  return proxy.counter('cluster_manager.cds.update_failure')
}

test.each<[string, object, string]>([
  [
    'an unknown cluster',
    fromAgent({ grpc_services: [{ envoy_grpc: { cluster_name: 'nobody' } }] }),
    "Unknown gRPC client cluster 'nobody'",
  ],
  ['REST', fromAgent({ api_type: 'REST' }), 'api_config_source.api_type: only GRPC and DELTA_GRPC are supported'],
  ['a file that is not there', { path_config_source: { path: '/nowhere/x.yaml' } }, "'/nowhere/x.yaml' does not exist"],
  ['itself', { self: {} }, 'only ads, api_config_source and path_config_source are supported'],
])('secrets from %s are refused by name', async (_, sdsConfig, message) => {
  const bootstrap = { static_resources: { clusters: [agent()], listeners: [listener(sdsConfig)] } }
  await expect(startProxy(bootstrap)).rejects.toThrow(message)
})

test.each<[string, object, string]>([
  [
    'google_default',
    { channel_credentials: { google_default: {} } },
    'channel_credentials.google_default: not supported',
  ],
  [
    'a token in the open',
    { call_credentials: [{ access_token: 'x' }] },
    'call_credentials: they need channel_credentials',
  ],
  [
    'a refresh token',
    { channel_credentials: { ssl_credentials: {} }, call_credentials: [{ google_refresh_token: 'x' }] },
    'call_credentials[0]: only access_token and from_plugin with a typed_config are supported',
  ],
])('google_grpc with %s is refused by name', async (_, more, message) => {
  const google_grpc = { target_uri: '127.0.0.1:1', stat_prefix: 'x', ...more }
  await expect(startProxy({ dynamic_resources: dynamic([{ google_grpc }]) })).rejects.toThrow(message)
})

test('a file with another secret than the one wanted, or with two, is refused', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-secret-'))
  const file = path.join(folder, 'sds.json')
  const secret = (name: string) => ({
    '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret',
    name,
    validation_context: { trusted_ca: { inline_string: 'x' } },
  })
  const read = (...names: string[]) => {
    fs.writeFileSync(file, JSON.stringify({ resources: names.map(secret) }))
    return readSecretFile(file, 'mine').secret.name
  }
  try {
    expect(read('mine')).toBe('mine')
    expect(() => read('theirs')).toThrow('Unexpected SDS secret (expecting mine): theirs')
    expect(() => read('mine', 'theirs')).toThrow('Unexpected SDS secrets length: 2')
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
})

describe('a secret that is none', () => {
  const SECRET = 'envoy.extensions.transport_sockets.tls.v3.Secret'
  const ASKED = 'envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig'
  const inline = (value: string) => ({ specifier: { case: 'inlineString', value } }) as const
  const root = (pem: string) =>
    make(SECRET, { name: 'root', type: { case: 'validationContext', value: { trustedCa: inline(pem) } } })

  test('of another kind', async () => {
    const store = new SecretStore(Date.now)
    store.addStatic(root((await makeAuthority('CN=ca')).cert), 'secrets[0]')
    expect(store.validation(make(ASKED, { name: 'root' }), 'here').current).toBeDefined()
    expect(() => store.certificate(make(ASKED, { name: 'root' }), 'here')).toThrow('secret root is of another kind')
  })

  test('a certificate without its key', async () => {
    const { cert } = await makeAuthority('CN=ca')
    const type = { case: 'tlsCertificate', value: { certificateChain: inline(cert) } } as const
    const store = new SecretStore(Date.now)
    expect(() => store.addStatic(make(SECRET, { name: 'own', type }), 'secrets[0]')).toThrow(/private.key/)
  })
})

test.each(['nonsense', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'])(
  'roots that are none (%j) are refused',
  (pem) => {
    const store = new SecretStore(() => 0)
    const roots = make('envoy.extensions.transport_sockets.tls.v3.Secret', {
      name: 'roots',
      type: {
        case: 'validationContext',
        value: { trustedCa: { specifier: { case: 'inlineString', value: pem } } },
      },
    })
    expect(() => store.set(roots, '1')).toThrow('trusted_ca: Failed to load trusted CA certificates')
  },
)
