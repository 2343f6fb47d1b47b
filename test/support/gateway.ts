import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import tls from 'node:tls'
import type { TestMesh } from './mesh.ts'

/** A gateway as Istio's charts install it: pod and service in istio-system. */
export function gatewayYaml({
  name = 'ingressgateway',
  annotations = '',
}: {
  name?: string
  annotations?: string
} = {}): string {
  return `
apiVersion: v1
kind: Service
metadata: {name: istio-${name}, namespace: istio-system}
spec:
  type: LoadBalancer
  selector: {istio: ${name}}
  ports:
  - {name: http2, port: 80, targetPort: 8080}
  - {name: https, port: 443, targetPort: 8443}
  - {name: tcp, port: 31400, targetPort: 31400}
  - {name: tls, port: 15443, targetPort: 15443}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: istio-${name}, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ${name}}}
  template:
    metadata:
      labels: {istio: ${name}, app: istio-${name}}
      annotations: {inject.istio.io/templates: gateway${annotations && `, ${annotations}`}}
    spec:
      serviceAccountName: istio-${name}
      containers: [{name: istio-proxy, image: auto}]
---`
}

/** YAML of a Secret with values as they are. */
export function secretYaml(name: string, data: Record<string, string>, namespace = 'istio-system'): string {
  return `
apiVersion: v1
kind: Secret
metadata: {name: ${name}, namespace: ${namespace}}
stringData: ${JSON.stringify(data)}
---`
}

/** Where a port of a workload's first instance is reached from outside. */
export function addressOf({ mesh }: TestMesh, workload: string, port: number): { host: string; port: number } {
  const view = mesh.workloads().find((known) => known.workload === workload)
  const at = view?.inbound[port]
  if (!at) throw new Error(`${workload} has no port ${port}: ${JSON.stringify(view?.inbound)}`)
  const colon = at.lastIndexOf(':')
  return { host: at.slice(0, colon), port: Number(at.slice(colon + 1)) }
}

/** What to ask a gateway. */
export interface Ask {
  readonly workload?: string
  readonly port?: number
  readonly path?: string
  readonly method?: string
  readonly headers?: Record<string, string>
  /** With it, over TLS. */
  readonly tls?: tls.ConnectionOptions
}

/** An answer. */
export interface Answer {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly text: string
  /** What a stand-in tells of itself and of what it received. */
  readonly echo: { workload: string; version?: string; request: { path: string; headers: Record<string, string> } }
  /** The certificate that was presented. */
  readonly certificate?: tls.PeerCertificate
  readonly protocol?: string | null
}

/** Sends a request for a host to a gateway, on a connection of its own. Rejects with what the system says. */
export async function ask(mesh: TestMesh, host: string, request: Ask = {}): Promise<Answer> {
  const to = addressOf(mesh, request.workload ?? 'istio-ingressgateway', request.port ?? (request.tls ? 8443 : 8080))
  const socket = request.tls
    ? tls.connect({ ...to, servername: host, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'], ...request.tls })
    : net.connect(to)
  const failed = once(socket, 'error').then(([error]) => Promise.reject(error as Error))
  const closed = once(socket, 'close').then(() => Promise.reject(new Error('closed')))
  failed.catch(() => {})
  closed.catch(() => {})
  await Promise.race([once(socket, request.tls ? 'secureConnect' : 'connect'), failed, closed])
  const certificate = socket instanceof tls.TLSSocket ? socket.getPeerCertificate() : undefined
  const protocol = socket instanceof tls.TLSSocket ? socket.getProtocol() : undefined
  const sent = http.request({
    createConnection: () => socket,
    method: request.method ?? 'GET',
    path: request.path ?? '/',
    headers: { host, ...request.headers },
  })
  sent.end()
  const [response] = (await Promise.race([
    once(sent, 'response'),
    once(sent, 'error').then(([e]) => Promise.reject(e)),
  ])) as [http.IncomingMessage]
  let text = ''
  for await (const chunk of response) text += chunk
  socket.destroy()
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    text,
    get echo() {
      return JSON.parse(text)
    },
    certificate,
    protocol,
  }
}
