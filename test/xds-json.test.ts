import { describe, expect, test } from 'vitest'
import { ConfigError, readJson, writeJson } from '../src/xds/json.ts'
import { make, messageIn, pack, packed, registry, unpack } from '../src/xds/messages.ts'
import { resolveTypedConfig } from '../src/xds/typed-config.ts'

const problemsOf = (read: () => unknown): string[] => {
  try {
    read()
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n')
    throw error
  }
  return []
}

describe('reading Envoy JSON', () => {
  test('field names may be snake_case or camelCase, and every kind of value has its JSON form', () => {
    const cluster = readJson('envoy.config.cluster.v3.Cluster', {
      name: 'a',
      connectTimeout: '0.25s',
      type: 'STRICT_DNS',
      lb_policy: 2,
      per_connection_buffer_limit_bytes: '32768',
      maxRequestsPerConnection: 10,
      metadata: { filter_metadata: { istio: { services: [{ host: 'a' }] } } },
      typed_extension_protocol_options: {
        x: { '@type': 'type.googleapis.com/google.protobuf.Duration', value: '2s' },
      },
      load_assignment: null,
    })
    expect(cluster).toMatchObject({
      name: 'a',
      connectTimeout: { seconds: 0n, nanos: 250_000_000 },
      clusterDiscoveryType: { case: 'type', value: 1 },
      lbPolicy: 2,
      perConnectionBufferLimitBytes: 32_768,
      maxRequestsPerConnection: 10,
      metadata: { filterMetadata: { istio: { services: [{ host: 'a' }] } } },
    })
    expect(cluster.loadAssignment).toBeUndefined()
    expect(unpack(cluster.typedExtensionProtocolOptions.x!, 'google.protobuf.Duration' as never)).toMatchObject({
      seconds: 2n,
    })
  })

  test('all problems are reported, each with its path', () => {
    const read = () =>
      readJson('envoy.config.cluster.v3.Cluster', {
        nam: 'a',
        connect_timeout: '5',
        connectTimeout: '5s',
        lb_policy: 'ROUND_ROBBIN',
        per_connection_buffer_limit_bytes: -1,
        type: 'EDS',
        cluster_type: { name: 'x' },
        respect_dns_ttl: 'yes',
        load_assignment: { endpoints: [{ lb_endpoints: { endpoint: {} } }, { priority: 1.5 }] },
        typed_extension_protocol_options: { 'a.b': { '@type': 'type.googleapis.com/foo.Bar' }, c: { d: 1 } },
      })
    expect(problemsOf(read)).toEqual([
      'nam: unknown field "nam": did you mean "name"?',
      'connect_timeout: "5" is no Duration such as "0.25s"',
      'connectTimeout: field "connect_timeout" is given twice',
      'lb_policy: unknown value "ROUND_ROBBIN": did you mean "ROUND_ROBIN"?',
      'per_connection_buffer_limit_bytes: -1 is not between 0 and 4294967295',
      'cluster_type: "cluster_type" cannot be given together with "type": both are cluster_discovery_type',
      'respect_dns_ttl: expected true or false, got "yes"',
      'load_assignment.endpoints[0].lb_endpoints: expected a list, got an object',
      'load_assignment.endpoints[1].priority: expected an integer, got 1.5',
      'typed_extension_protocol_options["a.b"].@type: unknown type "type.googleapis.com/foo.Bar"',
      'typed_extension_protocol_options.c: a typed config needs "@type"',
    ])
  })

  test.each(['xds.type.v3.TypedStruct', 'udpa.type.v1.TypedStruct'] as const)(
    'a %s stands for the type it names, and its unknown fields are refused',
    (name) => {
      const any = packed(name, {
        typeUrl: 'any.prefix/at/all/envoy.extensions.filters.http.buffer.v3.Buffer',
        value: { max_request_bytes: 1024, colour: 'red' },
      })
      const { message, problems } = resolveTypedConfig(any)
      expect(message).toMatchObject({
        $typeName: 'envoy.extensions.filters.http.buffer.v3.Buffer',
        maxRequestBytes: 1024,
      })
      expect(problems).toEqual([
        {
          path: ['value', 'colour'],
          message: 'unknown field "colour" in envoy.extensions.filters.http.buffer.v3.Buffer',
        },
      ])
    },
  )

  test("Istio's own filters are known", () => {
    const any = packed('udpa.type.v1.TypedStruct', {
      typeUrl: 'type.googleapis.com/stats.PluginConfig',
      value: { metrics: [{ tags_to_remove: ['a'] }], disable_host_header_fallback: true },
    })
    expect(resolveTypedConfig(any)).toMatchObject({ problems: [], message: { metrics: [{ tagsToRemove: ['a'] }] } })
    for (const name of [
      'io.istio.http.peer_metadata.Config',
      'istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig',
      'envoy.tcp.metadataexchange.config.MetadataExchange',
      'istio.networking.nds.v1.NameTable',
    ])
      expect(registry().getMessage(name)?.typeName).toBe(name)
    expect(registry().getService('istio.v1.auth.IstioCertificateService')!.methods[0]!.name).toBe('CreateCertificate')
  })
})

describe('writing Envoy JSON', () => {
  test('what is written reads back the same', () => {
    const json = {
      name: 'l',
      address: { socket_address: { address: '127.0.0.1', port_value: 80 } },
      filter_chains: [
        {
          filters: [
            {
              name: 'tcp',
              typed_config: {
                '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
                stat_prefix: 'x',
                weighted_clusters: { clusters: [{ name: 'a', weight: 1 }] },
                idle_timeout: '1.500s',
              },
            },
          ],
        },
      ],
      per_connection_buffer_limit_bytes: 0,
    }
    expect(writeJson(readJson('envoy.config.listener.v3.Listener', json))).toEqual(json)
  })

  test('an Any of a type that is not known is written as bytes', () => {
    const any = packed('envoy.config.core.v3.Node')
    any.typeUrl = 'type.googleapis.com/foo.Bar'
    any.value = new Uint8Array([1, 2, 3])
    const filter = make('envoy.config.listener.v3.Filter', {
      name: 'f',
      configType: { case: 'typedConfig', value: any },
    })
    expect(writeJson(filter)).toEqual({
      name: 'f',
      typed_config: { '@type': 'type.googleapis.com/foo.Bar', value: 'AQID' },
    })
  })

  test('secrets are redacted where Envoy redacts them, also in typed configs and TypedStructs', () => {
    const secret = packed('envoy.extensions.transport_sockets.tls.v3.Secret', {
      name: 'default',
      type: {
        case: 'tlsCertificate',
        value: {
          certificateChain: { specifier: { case: 'inlineString', value: 'PUBLIC' } },
          privateKey: { specifier: { case: 'inlineBytes', value: Buffer.from('PRIVATE') } },
          password: { specifier: { case: 'inlineString', value: 'PASSWORD' } },
        },
      },
    })
    const struct = packed('xds.type.v3.TypedStruct', {
      typeUrl: secret.typeUrl,
      value: { name: 'x', tls_certificate: { private_key: { inline_string: 'PRIVATE' } } },
    })
    const filters = [secret, struct].map((value) => ({
      name: 'f',
      configType: { case: 'typedConfig' as const, value },
    }))
    const chain = make('envoy.config.listener.v3.FilterChain', { filters })
    const text = JSON.stringify(writeJson(chain, { redact: true }))
    expect(text).toContain('PUBLIC')
    expect(text).not.toContain('PASSWORD')
    expect(text).not.toContain('PRIVATE')
    expect(text).not.toContain(Buffer.from('PRIVATE').toString('base64'))
    expect(text).toContain('"password":{"inline_string":"[redacted]"}')
    expect(text).toContain(`"private_key":{"inline_bytes":"${Buffer.from('[redacted]').toString('base64')}"}`)
    expect(JSON.stringify(writeJson(chain))).toContain('PASSWORD')
  })
})

test('a packed message is the same object again until its bytes are changed', () => {
  const node = make('envoy.config.core.v3.Node', { id: 'a' })
  const any = pack(node)
  expect(messageIn(any)).toBe(node)
  any.value = packed('envoy.config.core.v3.Node', { id: 'b' }).value
  expect(messageIn(any)).toMatchObject({ id: 'b' })
})
