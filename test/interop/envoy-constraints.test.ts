import { execFile } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { rootCertificates } from 'node:tls'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type BootstrapError, parseBootstrap } from '../../src/xds/bootstrap.ts'
import type { Violation } from '../../src/xds/validate.ts'
import { envoyBinary } from './envoy.ts'

// A bootstrap that a real Envoy refuses is refused by us, in the same words; one that it takes is taken.

type Json = Record<string, unknown>
const HCM = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
const ROUTER = 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router'
const FILTERS = 'type.googleapis.com/envoy.extensions.filters.http'

let envoy: string
let dir: string
beforeAll(async () => {
  envoy = await envoyBinary()
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-validate-'))
})
afterAll(() => fs.rmSync(dir, { recursive: true, force: true }))

/** A valid bootstrap, with parts replaced. */
function bootstrap(parts: { cluster?: Json; hcm?: Json; vhost?: Json; route?: Json; filter?: Json; weight?: unknown }) {
  const endpoint = { address: { socket_address: { address: '127.0.0.1', port_value: 1 } } }
  const lbEndpoint = { endpoint, ...('weight' in parts ? { load_balancing_weight: parts.weight } : {}) }
  const vhost = {
    name: 'vh',
    domains: ['*'],
    routes: [parts.route ?? { match: { prefix: '/' }, route: { cluster: 'a' } }],
    ...parts.vhost,
  }
  const router = { name: 'envoy.filters.http.router', typed_config: { '@type': ROUTER } }
  const typed_config = {
    '@type': HCM,
    stat_prefix: 'h',
    route_config: { name: 'rc', virtual_hosts: [vhost] },
    http_filters: [...(parts.filter ? [{ name: 'f', typed_config: parts.filter }] : []), router],
    ...parts.hcm,
  }
  const address = { socket_address: { address: '127.0.0.1', port_value: 0 } }
  const filters = [{ name: 'envoy.filters.network.http_connection_manager', typed_config }]
  return {
    static_resources: {
      clusters: [
        {
          name: 'a',
          type: 'STATIC',
          connect_timeout: '1s',
          load_assignment: { cluster_name: 'a', endpoints: [{ lb_endpoints: [lbEndpoint] }] },
          ...parts.cluster,
        },
      ],
      listeners: [{ name: 'l', address, filter_chains: [{ filters }] }],
    },
  }
}

async function realWords(text: string): Promise<string | undefined> {
  const file = path.join(dir, 'envoy.json')
  fs.writeFileSync(file, text)
  try {
    await promisify(execFile)(envoy, ['-c', file, '--mode', 'validate', '-l', 'error'])
    return undefined
  } catch (error) {
    const { stderr } = error as { stderr: string }
    return /Proto constraint validation failed \((.*)\)\s*$/s.exec(stderr)?.[1] ?? stderr
  }
}

async function ourWords(text: string): Promise<string | undefined> {
  try {
    await parseBootstrap(text, 'envoy.json')
    return undefined
  } catch (error) {
    const [first] = (error as BootstrapError).problems
    return (first as unknown as Violation).constraint ?? first!.message
  }
}

const retry = (policy: Json) => ({ route: { match: { prefix: '/' }, route: { cluster: 'a', retry_policy: policy } } })
const struct = (value: Json) => ({
  filter: {
    '@type': 'type.googleapis.com/udpa.type.v1.TypedStruct',
    type_url: `${FILTERS}.local_ratelimit.v3.LocalRateLimit`,
    value,
  },
})

describe('constraints, in the words of a real Envoy', () => {
  test.each<[string, Parameters<typeof bootstrap>[0]]>([
    ['an empty cluster name', { cluster: { name: '' } }],
    ['a connect timeout of zero', { cluster: { connect_timeout: '0s' } }],
    ['an enum value that is not defined', { cluster: { lb_policy: 99 } }],
    [
      'a ring that is too big',
      { cluster: { lb_policy: 'RING_HASH', ring_hash_lb_config: { minimum_ring_size: 99_999_999 } } },
    ],
    ['more than all ejected', { cluster: { outlier_detection: { max_ejection_percent: 101 } } }],
    ['a threshold of an unknown priority', { cluster: { circuit_breakers: { thresholds: [{ priority: 5 }] } } }],
    ['an endpoint weight of zero', { weight: 0 }],
    ['no stat prefix', { hcm: { stat_prefix: '' } }],
    ['a header limit of zero', { hcm: { common_http_protocol_options: { max_headers_count: 0 } } }],
    ['a virtual host without domains', { vhost: { domains: [] } }],
    ['a header name with a line feed', { vhost: { request_headers_to_add: [{ header: { key: 'a\nb' } }] } }],
    ['a route without match', { route: { route: { cluster: 'a' } } }],
    ['a route without action', { route: { match: { prefix: '/' } } }],
    ['a match without path', { route: { match: {}, route: { cluster: 'a' } } }],
    ['a status that is none', { route: { match: { prefix: '/' }, direct_response: { status: 999 } } }],
    ['no weighted clusters', { route: { match: { prefix: '/' }, route: { weighted_clusters: {} } } }],
    ['a retry back-off without base', retry({ retry_back_off: {} })],
    ['a retry back-off of zero', retry({ retry_back_off: { base_interval: '0s' } })],
    [
      'an abort with a status that is none',
      { filter: { '@type': `${FILTERS}.fault.v3.HTTPFault`, abort: { http_status: 100 } } },
    ],
    ['a delay of no kind', { filter: { '@type': `${FILTERS}.fault.v3.HTTPFault`, delay: {} } }],
    ['an RBAC policy of nothing', { filter: { '@type': `${FILTERS}.rbac.v3.RBAC`, rules: { policies: { p: {} } } } }],
    ['a TypedStruct with an empty stat prefix', struct({ stat_prefix: '' })],
  ])('%s', async (_, parts) => {
    const text = JSON.stringify(bootstrap(parts))
    const words = await realWords(text)
    expect(words).toMatch(/ValidationError|reason:/)
    expect(await ourWords(text)).toBe(words)
  })

  test.each<[string, Parameters<typeof bootstrap>[0]]>([
    ['a valid bootstrap', {}],
    ['null for a field', { cluster: { alt_stat_name: null } }],
    [
      'a runtime fraction without a key',
      struct({ stat_prefix: 'x', filter_enabled: { default_value: { numerator: 1 } } }),
    ],
    [
      'fields that are newer than the shipped definitions: of routes',
      {
        vhost: { request_body_buffer_limit: 1024 },
        route: {
          match: { prefix: '/', cookies: [{ name: 'a', string_match: { exact: 'b' }, invert_match: true }] },
          route: {
            cluster: 'a',
            flush_timeout: '1s',
            request_mirror_policies: [{ cluster: 'a', host_rewrite_literal: 'x' }],
            rate_limits: [
              { actions: [{ generic_key: { descriptor_value: 'x', default_value: 'y' } }], hits_addend: { number: 2 } },
            ],
          },
        },
      },
    ],
    [
      'fields that are newer than the shipped definitions: of connections',
      {
        hcm: { http1_safe_max_connection_duration: true, stream_flush_timeout: '1s' },
        cluster: {
          dns_jitter: '1s',
          transport_socket: {
            name: 'envoy.transport_sockets.tls',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
              auto_host_sni: true,
              auto_sni_san_validation: true,
              common_tls_context: { validation_context: { trusted_ca: { inline_string: rootCertificates[0] } } },
            },
          },
        },
      },
    ],
    ['a bucket without tokens', struct({ stat_prefix: 'x', token_bucket: { max_tokens: 0, fill_interval: '1s' } })],
  ])('%s is taken by both', async (_, parts) => {
    const text = JSON.stringify(bootstrap(parts))
    expect(await realWords(text)).toBeUndefined()
    expect(await ourWords(text)).toBeUndefined()
  })

  test.each<[string, Parameters<typeof bootstrap>[0]]>([
    ['an unknown field', { vhost: { domainz: [] } }],
    ['an unknown field in a TypedStruct', struct({ stat_prefixx: 'x' })],
    ['an unknown type', { filter: { '@type': 'type.googleapis.com/foo.Bar' } }],
    ['a number for a string', { vhost: { name: 5 } }],
    ['a duration without its unit', { cluster: { connect_timeout: '5' } }],
    ['two of which one may be', { route: { match: { prefix: '/' }, route: { cluster: 'a' }, redirect: {} } }],
    ['an unknown enum value', { cluster: { type: 'STATICK' } }],
    ['a fraction for an integer', retry({ num_retries: 1.5 })],
  ])('%s is refused by both', async (_, parts) => {
    const text = JSON.stringify(bootstrap(parts))
    expect(await realWords(text)).toBeDefined()
    expect(await ourWords(text)).toBeDefined()
  })
})
