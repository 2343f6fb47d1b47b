import tls from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import type { Secret } from '#gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { Ca, type Identity } from '../src/ca/ca.ts'
import { SystemRuntime } from '../src/runtime-system.ts'
import { readJson } from '../src/xds/json.ts'
import {
  Client,
  echoServer,
  eventually,
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

const ca = new Ca({ runtime: new SystemRuntime() })
const server = ca.identityFor('spiffe://cluster.local/ns/default/sa/server')
const client = ca.identityFor('spiffe://cluster.local/ns/default/sa/client')

const certificate = (identity: Identity) => ({
  certificate_chain: { inline_string: identity.certChainPem },
  private_key: { inline_string: identity.privateKeyPem },
})

const downstreamTls = (common: object, more: object = {}) => ({
  name: 'envoy.transport_sockets.tls',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
    common_tls_context: common,
    ...more,
  },
})

async function tlsProxy(transportSocket: object, more: object = {}): Promise<RunningProxy> {
  const upstream = await echoServer('secure;')
  cleanup.push(() => upstream.close())
  const proxy = await startProxy({
    static_resources: {
      clusters: [staticCluster('c', upstream.port)],
      listeners: [
        {
          name: 'l',
          address: socketAddress(0),
          filter_chains: [tcpChain('c', { transport_socket: transportSocket })],
          ...more,
        },
      ],
    },
  })
  cleanup.push(() => proxy.stop())
  return proxy
}

interface Handshake {
  socket: tls.TLSSocket
  text: () => string
  closed: Promise<void>
}

function handshake(port: number, options: tls.ConnectionOptions = {}): Handshake {
  const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options })
  cleanup.push(() => socket.destroy())
  let text = ''
  socket.on('data', (data) => {
    text += data
  })
  socket.on('error', () => {})
  return { socket, text: () => text, closed: new Promise((resolve) => socket.once('close', () => resolve())) }
}

const mutual = {
  tls_certificates: [certificate(server)],
  validation_context: {
    trusted_ca: { inline_string: ca.rootPem },
    match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: client.spiffeId } }],
  },
}
const present = (identity: Identity) => ({ cert: identity.certChainPem, key: identity.privateKeyPem })

describe('TLS is ended at the listener', () => {
  test('with a static certificate, ALPN by the order of the listener, and bytes pass both ways', async () => {
    const proxy = await tlsProxy(
      downstreamTls({ tls_certificates: [certificate(server)], alpn_protocols: ['h2', 'http/1.1'] }),
    )
    const c = handshake(proxy.port('l'), { ALPNProtocols: ['http/1.1', 'h2'] })
    await eventually(() => c.text() === 'secure;')
    expect(c.socket.alpnProtocol).toBe('h2')
    expect(c.socket.getPeerX509Certificate()?.subjectAltName).toBe(`URI:${server.spiffeId}`)
    c.socket.write('ping')
    await eventually(() => c.text() === 'secure;ping')
    expect(proxy.counter('listener.127.0.0.1_0.ssl.handshake')).toBe(1)
    expect(proxy.counter('listener.127.0.0.1_0.ssl.no_certificate')).toBe(1)
    c.socket.destroy()
    await eventually(() => proxy.counter('listener.127.0.0.1_0.downstream_cx_active') === 0)
  })

  test('after an inspector has read the ClientHello', async () => {
    const proxy = await tlsProxy(downstreamTls({ tls_certificates: [certificate(server)] }), {
      listener_filters: [
        {
          name: 'envoy.filters.listener.tls_inspector',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector',
          },
        },
      ],
    })
    const c = handshake(proxy.port('l'), { servername: 'a.test' })
    await eventually(() => c.text() === 'secure;')
  })
})

describe('mutual TLS', () => {
  test('takes a client with the right name', async () => {
    const proxy = await tlsProxy(downstreamTls(mutual, { require_client_certificate: true }))
    const c = handshake(proxy.port('l'), present(client))
    await eventually(() => c.text() === 'secure;')
  })

  test.each<[string, () => tls.ConnectionOptions, string]>([
    ['without a certificate', () => ({}), 'fail_verify_no_cert'],
    ['with another name', () => present(server), 'fail_verify_san'],
    [
      'of another root',
      () => present(new Ca({ runtime: new SystemRuntime() }).identityFor(client.spiffeId)),
      'fail_verify_error',
    ],
  ])('refuses a client %s', async (_who, options, counter) => {
    const proxy = await tlsProxy(downstreamTls(mutual, { require_client_certificate: true }))
    const c = handshake(proxy.port('l'), options())
    await c.closed
    expect(c.text()).toBe('')
    await eventually(() => proxy.counter(`listener.127.0.0.1_0.ssl.${counter}`) === 1)
  })

  test('counts plaintext as a connection error', async () => {
    const proxy = await tlsProxy(downstreamTls(mutual))
    const plain = new Client(proxy.port('l'))
    cleanup.push(() => plain.destroy())
    plain.write('GET / HTTP/1.1\r\n\r\n')
    await plain.ended
    await eventually(() => proxy.counter('listener.127.0.0.1_0.ssl.connection_error') === 1)
  })
})

test('a listener warms until its secrets come by SDS, and a rotated certificate serves the next connection', async () => {
  const upstream = await echoServer('secure;')
  cleanup.push(() => upstream.close())
  const proxy = await startProxy({ static_resources: { clusters: [staticCluster('c', upstream.port)] } })
  cleanup.push(() => proxy.stop())
  const sds = { name: 'default', sds_config: { ads: {} } }
  proxy.server.listeners.addOrUpdate(
    readJson('envoy.config.listener.v3.Listener', {
      name: 'l',
      address: socketAddress(0),
      filter_chains: [
        tcpChain('c', { transport_socket: downstreamTls({ tls_certificate_sds_secret_configs: [sds] }) }),
      ],
    }),
    '1',
    true,
  )
  const secret = (identity: Identity): Secret =>
    readJson('envoy.extensions.transport_sockets.tls.v3.Secret', {
      name: 'default',
      tls_certificate: certificate(identity),
    })
  expect(proxy.server.secrets.wanted).toEqual(['default'])
  expect(proxy.server.listeners.all()[0]!.active).toBeUndefined()

  proxy.server.secrets.set(secret(server), '1')
  await eventually(() => proxy.server.listeners.all()[0]!.active !== undefined)
  const first = handshake(proxy.port('l'))
  await eventually(() => first.text() === 'secure;')

  proxy.server.secrets.set(secret(client), '2')
  const second = handshake(proxy.port('l'))
  await eventually(() => second.text() === 'secure;')
  expect(second.socket.getPeerX509Certificate()?.subjectAltName).toBe(`URI:${client.spiffeId}`)
  first.socket.write('still')
  await eventually(() => first.text() === 'secure;still')

  const certs = JSON.parse((await proxy.admin('/certs')).body)
  expect(certs.certificates[0].cert_chain[0].subject_alt_names).toEqual([{ uri: client.spiffeId }])
  const dump = JSON.parse((await proxy.admin('/config_dump?resource=dynamic_active_secrets')).body)
  expect(dump.configs[0].secret.tls_certificate.private_key.inline_string).toBe('[redacted]')
})
