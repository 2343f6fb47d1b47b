import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ProxyAgent, request } from 'undici'
import { afterEach, beforeAll, expect, test } from 'vitest'
import { adsBootstrap, dinghyProxy, envoyBinary, realEnvoy, sdsCluster, startEnvoy } from './envoy.ts'
import { freePorts, startCommand } from './processes.ts'

// `dinghy pilot` serves an EXTENSION_CONFIG to a real Envoy, and to `dinghy proxy` in its place: both do the same with it.

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step()
})
beforeAll(async () => {
  await envoyBinary()
})

const FAULT = 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault'
const BUFFER = 'type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer'
const IP = '127.77.1.2'

const objects = (app: number, outbound: number, inbound: number) => `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    proxyListenPort: ${outbound}
    proxyInboundListenPort: ${inbound}
---
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  selector: {app: reviews}
  ports: [{name: http, port: 9080, targetPort: ${app}}]
---
apiVersion: v1
kind: Pod
metadata: {name: reviews, labels: {app: reviews}, annotations: {sidecar.istio.io/inject: "false"}}
spec:
  containers: [{name: reviews, image: example.com/reviews, ports: [{containerPort: ${app}}]}]
status: {podIP: ${IP}}
---
apiVersion: v1
kind: Pod
metadata: {name: curl, labels: {app: curl}}
spec:
  containers: [{name: curl, image: example.com/curl}]
status: {podIP: 127.77.1.3}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: filter}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_OUTBOUND
      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}
    patch:
      operation: INSERT_FIRST
      value:
        name: teapot
        config_discovery:
          config_source: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 1s}
          type_urls: ["${FAULT}"]
`

const extension = (config: string) => `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: extension}
spec:
  configPatches:
  - applyTo: EXTENSION_CONFIG
    patch:
      operation: ADD
      value: {name: teapot, typed_config: ${config}}
`
const abort = (status: number) => `{"@type": ${FAULT}, abort: {http_status: ${status}, percentage: {numerator: 100}}}`

test.each([
  ['a real Envoy', 'delta', realEnvoy],
  ['a real Envoy', 'sotw', realEnvoy],
  ['dinghy proxy', 'delta', dinghyProxy],
  ['dinghy proxy', 'sotw', dinghyProxy],
] as const)(
  '%s takes extension configs of our pilot, follows them, and refuses what does not fit, %s',
  async (_, mode, command) => {
    const app = http.createServer((_, response) => response.end('fine'))
    await new Promise<void>((resolve) => app.listen(0, IP, resolve))
    cleanup.push(() => {
      app.close()
      app.closeAllConnections()
    })
    const [outbound, inbound, proxyPort] = await freePorts(3)
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-extension-'))
    cleanup.push(() => fs.rmSync(dir, { recursive: true, force: true }))
    fs.writeFileSync(path.join(dir, 'mesh.yaml'), objects((app.address() as AddressInfo).port, outbound!, inbound!))
    const write = (config: string) => fs.writeFileSync(path.join(dir, 'extension.yaml'), extension(config))
    write(abort(418))

    const socket = path.join(dir, 'sds', 'socket')
    const pilot = startCommand(
      ['pilot', '--config', dir, '--grpc-addr', '127.0.0.1:0', '--tls-addr', 'none', '--sds-socket', socket],
      // What only Istio's own Envoy has is left out, by istiod's switches.
      { PILOT_ENABLE_METADATA_EXCHANGE: 'false', PILOT_ENABLE_ALPN_FILTER: 'false', PILOT_DISABLE_MX_ALPN: 'true' },
    )
    cleanup.push(async () => expect(await pilot.stop()).toBe(0))
    const tells = async (line: RegExp): Promise<void> => {
      for (const end = Date.now() + 10_000; !line.test(pilot.errors()) && Date.now() < end; ) await sleep(50)
      expect(pilot.errors()).toMatch(line)
    }
    await pilot.said(/serving SDS/)
    const [, adsPort] = await pilot.said(/^serving ADS at 127\.0\.0\.1:(\d+)$/m)
    const bootstrap = adsBootstrap(Number(adsPort), mode, 'sidecar~127.77.1.3~curl.default~default.svc.cluster.local')
    bootstrap.static_resources.clusters.push(sdsCluster(socket))
    const metadata = { NAMESPACE: 'default', HTTP_PROXY_PORT: `${proxyPort}` }
    const envoy = await startEnvoy({ ...bootstrap, node: { ...bootstrap.node, metadata } }, command)
    cleanup.push(() => envoy.stop())

    const agent = new ProxyAgent({ uri: `http://127.0.0.1:${proxyPort}`, proxyTunnel: false })
    cleanup.push(() => agent.destroy())
    const status = async () => {
      const { statusCode, body } = await request('http://reviews:9080/', { dispatcher: agent })
      await body.text()
      return statusCode
    }
    const answers = async (wanted: number): Promise<void> => {
      for (const end = Date.now() + 10_000; (await status()) !== wanted && Date.now() < end; ) await sleep(50)
      expect(await status()).toBe(wanted)
    }
    expect(await status()).toBe(418)
    write(abort(419))
    await answers(419)

    write(`{"@type": ${BUFFER}, max_request_bytes: 1}`)
    await tells(/refused .*filter config has type URL \S+Buffer but expect \S+HTTPFault/)
    await tells(/extension\.yaml:\d+:\d+: rejected: EnvoyFilter default\/extension/)
    expect(await status()).toBe(419)

    write(abort(420))
    await answers(420)
    // What is gone from the control plane goes on in proxies that name it, as under istiod.
    fs.rmSync(path.join(dir, 'extension.yaml'))
    await tells(
      /mesh\.yaml:\d+:5: EnvoyFilter default\/filter: spec\.configPatches\[0\]: no EXTENSION_CONFIG of that name/,
    )
    expect(await status()).toBe(420)
    const stats = await envoy.get('/stats?filter=extension_config_discovery.http_filter.teapot.config_')
    expect(stats.match(/config_\w+: \d+/g)).toEqual(['config_conflict: 0', 'config_fail: 1', 'config_reload: 3'])
  },
)
