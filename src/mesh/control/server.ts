import http from 'node:http'
import type net from 'node:net'
import { FaultSyntaxError } from '../../api/server-fault.ts'
import { UnknownServiceAccountError } from '../../pilot/ca-service/service-accounts.ts'
import { TokenError } from '../../pilot/ca-service/token.ts'
import type { MeshFaults } from '../faults/mesh-faults.ts'
import { UnknownWorkloadError } from '../find-workload.ts'
import type { LoadTarget } from '../load/run.ts'
import { UnknownHostError } from '../names.ts'
import { type ObjectsView, UnknownResourceError } from '../object-views.ts'
import type { CallRequest, ControlPlaneView, CreateTokenRequest, WorkloadView } from './api.ts'
import { BadCallError, type Caller, call } from './call.ts'
import type { LinksView } from './link-view.ts'

/** The most that a request to the control interface may carry, bytes. */
const MAX_REQUEST = 32 * 1024 * 1024

/** What the control interface shows and does. */
export interface ControlTarget extends Caller {
  workloads(): readonly WorkloadView[]
  workload(name: string): WorkloadView
  /** Objects of resources, as in `svc,httproutes`; of all namespaces for ''. Throws UnknownResourceError. */
  objects(kinds: string, namespace: string): ObjectsView[]
  /** Which connections between workloads are mutual TLS. */
  links(): LinksView
  /** For loads that another process sends. */
  readonly recordings: LoadTarget
  readonly faults: MeshFaults
  controlPlane(): ControlPlaneView
  /** A token of a service account. Throws UnknownServiceAccountError and TokenError. */
  createToken(request: CreateTokenRequest): string
}

/** A listening control interface. */
export interface ControlServer {
  readonly url: string
  close(): Promise<void>
}

/**
 * The control interface of a running mesh, on its own loopback address: `GET /v1/workloads`,
 * `GET /v1/workload?name=`, `GET /v1/objects?kinds=&namespace=`, `GET /v1/links`, `POST /v1/call`, and `/v1/faults[?workload=]` with GET, PUT (`{"fault": "abort 503"}`)
 * and DELETE. A request whose Host is not the interface's own address is refused, so
 * that no web page can reach it under a name of its own; and so is what a browser sends for a page.
 */
export async function startControl(target: ControlTarget, host: string, port: number): Promise<ControlServer> {
  const server = http.createServer((request, response) => {
    answer(request, target).then(
      ([status, value]) => reply(response, status, value),
      (e: Error) => reply(response, statusOf(e), { error: e.message }),
    )
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  })
  server.unref()
  const at = server.address() as net.AddressInfo
  return {
    url: `http://${at.address}:${at.port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function answer(request: http.IncomingMessage, target: ControlTarget): Promise<[number, unknown]> {
  const local = `${request.socket.localAddress}:${request.socket.localPort}`
  const { host, origin, 'sec-fetch-site': site } = request.headers
  if (host !== local) return [403, { error: `this is ${local}, not ${host}` }]
  // Only browsers say these: of pages of other places, but those who type an address in come from none.
  if (origin !== undefined || (site !== undefined && site !== 'none'))
    return [403, { error: 'this interface is not for web pages' }]
  const url = new URL(request.url ?? '/', `http://${local}`)
  switch (`${request.method} ${url.pathname}`) {
    case 'GET /v1/workloads':
      return [200, { workloads: target.workloads() }]
    case 'GET /v1/workload':
      return [200, target.workload(url.searchParams.get('name') ?? '')]
    case 'GET /v1/objects': {
      const { searchParams } = url
      return [200, { objects: target.objects(searchParams.get('kinds') ?? '', searchParams.get('namespace') ?? '') }]
    }
    case 'GET /v1/links':
      return [200, target.links()]
    case 'GET /v1/faults':
      return [200, { faults: target.faults.list(url.searchParams.get('workload') ?? undefined) }]
    case 'PUT /v1/faults':
      return [200, { faults: await target.faults.set(url.searchParams.get('workload') ?? '', await faultOf(request)) }]
    case 'DELETE /v1/faults':
      return [200, { faults: await target.faults.clear(url.searchParams.get('workload') ?? undefined) }]
    case 'POST /v1/recordings': {
      const { from, url: to } = JSON.parse(await bodyOf(request)) as { from: string; url: string }
      return [200, await target.recordings.start(from, to)]
    }
    case 'DELETE /v1/recordings':
      return [200, await target.recordings.finish(url.searchParams.get('id') ?? '')]
    case 'GET /v1/control-plane':
      return [200, target.controlPlane()]
    case 'POST /v1/tokens':
      return [200, { token: target.createToken(tokenRequestOf(await bodyOf(request))) }]
    case 'POST /v1/call':
      return [200, { answers: await call(JSON.parse(await bodyOf(request)) as CallRequest, target) }]
    default:
      return [404, { error: `there is no ${request.method} ${url.pathname}` }]
  }
}

function tokenRequestOf(body: string): CreateTokenRequest {
  const request = JSON.parse(body) as Partial<Record<keyof CreateTokenRequest, unknown>> | null
  const { namespace, name, audiences, seconds } = request ?? {}
  const listed = audiences === undefined || (Array.isArray(audiences) && audiences.every((a) => typeof a === 'string'))
  const timed = seconds === undefined || typeof seconds === 'number'
  if (typeof namespace !== 'string' || typeof name !== 'string' || !listed || !timed)
    throw new BadCallError('the body must be {"namespace": "…", "name": "…"}, and may have audiences and seconds')
  return { namespace, name, audiences, seconds }
}

async function faultOf(request: http.IncomingMessage): Promise<string> {
  const body = JSON.parse(await bodyOf(request)) as { fault?: unknown } | null
  if (typeof body?.fault !== 'string')
    throw new BadCallError('the body must be {"fault": "…"}, as in {"fault": "abort 503"}')
  return body.fault
}

async function bodyOf(request: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_REQUEST) throw new BadCallError(`a request may have at most ${MAX_REQUEST} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

const NOT_FOUND = [UnknownWorkloadError, UnknownHostError, UnknownResourceError, UnknownServiceAccountError]
const BAD_REQUEST = [BadCallError, SyntaxError, FaultSyntaxError, TokenError]

function statusOf(e: Error): number {
  if (NOT_FOUND.some((known) => e instanceof known)) return 404
  return BAD_REQUEST.some((known) => e instanceof known) ? 400 : 500
}

function reply(response: http.ServerResponse, status: number, value: unknown): void {
  const body = JSON.stringify(value)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
  response.end(body)
}
