import { describe, expect, test } from 'vitest'
import type { HttpConnectionManager } from '#gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import type { ProxyContext } from '../src/proxy/context.ts'
import { Problems } from '../src/proxy/http/config.ts'
import { ExchangeInfo } from '../src/proxy/http/exchange-info.ts'
import { compileHcmConfig } from '../src/proxy/http/hcm-config.ts'
import { headerName, RequestHead } from '../src/proxy/http/headers.ts'
import { mutateRequest } from '../src/proxy/http/request-mutation.ts'
import type { CertificateInfo, ConnectionInfo, TlsInfo } from '../src/proxy/listener/connection.ts'
import { SystemRuntime } from '../src/runtime-system.ts'
import { readJson } from '../src/xds/json.ts'

const context = {
  runtime: new SystemRuntime(),
  node: { id: 'n', cluster: 'c', metadata: { INSTANCE_IPS: '10.9.9.9' } },
} as unknown as ProxyContext

const certificate: CertificateInfo = {
  uriSans: ['spiffe://td/ns/a/sa/b'],
  dnsSans: ['a.test', 'b.test'],
  ipSans: [],
  emailSans: [],
  subject: 'CN=x,O=y',
  issuer: '',
  serial: '1',
  sha256: 'ab'.repeat(32),
  sha1: '',
  pem: 'P E+M',
  chainPem: 'C',
  validFrom: new Date(0),
  validTo: new Date(0),
}

function connection(remote: string, peer?: CertificateInfo): ConnectionInfo {
  const local = { ...certificate, uriSans: ['spiffe://td/me'] }
  const tls: TlsInfo | undefined = peer && {
    version: 'TLSv1.3',
    cipher: '',
    sni: '',
    alpn: '',
    sessionId: '',
    peer,
    local,
  }
  const address = { ip: remote, port: 5000 }
  return {
    id: 1,
    remote: address,
    directRemote: address,
    local: { ip: '10.0.0.2', port: 80 },
    sni: '',
    tls,
    transportFailure: undefined,
  }
}

interface Mutated {
  readonly headers: Record<string, string>
  readonly trusted: string
  readonly internal: boolean
  readonly scheme: string
}

function mutate(hcm: object, headers: Record<string, string>, from = connection('10.0.0.1')): Mutated {
  const message = readJson('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: 'h',
    ...hcm,
  } as never) as HttpConnectionManager
  const problems = new Problems()
  const config = compileHcmConfig(message, context, problems)
  expect(problems.errors).toEqual([])
  const head = RequestHead.create('GET', '/', 'svc.test')
  for (const [name, value] of Object.entries(headers)) head.add(headerName(name), value)
  const info = new ExchangeInfo(from)
  const internal = mutateRequest(head, config, from, info, [headerName('x-own-internal')])
  const out: Record<string, string> = {}
  head.forEach((name, value) => {
    out[name] = name in out ? `${out[name]} | ${value}` : value
  })
  if (typeof internal !== 'boolean') throw new Error(`refused with ${internal.status}`)
  return { headers: out, trusted: info.trustedClientIp, internal, scheme: head.scheme }
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const edge = { use_remote_address: true }

describe('hop by hop', () => {
  test('connection, keep-alive and their like are removed', () => {
    const { headers } = mutate(
      {},
      {
        connection: 'keep-alive',
        'keep-alive': '5',
        'proxy-connection': 'x',
        'transfer-encoding': 'chunked',
        upgrade: 'h2c',
      },
    )
    expect(Object.keys(headers)).toEqual(['x-forwarded-proto', 'x-request-id'])
  })
  test('an upgrade keeps connection and upgrade', () => {
    const { headers } = mutate({}, { connection: 'keep-alive, Upgrade', upgrade: 'websocket' })
    expect(headers).toMatchObject({ connection: 'keep-alive, Upgrade', upgrade: 'websocket' })
  })
  test.each([
    ['gzip', undefined],
    ['trailers', 'trailers'],
    ['deflate, trailers', 'trailers'],
    ['deflate, trailers;q=0.5', undefined],
    ['', ''],
  ])('te: %s', (given, kept) => {
    expect(mutate({}, { te: given }).headers.te).toBe(kept)
  })
  test.each([
    ['http://u:p@h/x', false],
    ['http://h/x#f', false],
    ['/rel#f', false],
    ['http://h/ok?q', true],
    ['/rel', true],
    ['rel,other', true],
    ['a:b', false],
    ['a"b', false],
  ])('referer %s', (referer, kept) => {
    expect('referer' in mutate({}, { referer }).headers).toBe(kept)
  })
})

describe('x-forwarded-for and -proto', () => {
  test('a sidecar leaves the list and trusts its right end', () => {
    const { headers, trusted } = mutate({}, { 'x-forwarded-for': '1.1.1.1, 2.2.2.2' })
    expect(headers['x-forwarded-for']).toBe('1.1.1.1, 2.2.2.2')
    expect(trusted).toBe('2.2.2.2')
  })
  test('an entry that is no bare address means the peer', () => {
    expect(mutate({}, { 'x-forwarded-for': '1.2.3.4:99' }).trusted).toBe('10.0.0.1')
  })
  test('the port is told at an edge and behind one, where a port that was told stands', () => {
    const port = { append_x_forwarded_port: true }
    expect(mutate(port, {}).headers['x-forwarded-port']).toBe('80')
    expect(mutate(port, { 'x-forwarded-port': '9' }).headers['x-forwarded-port']).toBe('9')
    expect(mutate({ ...edge, ...port }, { 'x-forwarded-port': '9' }).headers['x-forwarded-port']).toBe('80')
  })
  test('a sidecar keeps the protocol it is told', () => {
    expect(mutate({}, { 'x-forwarded-proto': 'https' })).toMatchObject({
      headers: { 'x-forwarded-proto': 'https' },
      scheme: 'https',
    })
  })
  test('an edge appends the peer and sets the protocol', () => {
    const { headers, trusted } = mutate(edge, { 'x-forwarded-for': '1.2.3.4', 'x-forwarded-proto': 'https' })
    expect(headers['x-forwarded-for']).toBe('1.2.3.4,10.0.0.1')
    expect(headers['x-forwarded-proto']).toBe('http')
    expect(headers['x-envoy-external-address']).toBe('10.0.0.1')
    expect(trusted).toBe('10.0.0.1')
  })
  test('an edge names itself for a peer on loopback', () => {
    expect(mutate(edge, {}, connection('127.0.0.1')).headers['x-forwarded-for']).toBe('10.9.9.9')
  })
  test('an edge with trusted hops looks further left and keeps the protocol', () => {
    const hcm = { ...edge, xff_num_trusted_hops: 2 }
    const { headers, trusted } = mutate(hcm, { 'x-forwarded-for': '1.1.1.1, 2.2.2.2', 'x-forwarded-proto': 'https' })
    expect(trusted).toBe('1.1.1.1')
    expect(headers['x-forwarded-proto']).toBe('https')
  })
  test('skip_xff_append and append_x_forwarded_port', () => {
    const hcm = { ...edge, skip_xff_append: true, append_x_forwarded_port: true }
    const { headers } = mutate(hcm, {})
    expect('x-forwarded-for' in headers).toBe(false)
    expect(headers['x-forwarded-port']).toBe('80')
  })
})

describe('who may say what', () => {
  const claims = {
    'x-envoy-retry-on': '5xx',
    'x-envoy-original-path': '/x',
    'x-own-internal': '1',
    'x-envoy-internal': 'true',
  }
  test('a sidecar strips retry headers and lets the others pass', () => {
    const { headers } = mutate({}, claims)
    expect(headers['x-envoy-original-path']).toBe('/x')
    for (const name of ['x-envoy-retry-on', 'x-own-internal', 'x-envoy-internal']) expect(name in headers).toBe(false)
  })
  test('an edge strips them all', () => {
    expect(Object.keys(mutate(edge, claims).headers)).not.toContain('x-envoy-original-path')
  })
  test('an internal caller is believed', () => {
    const hcm = { ...edge, internal_address_config: { cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] } }
    const { headers, internal } = mutate(hcm, claims)
    expect(internal).toBe(true)
    expect(headers).toMatchObject({ 'x-envoy-retry-on': '5xx', 'x-envoy-internal': 'true', 'x-own-internal': '1' })
    expect('x-envoy-external-address' in headers).toBe(false)
  })
})

describe('x-request-id', () => {
  test.each([
    ['absent', {}, {}, UUID],
    ['empty', {}, { 'x-request-id': '' }, UUID],
    ['given to a sidecar', {}, { 'x-request-id': 'mine' }, /^mine$/],
    ['given to an edge', edge, { 'x-request-id': 'mine' }, UUID],
    [
      'given to an edge that keeps it',
      { ...edge, preserve_external_request_id: true },
      { 'x-request-id': 'mine' },
      /^mine$/,
    ],
  ])('%s', (_name, hcm, headers, expected) => {
    expect(mutate(hcm, headers as Record<string, string>).headers['x-request-id']).toMatch(expected)
  })
  test('not made when told so', () => {
    expect('x-request-id' in mutate({ generate_request_id: false }, {}).headers).toBe(false)
  })
})

describe('x-forwarded-client-cert', () => {
  const details = { set_current_client_cert_details: { subject: true, uri: true, dns: true } }
  const own = `By=spiffe://td/me;Hash=${'ab'.repeat(32)};Subject="CN=x,O=y";URI=spiffe://td/ns/a/sa/b;DNS=a.test;DNS=b.test`
  const given = { 'x-forwarded-client-cert': 'By=old' }
  const peer = connection('10.0.0.1', certificate)
  const plain = connection('10.0.0.1')
  test.each([
    ['SANITIZE', peer, undefined],
    ['FORWARD_ONLY', peer, 'By=old'],
    ['FORWARD_ONLY', plain, undefined],
    ['APPEND_FORWARD', peer, `By=old,${own}`],
    ['APPEND_FORWARD', plain, undefined],
    ['SANITIZE_SET', peer, own],
    ['SANITIZE_SET', plain, undefined],
    ['ALWAYS_FORWARD_ONLY', plain, 'By=old'],
  ])('%s %#', (mode, from, expected) => {
    const { headers } = mutate({ forward_client_cert_details: mode, ...details }, given, from)
    expect(headers['x-forwarded-client-cert']).toBe(expected)
  })
  test('a certificate without a URI has an empty one, and PEMs are encoded', () => {
    const from = connection('10.0.0.1', { ...certificate, uriSans: [], dnsSans: [] })
    const hcm = {
      forward_client_cert_details: 'SANITIZE_SET',
      set_current_client_cert_details: { cert: true, uri: true },
    }
    expect(mutate(hcm, {}, from).headers['x-forwarded-client-cert']).toBe(
      `By=spiffe://td/me;Hash=${'ab'.repeat(32)};Cert="P%20E%2BM";URI=`,
    )
  })
})

test('via is appended, the node named when asked', () => {
  expect(mutate({ via: 'me' }, { via: '1.1 x' }).headers.via).toBe('1.1 x, me')
  expect(mutate({ add_user_agent: true }, {}).headers).toMatchObject({
    'user-agent': 'c',
    'x-envoy-downstream-service-node': 'n',
  })
})
