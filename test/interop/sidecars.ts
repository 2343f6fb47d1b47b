import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { Agent, request } from 'undici'
import { expect } from 'vitest'
import { agentBootstrap, dinghyCli, envoyBinary, type RunningEnvoy, startEnvoy } from './envoy.ts'
import { freePorts, startCommand } from './processes.ts'

/** The pods, and their addresses. */
export const IPS = { server: '127.78.1.2', client: '127.78.1.3', stranger: '127.78.1.4' }
type Pod = keyof typeof IPS
const PODS = Object.keys(IPS) as Pod[]

/** The SPIFFE id of a pod. */
export const idOf = (pod: Pod): string => `spiffe://cluster.local/ns/default/sa/${pod}`

/** A sidecar that runs. */
export interface Sidecar {
  readonly envoy: RunningEnvoy
  /** Calls a host and port by way of it. */
  get(host: string, port: number): Promise<{ status: number; text: string }>
  stop(): Promise<void>
}

/** What tests do with the control plane and the agents. */
export interface World {
  /** For files of the test. */
  readonly dir: string
  /** The port of the service `server`. */
  readonly servicePort: number
  /** Where the server's sidecar listens. */
  readonly listenPort: number
  /** The port of services outside of the mesh, if there are any. */
  readonly outsidePort: number
  /** PEM of the mesh's root. */
  readonly root: string
  /** What the control plane has said. */
  errors(): string
  sidecar(pod: Pod, command: () => Promise<string[]>): Promise<Sidecar>
  stop(): Promise<void>
}

/** Ports that objects have in them. */
export interface Ports {
  readonly app: number
  readonly listen: number
  readonly service: number
  readonly outside: number
}

/**
 * A control plane, `dinghy pilot`, with an agent, `dinghy sds`, for each of three pods: one that serves, one that may call it,
 * and one that may not. Mutual TLS is compulsory. There is no kernel redirection: sidecars bind the ports of their pods (Sidecar,
 * captureMode NONE). `more` are further objects.
 */
export async function startWorld(more: (ports: Ports, dir: string) => string = () => ''): Promise<World> {
  await envoyBinary()
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-mtls-'))
  const cleanup: (() => unknown)[] = [() => fs.rmSync(dir, { recursive: true, force: true })]
  const app = http.createServer((request, response) => {
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(request.headers))
  })
  await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve))
  cleanup.push(() => {
    app.close()
    app.closeAllConnections()
  })
  const [listen, service, outside] = (await freePorts(3)) as [number, number, number]
  const ports = { app: (app.address() as AddressInfo).port, listen, service, outside }
  fs.mkdirSync(path.join(dir, 'objects'))
  fs.writeFileSync(path.join(dir, 'objects', 'mesh.yaml'), objects(ports) + more(ports, dir))
  const data = path.join(dir, 'data')
  const doors = ['--grpc-addr', '127.0.0.1:0', '--tls-addr', '127.0.0.1:0']
  const pilot = startCommand(
    ['pilot', '--config', path.join(dir, 'objects'), '--data-dir', data, ...doors],
    // What only Istio's own Envoy has is left out, by istiod's switches.
    { PILOT_ENABLE_METADATA_EXCHANGE: 'false', PILOT_ENABLE_ALPN_FILTER: 'false', PILOT_DISABLE_MX_ALPN: 'true' },
  )
  cleanup.push(async () => expect(await pilot.stop()).toBe(0))
  const tlsPort = Number((await pilot.said(/over TLS at 127\.0\.0\.1:(\d+)\n/))[1])
  const socketOf = (pod: Pod) => path.join(dir, pod, 'socket')
  const rootFile = path.join(data, 'ca-cert.pem')
  for (const pod of PODS) {
    const token = path.join(dir, `${pod}.token`)
    const args = ['create', 'token', pod, '--audience', 'istio-ca', '--data-dir', data]
    fs.writeFileSync(token, execFileSync(process.execPath, [dinghyCli(), ...args]), { mode: 0o600 })
    const ca = ['--ca-addr', `127.0.0.1:${tlsPort}`, '--ca-root', rootFile, '--token-file', token]
    const agent = startCommand(['sds', '--socket', socketOf(pod), ...ca])
    cleanup.push(async () => expect(await agent.stop()).toBe(0))
    expect((await agent.said(/serving SDS for (\S+) at/))[1]).toBe(idOf(pod))
  }
  return {
    dir,
    servicePort: service,
    listenPort: listen,
    outsidePort: outside,
    root: fs.readFileSync(rootFile, 'utf8'),
    errors: () => pilot.errors(),
    async sidecar(pod, command) {
      const bootstrap = agentBootstrap({
        pod: `${pod}.default`,
        ip: IPS[pod],
        metadata: { SERVICE_ACCOUNT: pod, INTERCEPTION_MODE: 'NONE' },
        xdsPort: tlsPort,
        sdsSocket: socketOf(pod),
      })
      const envoy = await startEnvoy(bootstrap, command)
      const agent = new Agent()
      return {
        envoy,
        async get(host, port) {
          const { statusCode, body } = await request(`http://${IPS[pod]}:${port}/`, {
            dispatcher: agent,
            headers: { host },
          })
          return { status: statusCode, text: await body.text() }
        },
        async stop() {
          await agent.destroy()
          await envoy.stop()
        },
      }
    },
    async stop() {
      for (const step of cleanup.splice(0).reverse()) await step()
    },
  }
}

const objects = ({ app, listen, service, outside }: Ports) => `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-the-client}
spec:
  selector: {matchLabels: {app: server}}
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/client]}}]}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: server}
spec:
  workloadSelector: {labels: {app: server}}
  ingress:
  - port: {number: ${listen}, protocol: HTTP, name: http}
    bind: ${IPS.server}
    captureMode: NONE
    defaultEndpoint: 127.0.0.1:${app}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{name: http, port: ${service}, targetPort: ${listen}}]}
${['client' as const, 'stranger' as const]
  .map(
    (pod) => `---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: ${pod}}
spec:
  workloadSelector: {labels: {app: ${pod}}}
  egress:
  - port: {number: ${service}, protocol: HTTP, name: http}
    bind: ${IPS[pod]}
    captureMode: NONE
    hosts: [./server.default.svc.cluster.local]
  - port: {number: ${outside}, protocol: HTTP, name: outside}
    bind: ${IPS[pod]}
    captureMode: NONE
    hosts: [./mutual.example.com, ./simple.example.com]
`,
  )
  .join('')}${PODS.map(
  (pod) => `---
apiVersion: v1
kind: ServiceAccount
metadata: {name: ${pod}}
---
apiVersion: v1
kind: Pod
metadata: {name: ${pod}, labels: {app: ${pod}}}
spec:
  serviceAccountName: ${pod}
  containers: [{name: app, image: example.com/app}]
status: {podIP: ${IPS[pod]}}
`,
).join('')}`
