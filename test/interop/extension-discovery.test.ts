import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeAll, expect, test } from 'vitest'
import { adsBootstrap, dinghyProxy, envoyBinary, realEnvoy, startEnvoy } from './envoy.ts'
import { freePorts, startCommand } from './processes.ts'

// Extension configs of EnvoyFilters, from `dinghy pilot` over ADS to filters of a real Envoy, and of `dinghy proxy`.

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step()
})
beforeAll(async () => {
  await envoyBinary()
})

const T = 'type.googleapis.com/envoy.extensions.filters'
const FAULT = `${T}.http.fault.v3.HTTPFault`

const abort = (status: number) => `{"@type": ${FAULT}, abort: {http_status: ${status}, percentage: {numerator: 100}}}`
const extension = (name: string, config: string) => `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: ${name}, namespace: default}
spec:
  configPatches:
  - {applyTo: EXTENSION_CONFIG, patch: {operation: ADD, value: {name: ${name}, typed_config: ${config}}}}
---`
const pod = `
apiVersion: v1
kind: Pod
metadata: {name: envoy, namespace: default, labels: {app: envoy}}
spec: {containers: [{name: envoy, image: example.com/envoy}]}
status: {podIP: 127.77.0.9}
---`

/** A listener that answers 200 behind a filter whose config comes over ADS. */
const listener = (name: string, port: number) => {
  const routes = [{ match: { prefix: '/' }, direct_response: { status: 200 } }]
  const source = { ads: {}, resource_api_version: 'V3', initial_fetch_timeout: '3s' }
  const manager = {
    '@type': `${T}.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: name,
    route_config: { name, virtual_hosts: [{ name, domains: ['*'], routes }] },
    http_filters: [
      { name, config_discovery: { config_source: source, type_urls: [FAULT] } },
      { name: 'router', typed_config: { '@type': `${T}.http.router.v3.Router` } },
    ],
  }
  return {
    name,
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [{ filters: [{ name: 'manager', typed_config: manager }] }],
  }
}

test.each([
  ['a real Envoy', 'delta', realEnvoy],
  ['a real Envoy', 'sotw', realEnvoy],
  ['dinghy proxy', 'delta', dinghyProxy],
  ['dinghy proxy', 'sotw', dinghyProxy],
] as const)('static listeners of %s take extension configs of our pilot, %s', async (_, mode, command) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-extension-'))
  cleanup.push(() => fs.rmSync(dir, { recursive: true, force: true }))
  const write = (text: string) => fs.writeFileSync(path.join(dir, 'all.yaml'), pod + text)
  write(extension('good', abort(418)))
  const pilot = startCommand(['pilot', '--config', dir, '--grpc-addr', '127.0.0.1:0', '--tls-addr', 'none'])
  cleanup.push(async () => expect(await pilot.stop()).toBe(0))
  const [, adsPort] = await pilot.said(/^serving ADS at 127\.0\.0\.1:(\d+)$/m)

  const bootstrap = adsBootstrap(Number(adsPort), mode, 'sidecar~127.77.0.9~envoy.default~default.svc.cluster.local')
  const { ads_config } = bootstrap.dynamic_resources
  const names = ['good', 'absent']
  const ports = await freePorts(names.length)
  const listeners = names.map((name, i) => listener(name, ports[i]!))
  const envoy = await startEnvoy(
    {
      ...bootstrap,
      node: { ...bootstrap.node, metadata: { NAMESPACE: 'default' } },
      dynamic_resources: { ads_config },
      static_resources: { ...bootstrap.static_resources, listeners },
    },
    command,
  )
  cleanup.push(() => envoy.stop())
  const statuses = () => Promise.all(ports.map(async (port) => (await fetch(`http://127.0.0.1:${port}/`)).status))
  const counts = async (name: string) => {
    const all = await envoy.get(`/stats?filter=${name}$`)
    return names.map((of) => Number(new RegExp(`http_filter\\.${of}\\.${name}: (\\d+)`).exec(all)?.[1]))
  }
  expect(await statuses()).toEqual([418, 500])
  expect(await counts('config_reload')).toEqual([1, 0])
  expect(await counts('init_fetch_timeout')).toEqual([0, 1])
  const until = async (wanted: () => boolean | Promise<boolean>): Promise<void> => {
    const deadline = Date.now() + 10_000
    while (!(await wanted()) && Date.now() < deadline) await sleep(50)
  }
  const answer = async (...wanted: number[]): Promise<void> => {
    await until(async () => JSON.stringify(await statuses()) === JSON.stringify(wanted))
    expect(await statuses()).toEqual(wanted)
  }
  write(extension('good', abort(419)) + extension('absent', abort(420)))
  await answer(419, 420)
  // What goes away stays where it is, as under istiod.
  write(extension('absent', abort(421)))
  await answer(419, 421)
  write(extension('absent', `{"@type": ${T}.http.buffer.v3.Buffer, max_request_bytes: 1}`))
  const said = () => pilot.errors() + pilot.output()
  await until(() => said().includes('EnvoyFilter default/absent'))
  expect(said()).toMatch(
    /Error: filter config has type URL envoy\.extensions\.filters\.http\.buffer\.v3\.Buffer but expect envoy\.extensions\.filters\.http\.fault\.v3\.HTTPFault/,
  )
  expect(said()).toMatch(/all\.yaml:\d+:5: rejected: EnvoyFilter default\/absent: spec\.configPatches\[0\]/)
  expect(await statuses()).toEqual([419, 421])
})
