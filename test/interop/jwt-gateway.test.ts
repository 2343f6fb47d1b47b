import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeAll, expect, test } from 'vitest'
import { jwksOf, makeSigner, startKeyServer } from '../support/jwt.ts'
import { adsBootstrap, dinghyProxy, envoyBinary, realEnvoy, sdsCluster, startEnvoy } from './envoy.ts'
import { freePorts, startCommand } from './processes.ts'

// `dinghy pilot` with a real Envoy for a gateway, and with `dinghy proxy` in its place: keys that pilot fetches, tokens
// that the gateway checks, and routes by their claims.

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step()
})
beforeAll(async () => {
  await envoyBinary()
})

const GATEWAY_IP = '127.77.0.5'
const me = makeSigner('mine')
const other = makeSigner('other')

/** An app that answers with its version and what it got of tokens and claims. */
async function app(version: string, ip: string, port: number): Promise<number> {
  const server = http.createServer(({ headers }, response) => {
    response.end(`${version} ${headers.authorization ? 'token' : 'no-token'} ${headers['x-sub'] ?? '-'}`)
  })
  await new Promise<void>((resolve) => server.listen(port, ip, resolve))
  cleanup.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return (server.address() as AddressInfo).port
}

const documents = (port: number, gatewayPort: number, rule: object) => `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: ${port}}]}
${['v1', 'v2']
  .map(
    (version, i) => `---
apiVersion: v1
kind: Pod
metadata:
  name: web-${version}
  labels: {app: web, version: ${version}}
  annotations: {sidecar.istio.io/inject: "false"}
spec: {containers: [{name: web, image: example.com/web, ports: [{containerPort: ${port}}]}]}
status: {podIP: 127.77.0.${i + 6}}
`,
  )
  .join('')}---
apiVersion: v1
kind: Service
metadata: {name: gw, namespace: istio-system}
spec: {selector: {istio: ingressgateway}, ports: [{name: http, port: ${gatewayPort}}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: gw-0
  namespace: istio-system
  labels: {istio: ingressgateway}
  annotations: {inject.istio.io/templates: gateway}
spec: {containers: [{name: istio-proxy, image: auto}]}
status: {podIP: ${GATEWAY_IP}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: ${gatewayPort}, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: ["*"]
  gateways: [web]
  http:
  - match: [{headers: {"@request.auth.claims[org][group]": {exact: beta}}}]
    route: [{destination: {host: web, subset: v2}}]
  - route: [{destination: {host: web, subset: v1}}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  jwtRules: ${JSON.stringify([rule])}
`

test.each([
  ['a real Envoy', realEnvoy],
  ['dinghy proxy', dinghyProxy],
] as const)('%s under our pilot checks tokens with fetched keys, and routes by claims', async (_, command) => {
  const port = await app('v1', '127.77.0.6', 0)
  await app('v2', '127.77.0.7', port)
  const keys = await startKeyServer(jwksOf(me))
  cleanup.push(() => keys.stop())
  const [gatewayPort] = await freePorts(1)
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-jwt-'))
  cleanup.push(() => fs.rmSync(dir, { recursive: true, force: true }))
  const claims = [{ header: 'x-sub', claim: 'sub' }]
  const rule = { issuer: keys.url, audiences: ['shop'], outputClaimToHeaders: claims }
  fs.writeFileSync(path.join(dir, 'all.yaml'), documents(port, gatewayPort!, rule))

  const socket = path.join(dir, 'sds', 'socket')
  const pilot = startCommand(
    ['pilot', '--config', dir, '--grpc-addr', '127.0.0.1:0', '--tls-addr', 'none', '--sds-socket', socket],
    {
      // What only Istio's own Envoy has is left out, by istiod's switches.
      PILOT_ENABLE_METADATA_EXCHANGE: 'false',
      PILOT_ENABLE_ALPN_FILTER: 'false',
      PILOT_DISABLE_MX_ALPN: 'true',
      PILOT_JWT_PUB_KEY_REFRESH_INTERVAL: '500ms',
    },
  )
  cleanup.push(async () => expect(await pilot.stop()).toBe(0))
  await pilot.said(/serving SDS/)
  const [, adsPort] = await pilot.said(/^serving ADS at 127\.0\.0\.1:(\d+)$/m)
  const node = `router~${GATEWAY_IP}~gw-0.istio-system~istio-system.svc.cluster.local`
  const bootstrap = adsBootstrap(Number(adsPort), 'delta', node)
  bootstrap.static_resources.clusters.push(sdsCluster(socket))
  const metadata = { NAMESPACE: 'istio-system' }
  const envoy = await startEnvoy({ ...bootstrap, node: { ...bootstrap.node, metadata } }, command)
  cleanup.push(() => envoy.stop())
  expect(pilot.errors()).not.toMatch(/refused|error|fetched/)

  const ask = (token?: string) =>
    new Promise<string>((resolve, reject) => {
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
      const options = { host: '127.0.0.1', port: gatewayPort, agent: false, headers }
      const request = http.get(options, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () => resolve(`${response.statusCode} ${text}`))
      })
      request.on('error', reject)
    })
  const token = (more: object = {}, signer = me) => signer.sign({ iss: keys.url, aud: 'shop', sub: 'ann', ...more })
  expect(await ask()).toBe('200 v1 no-token -')
  expect(await ask(token())).toBe('200 v1 no-token ann')
  expect(await ask(token({ org: { group: 'beta' } }))).toBe('200 v2 no-token ann')
  expect(await ask(token({ org: { group: ['alpha', 'beta'] } }))).toBe('200 v2 no-token ann')
  expect(await ask(token({ exp: 1 }))).toBe('401 Jwt is expired')
  expect(await ask(token({ aud: 'other' }))).toBe('403 Audiences in Jwt are not allowed')
  expect(await ask(token({}, other))).toBe("401 Jwks doesn't have key to match kid or alg from Jwt")

  keys.jwks = jwksOf(other)
  const deadline = Date.now() + 10_000
  while (!(await ask(token({}, other))).startsWith('200')) {
    if (Date.now() > deadline) throw new Error('rotated keys took no effect')
    await sleep(20)
  }
  expect(await ask(token())).toMatch(/^401 /)
  expect(pilot.errors()).not.toMatch(/refused|error|cannot be fetched/)
})
