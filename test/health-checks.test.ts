import fs from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { Client, eventually, type RunningProxy, socketAddress, startProxy, tcpChain } from './support/proxy.ts'

interface Answer {
  status: number
  headers?: Record<string, string>
  body?: string
  hang?: boolean
}

/** An application that answers `/hz` as told, and everything else with its name; it keeps what it was asked. */
async function app(name: string) {
  const requests: { method: string; url: string; headers: http.IncomingHttpHeaders; body: string }[] = []
  const state: { answer: Answer } = { answer: { status: 200 } }
  const server = http.createServer((request, response) => {
    let body = ''
    request.on('data', (chunk) => {
      body += chunk
    })
    request.on('end', () => {
      const { method = '', url = '', headers } = request
      if (url !== '/hz') {
        response.setHeader('x-app', name)
        for (const [key, value] of Object.entries(headers))
          if (key === 'x-answer') response.setHeader(String(value), '1')
        response.end(name)
        return
      }
      requests.push({ method, url, headers, body })
      const { answer } = state
      if (!answer.hang) response.writeHead(answer.status, answer.headers).end(answer.body ?? '')
    })
  })
  const port = await new Promise<number>((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve((server.address() as net.AddressInfo).port)),
  )
  cleanup.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return { port, requests, state, server }
}

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
})

const check = (more: object) => ({
  timeout: '0.3s',
  interval: '0.05s',
  no_traffic_interval: '0.05s',
  unhealthy_threshold: 1,
  healthy_threshold: 1,
  ...more,
})

const HCM = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
const ROUTER = {
  name: 'envoy.filters.http.router',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
}

function hcmListener(filters: object[] = []): object {
  return {
    name: 'in',
    address: socketAddress(0),
    filter_chains: [
      {
        filters: [
          {
            name: 'hcm',
            typed_config: {
              '@type': HCM,
              stat_prefix: 'h',
              route_config: {
                virtual_hosts: [
                  { name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'a' } }] },
                ],
              },
              http_filters: [...filters, ROUTER],
            },
          },
        ],
      },
    ],
  }
}

const endpoint = (port: number, more: object = {}, outer: object = {}) => ({
  endpoint: { address: socketAddress(port), ...more },
  ...outer,
})

function cluster(endpoints: object[], more: object): object {
  return {
    name: 'a',
    type: 'STATIC',
    load_assignment: { cluster_name: 'a', endpoints: [{ lb_endpoints: endpoints }] },
    common_lb_config: { healthy_panic_threshold: { value: 0 }, update_merge_window: '0s' },
    ...more,
  }
}

async function start(clusters: object[], listeners: object[] = [hcmListener()]): Promise<RunningProxy> {
  const proxy = await startProxy({ static_resources: { listeners, clusters } })
  cleanup.push(() => proxy.stop())
  return proxy
}

const flags = (proxy: RunningProxy) => proxy.server.clusters.describe()[0]!.hosts.map((host) => host.healthFlags)
const get = async (proxy: RunningProxy, url = '/', headers: Record<string, string> = {}) => {
  const response = await fetch(`http://127.0.0.1:${proxy.port('in')}${url}`, { headers })
  return { status: response.status, headers: response.headers, text: await response.text() }
}
const stat = (proxy: RunningProxy, name: string) => proxy.counter(`cluster.a.health_check.${name}`)

describe('active health checks', () => {
  it('traffic goes only to hosts whose HTTP check passes, and comes back when it does', async () => {
    const [one, two] = [await app('one'), await app('two')]
    one.state.answer = { status: 503 }
    const http_health_check = { path: '/hz', host: 'check.test' }
    const proxy = await start([
      cluster([endpoint(one.port), endpoint(two.port)], { health_checks: [check({ http_health_check })] }),
    ])
    expect(flags(proxy)).toEqual(['/failed_active_hc', 'healthy'])
    for (let i = 0; i < 4; i++) expect((await get(proxy)).text).toBe('two')
    expect(one.requests[0]).toMatchObject({ method: 'GET', headers: { host: 'check.test', 'user-agent': 'Envoy/HC' } })
    one.state.answer = { status: 200 }
    await eventually(() => flags(proxy)[0] === 'healthy')
    const seen = new Set<string>()
    for (let i = 0; i < 4; i++) seen.add((await get(proxy)).text)
    expect([...seen].sort()).toEqual(['one', 'two'])
    expect(proxy.counter('cluster.a.membership_healthy')).toBe(2)
    expect(stat(proxy, 'healthy')).toBe(2)
  })

  it('the listener waits for the first round, and the first good answer counts at once', async () => {
    const a = await app('a')
    const proxy = await start([
      cluster([endpoint(a.port)], {
        health_checks: [check({ interval: '60s', healthy_threshold: 9, http_health_check: { path: '/hz' } })],
      }),
    ])
    expect(a.requests).toHaveLength(1)
    // Without a host in the check, the cluster's name stands for it.
    expect(a.requests[0]!.headers.host).toBe('a')
    expect((await get(proxy)).status).toBe(200)
  })

  it('a bad status acts at once, a retriable one and a lost connection only at the threshold', async () => {
    const a = await app('a')
    const http_health_check = { path: '/hz', retriable_statuses: [{ start: 500, end: 501 }] }
    const proxy = await start([
      cluster([endpoint(a.port)], { health_checks: [check({ unhealthy_threshold: 3, http_health_check })] }),
    ])
    a.state.answer = { status: 500 }
    await eventually(() => flags(proxy)[0] === '/failed_active_hc')
    expect(stat(proxy, 'failure')).toBe(3)
    a.state.answer = { status: 200 }
    await eventually(() => flags(proxy)[0] === 'healthy')
    a.state.answer = { status: 404 }
    await eventually(() => flags(proxy)[0] === '/failed_active_hc')
    expect(stat(proxy, 'failure')).toBe(4)
  })

  it('a connection that breaks off fails the check at once, also where each check has its own', async () => {
    const a = await app('a')
    a.server.removeAllListeners('request').on('request', (request: http.IncomingMessage) => request.socket.destroy())
    const health_checks = [
      check({ timeout: '60s', interval: '60s', reuse_connection: false, http_health_check: { path: '/hz' } }),
    ]
    const proxy = await start([cluster([endpoint(a.port)], { health_checks })])
    await eventually(() => stat(proxy, 'network_failure') === 1)
    expect(flags(proxy)).toEqual(['/failed_active_hc'])
  })

  it('no answer in time shows as active_hc_timeout', async () => {
    const a = await app('a')
    const proxy = await start([
      cluster([endpoint(a.port)], { health_checks: [check({ http_health_check: { path: '/hz' } })] }),
    ])
    a.state.answer = { status: 200, hang: true }
    await eventually(() => flags(proxy)[0] === '/failed_active_hc/active_hc_timeout')
    expect(stat(proxy, 'network_failure')).toBe(1)
    expect((await proxy.admin('/clusters?format=json')).body).toContain('"active_hc_timeout": true')
    a.state.answer = { status: 200 }
    await eventually(() => flags(proxy)[0] === 'healthy')
  })

  it('method, body, headers and expected answer are the ones of the config', async () => {
    const a = await app('a')
    a.state.answer = { status: 204 }
    const proxy = await start([
      cluster([endpoint(a.port, { health_check_config: { hostname: 'own.test' } })], {
        health_checks: [
          check({
            http_health_check: {
              path: '/hz',
              method: 'POST',
              send: { text: '616263' },
              expected_statuses: [{ start: 200, end: 205 }],
              request_headers_to_add: [{ header: { key: 'x-probe', value: 'yes' } }],
              request_headers_to_remove: ['user-agent'],
            },
          }),
        ],
      }),
    ])
    expect(flags(proxy)).toEqual(['healthy'])
    expect(a.requests[0]).toMatchObject({
      method: 'POST',
      body: 'abc',
      headers: { host: 'own.test', 'x-probe': 'yes' },
    })
    expect(a.requests[0]!.headers['user-agent']).toBeUndefined()
  })

  it('the body of the answer can be asked to hold bytes', async () => {
    const a = await app('a')
    a.state.answer = { status: 200, body: 'all is well' }
    const http_health_check = { path: '/hz', receive: [{ text: Buffer.from('well').toString('hex') }] }
    const proxy = await start([cluster([endpoint(a.port)], { health_checks: [check({ http_health_check })] })])
    expect(flags(proxy)).toEqual(['healthy'])
    a.state.answer = { status: 200, body: 'all is lost' }
    await eventually(() => flags(proxy)[0] === '/failed_active_hc')
  })

  it('x-envoy-degraded makes a host the last choice', async () => {
    const [one, two] = [await app('one'), await app('two')]
    one.state.answer = { status: 200, headers: { 'x-envoy-degraded': '1' } }
    const proxy = await start([
      cluster([endpoint(one.port), endpoint(two.port)], {
        health_checks: [check({ http_health_check: { path: '/hz' } })],
      }),
    ])
    expect(flags(proxy)).toEqual(['/degraded_active_hc', 'healthy'])
    expect(proxy.counter('cluster.a.membership_degraded')).toBe(1)
    two.state.answer = { status: 500 }
    await eventually(() => flags(proxy)[1] !== 'healthy')
    for (let i = 0; i < 3; i++) expect((await get(proxy)).text).toBe('one')
  })

  it('an answer with x-envoy-immediate-health-check-fail takes the host out at once', async () => {
    const a = await app('a')
    const proxy = await start([
      cluster([endpoint(a.port)], { health_checks: [check({ interval: '60s', http_health_check: { path: '/hz' } })] }),
    ])
    expect((await get(proxy, '/', { 'x-answer': 'x-envoy-immediate-health-check-fail' })).status).toBe(200)
    expect(flags(proxy)).toEqual(['/failed_active_hc/excluded_via_immediate_hc_fail'])
    expect((await get(proxy)).text).toBe('no healthy upstream')
    expect(stat(proxy, 'passive_failure')).toBe(1)
    expect(proxy.counter('cluster.a.membership_excluded')).toBe(1)
  })

  it('a check that passes ends an ejection by outlier detection', async () => {
    const a = await app('a')
    const proxy = await start([
      cluster([endpoint(a.port)], {
        outlier_detection: { consecutive_5xx: 1, max_ejection_percent: 100, base_ejection_time: '600s' },
        health_checks: [check({ interval: '0.2s', http_health_check: { path: '/hz' } })],
      }),
    ])
    const [host] = proxy.server.clusters.describe()[0]!.hosts
    proxy.server.clusters.get('a')!.reportResult(host!.host, 503)
    expect(flags(proxy)).toEqual(['/failed_outlier_check'])
    await get(proxy)
    await eventually(() => flags(proxy)[0] === 'healthy')
    expect(proxy.counter('cluster.a.outlier_detection.ejections_active')).toBe(0)
  })

  it('a host may be checked at another port, or not at all', async () => {
    const a = await app('a')
    const port = (server: net.Server) => (server.address() as net.AddressInfo).port
    const deaf = net.createServer((socket) => socket.destroy())
    await new Promise<void>((resolve) => deaf.listen(0, '127.0.0.1', resolve))
    cleanup.push(() => deaf.close())
    const proxy = await start([
      cluster(
        [
          endpoint(port(deaf), { health_check_config: { port_value: a.port } }),
          endpoint(1, { health_check_config: { disable_active_health_check: true } }),
        ],
        { health_checks: [check({ http_health_check: { path: '/hz' } })] },
      ),
    ])
    expect(flags(proxy)).toEqual(['healthy', 'healthy'])
    expect(stat(proxy, 'healthy')).toBe(1)
  })

  it('events are logged as JSON, one a line', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-events-'))
    cleanup.push(() => fs.rmSync(folder, { recursive: true }))
    const file = path.join(folder, 'events.log')
    const a = await app('a')
    const type = 'type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink'
    const proxy = await start([
      cluster([endpoint(a.port)], {
        health_checks: [
          check({
            http_health_check: { path: '/hz' },
            event_logger: [{ name: 'file', typed_config: { '@type': type, event_log_path: file } }],
          }),
        ],
      }),
    ])
    a.state.answer = { status: 503 }
    await eventually(() => flags(proxy)[0] !== 'healthy')
    await proxy.stop()
    const lines = fs
      .readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as object)
    expect(lines[0]).toMatchObject({
      health_checker_type: 'HTTP',
      cluster_name: 'a',
      host: { socket_address: { protocol: 'TCP', address: '127.0.0.1', port_value: a.port } },
      add_healthy_event: { first_check: true },
      locality: { region: '', zone: '', sub_zone: '' },
    })
    expect(lines[1]).toMatchObject({ eject_unhealthy_event: { failure_type: 'ACTIVE', http_status_code: 503 } })
  })

  it('a TCP check asks for a connection, or for bytes on it', async () => {
    const seen: string[] = []
    const sockets = new Set<net.Socket>()
    let answer = 'PONG'
    const server = net.createServer((socket) => {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('data', (data) => {
        seen.push(data.toString())
        if (data.toString().includes('PING')) socket.write(answer)
        else socket.write('echo')
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    cleanup.push(() => {
      server.close()
      for (const socket of sockets) socket.destroy()
    })
    const { port } = server.address() as net.AddressInfo
    const tcp_health_check = { send: { text: '50494e47' }, receive: [{ text: '504f4e47' }] }
    const proxy = await start(
      [
        cluster([endpoint(port)], {
          close_connections_on_host_health_failure: true,
          health_checks: [check({ tcp_health_check })],
        }),
      ],
      [{ name: 'in', address: socketAddress(0), filter_chains: [tcpChain('a')] }],
    )
    expect(seen[0]).toBe('PING')
    const client = new Client(proxy.port('in'))
    client.write('hello')
    await client.receives('echo')
    answer = 'nothing'
    // The check times out; the connection that was open is closed with it.
    await client.ended
    expect(flags(proxy)).toEqual(['/failed_active_hc/active_hc_timeout'])
    client.destroy()
  })

  it('a gRPC check wants SERVING', async () => {
    let status = 1
    const calls: http2.IncomingHttpHeaders[] = []
    const server = http2.createServer()
    const sessions = new Set<http2.ServerHttp2Session>()
    server.on('session', (session) => sessions.add(session))
    server.on('stream', (stream, headers) => {
      calls.push(headers)
      stream.on('error', () => {})
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
      stream.end(Buffer.from([0, 0, 0, 0, 2, 8, status]))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    cleanup.push(() => {
      server.close()
      for (const session of sessions) session.destroy()
    })
    const { port } = server.address() as net.AddressInfo
    const type = 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
    const proxy = await start([
      cluster([endpoint(port)], {
        typed_extension_protocol_options: {
          'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
            '@type': type,
            explicit_http_config: { http2_protocol_options: {} },
          },
        },
        health_checks: [check({ grpc_health_check: { service_name: 'svc', authority: 'grpc.test' } })],
      }),
    ])
    expect(flags(proxy)).toEqual(['healthy'])
    expect(calls[0]).toMatchObject({
      ':path': '/grpc.health.v1.Health/Check',
      ':authority': 'grpc.test',
      'grpc-timeout': '300m',
    })
    status = 2
    await eventually(() => flags(proxy)[0] === '/failed_active_hc')
  })

  it('checks that make no sense are refused with their reasons', async () => {
    const refused = async (more: object) =>
      startProxy({ static_resources: { clusters: [cluster([endpoint(1)], { health_checks: [check(more)] })] } }).then(
        () => 'accepted',
        (error: Error) => error.message,
      )
    expect(await refused({ grpc_health_check: {} })).toContain('must support HTTP/2')
    expect(await refused({ http_health_check: { path: '/', send: { text: '41' } } })).toContain("with method 'GET'")
    expect(await refused({ http_health_check: { path: '/', receive: [{ text: 'zz' }] } })).toContain(
      "invalid hex string 'zz'",
    )
    expect(
      await refused({ http_health_check: { path: '/', expected_statuses: [{ start: 300, end: 200 }] } }),
    ).toContain('expecting start < end, but found start=300 and end=200')
  })
})

describe('the health_check filter', () => {
  const filter = (more: object) => ({
    name: 'hc',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck',
      headers: [{ name: ':path', string_match: { exact: '/hz' } }],
      ...more,
    },
  })

  it('answers for the proxy itself, until it is told to fail', async () => {
    const a = await app('a')
    const proxy = await start([cluster([endpoint(a.port)], {})], [hcmListener([filter({ pass_through_mode: false })])])
    const good = await get(proxy, '/hz')
    expect(good.status).toBe(200)
    expect(good.headers.get('x-envoy-upstream-healthchecked-cluster')).toBe('test')
    expect(a.requests).toHaveLength(0)
    await proxy.admin('/healthcheck/fail', 'POST')
    const bad = await get(proxy, '/hz')
    expect(bad.status).toBe(503)
    expect(bad.headers.get('x-envoy-immediate-health-check-fail')).toBe('true')
    expect((await get(proxy, '/')).text).toBe('a')
  })

  it('keeps the answer of the application for a while', async () => {
    const a = await app('a')
    a.state.answer = { status: 500 }
    const proxy = await start(
      [cluster([endpoint(a.port)], {})],
      [hcmListener([filter({ pass_through_mode: true, cache_time: '600s' })])],
    )
    expect((await get(proxy, '/hz')).status).toBe(500)
    expect((await get(proxy, '/hz')).status).toBe(500)
    expect(a.requests).toHaveLength(1)
    expect(proxy.counter('http.h.health_check.cached_response')).toBe(1)
  })

  it.each([
    [50, 200],
    [51, 503],
  ])('%i %% of the hosts of a cluster must be well: %i', async (value, status) => {
    const a = await app('a')
    const proxy = await start(
      [
        cluster([endpoint(a.port), endpoint(1)], {
          health_checks: [check({ http_health_check: { path: '/hz' } })],
        }),
      ],
      [hcmListener([filter({ pass_through_mode: false, cluster_min_healthy_percentages: { a: { value } } })])],
    )
    expect((await get(proxy, '/hz')).status).toBe(status)
  })
})
