import fs from 'node:fs'
import http from 'node:http'
import type net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { ProxyServer } from '../src/proxy/server.ts'
import { MovableRuntime } from '../src/runtime-movable.ts'
import { parseBootstrap } from '../src/xds/bootstrap.ts'

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-outliers-'))
const closing: (() => void | Promise<void>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
  fs.rmSync(dir, { recursive: true, force: true })
})

it('ejections and their ends are logged as Envoy logs them', async () => {
  const app = http.createServer((_, response) => response.writeHead(503).end())
  await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve))
  const { port } = app.address() as net.AddressInfo
  closing.push(() => void app.close().closeAllConnections())
  const log = path.join(dir, 'outliers.log')
  const runtime = new MovableRuntime()
  const server = new ProxyServer({
    runtime,
    bootstrap: await parseBootstrap(
      `
cluster_manager: {outlier_detection: {event_log_path: ${log}}}
static_resources:
  listeners:
    - name: l
      address: {socket_address: {address: 127.0.0.1, port_value: 0}}
      filter_chains:
        - filters:
            - name: hcm
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: x
                route_config:
                  virtual_hosts: [{name: a, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: c}}]}]
                http_filters:
                  - name: r
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
    - name: c
      outlier_detection: {consecutive_5xx: 2, interval: 10s, base_ejection_time: 30s, max_ejection_percent: 100}
      load_assignment:
        cluster_name: c
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]
`,
      'bootstrap.yaml',
    ),
    warn: () => {},
  })
  closing.push(() => server.stop())
  await server.start()
  const at = server.listeners.all()[0]!.sockets.addresses[0]!
  const get = () =>
    new Promise<number>((resolve) => {
      http.get({ host: at.ip, port: at.port, agent: false }, (response) => {
        response.resume().on('end', () => resolve(response.statusCode ?? 0))
      })
    })
  await get()
  await get()
  await runtime.advance(41_000)
  await get()
  await get()
  await server.stop()
  const lines = fs.readFileSync(log, 'utf8').trim().split('\n')
  const common = { cluster_name: 'c', upstream_url: `127.0.0.1:${port}`, type: 'CONSECUTIVE_5XX' }
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { ...common, action: 'EJECT', num_ejections: 1, enforced: true, eject_consecutive_event: {} },
    {
      ...common,
      action: 'UNEJECT',
      num_ejections: 1,
      enforced: false,
      secs_since_last_action: expect.stringMatching(/^[34]\d$/),
    },
    {
      ...common,
      action: 'EJECT',
      num_ejections: 2,
      enforced: true,
      secs_since_last_action: expect.stringMatching(/^\d$/),
    },
  ])
  expect(lines[0]).toMatch(
    /^\{"type":"CONSECUTIVE_5XX","timestamp":"[^"]+Z","cluster_name":"c","upstream_url":"[^"]+","action":"EJECT","num_ejections":1,"enforced":true,"eject_consecutive_event":\{\}\}$/,
  )
})
