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

// `dinghy pilot` with a real Envoy for a sidecar, and with `dinghy proxy` in its place, on the documents of configs/patterns/canary. There is no kernel
// redirection here: the client goes through the sidecar's HTTP proxy port.

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step()
})
beforeAll(async () => {
  await envoyBinary()
})

/** Two loopback addresses that both have the same port free, served by two versions of one app. */
async function versions(): Promise<{ port: number; ips: string[] }> {
  const ips = ['127.77.0.2', '127.77.0.3']
  const serve = (version: string, ip: string, port: number) =>
    new Promise<http.Server>((resolve, reject) => {
      const server = http.createServer((_, response) => response.end(version))
      server.once('error', reject)
      server.listen(port, ip, () => resolve(server))
    })
  const first = await serve('v1', ips[0]!, 0)
  const { port } = first.address() as AddressInfo
  const second = await serve('v2', ips[1]!, port)
  cleanup.push(() => {
    for (const server of [first, second]) {
      server.close()
      server.closeAllConnections()
    }
  })
  return { port, ips }
}

const workloads = (port: number, ips: string[], outbound: number, inbound: number) => `
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
  ports: [{name: http, port: 9080, targetPort: ${port}}]
${ips
  .map(
    (ip, i) => `---
apiVersion: v1
kind: Pod
metadata:
  name: reviews-v${i + 1}
  labels: {app: reviews, version: v${i + 1}}
  annotations: {sidecar.istio.io/inject: "false"}
spec:
  containers: [{name: reviews, image: example.com/reviews, ports: [{containerPort: ${port}}]}]
status: {podIP: ${ip}}
`,
  )
  .join('')}---
apiVersion: v1
kind: Pod
metadata: {name: curl, labels: {app: curl}}
spec:
  containers: [{name: curl, image: example.com/curl}]
status: {podIP: 127.77.0.4}
`

test.each([
  ['a real Envoy', 'delta', realEnvoy],
  ['a real Envoy', 'sotw', realEnvoy],
  ['dinghy proxy', 'delta', dinghyProxy],
  ['dinghy proxy', 'sotw', dinghyProxy],
] as const)('%s under our pilot serves the canary pattern, %s', async (_, mode, command) => {
  const { port, ips } = await versions()
  const [outbound, inbound, proxyPort] = await freePorts(3)
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-canary-'))
  cleanup.push(() => fs.rmSync(dir, { recursive: true, force: true }))
  const pattern = path.resolve(import.meta.dirname, '..', '..', 'configs', 'patterns', 'canary')
  for (const file of ['destination-rule.yaml', 'virtual-service.yaml'])
    fs.copyFileSync(path.join(pattern, file), path.join(dir, file))
  fs.writeFileSync(path.join(dir, 'workloads.yaml'), workloads(port, ips, outbound!, inbound!))

  const socket = path.join(dir, 'sds', 'socket')
  const pilot = startCommand(
    ['pilot', '--config', dir, '--grpc-addr', '127.0.0.1:0', '--tls-addr', 'none', '--sds-socket', socket],
    // What only Istio's own Envoy has is left out, by istiod's switches.
    { PILOT_ENABLE_METADATA_EXCHANGE: 'false', PILOT_ENABLE_ALPN_FILTER: 'false', PILOT_DISABLE_MX_ALPN: 'true' },
  )
  cleanup.push(async () => expect(await pilot.stop()).toBe(0))
  await pilot.said(/serving SDS/)
  const [, adsPort] = await pilot.said(/^serving ADS at 127\.0\.0\.1:(\d+)$/m)

  const bootstrap = adsBootstrap(Number(adsPort), mode, 'sidecar~127.77.0.4~curl.default~default.svc.cluster.local')
  const metadata = { NAMESPACE: 'default', HTTP_PROXY_PORT: `${proxyPort}` }
  bootstrap.static_resources.clusters.push(sdsCluster(socket))
  const envoy = await startEnvoy({ ...bootstrap, node: { ...bootstrap.node, metadata } }, command)
  cleanup.push(() => envoy.stop())
  expect(pilot.errors()).not.toMatch(/refused|error/)

  const agent = new ProxyAgent({ uri: `http://127.0.0.1:${proxyPort}`, proxyTunnel: false })
  cleanup.push(() => agent.destroy())
  const counts = async (n: number) => {
    const seen: Record<string, number> = {}
    for (let i = 0; i < n; i++) {
      const { statusCode, body } = await request('http://reviews:9080/', { dispatcher: agent })
      const text = await body.text()
      const key = statusCode === 200 ? text : `${statusCode} ${text}`
      seen[key] = (seen[key] ?? 0) + 1
    }
    return seen
  }
  const before = await counts(300)
  expect(Object.keys(before).toSorted()).toEqual(['v1', 'v2'])
  expect(before.v2).toBeGreaterThan(5)
  expect(before.v2).toBeLessThan(75)

  const service = path.join(dir, 'virtual-service.yaml')
  const edited = fs
    .readFileSync(service, 'utf8')
    .replace('weight: 90', 'weight: 0')
    .replace('weight: 10', 'weight: 100')
  fs.writeFileSync(service, edited)
  const deadline = Date.now() + 10_000
  let last: Record<string, number> = {}
  while (last.v2 !== 20) {
    if (Date.now() > deadline) throw new Error(`the edited weights took no effect: ${JSON.stringify(last)}`)
    last = await counts(20)
    expect(Object.keys(last).filter((key) => !/^v[12]$/.test(key))).toEqual([])
    await sleep(20)
  }
  expect(pilot.errors()).not.toMatch(/refused|error/)
})
