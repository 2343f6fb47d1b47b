import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { CallAnswer } from '../../src/mesh/control/api.ts'
import { Mesh, type MeshEvent } from '../../src/mesh/mesh.ts'
import type { MeshOptions } from '../../src/mesh/mesh-options.ts'

/** What a stand-in answers. */
export interface Echo {
  readonly workload: string
  readonly instance: string
  readonly namespace: string
  readonly version?: string
  readonly request: { method: string; path: string; headers: Record<string, string>; body?: string }
  readonly calls?: { url: string; status: number; answer?: Echo; error?: string }[]
}

/** One answer with its body read. */
export interface Got {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
  /** The stand-in's answer; undefined when the body is no JSON. */
  readonly echo: Echo | undefined
  readonly answer: CallAnswer
}

/** How to send a request. */
export interface Send {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: string
}

/** A mesh of one test, on files of its own. */
export interface TestMesh {
  readonly mesh: Mesh
  readonly events: MeshEvent[]
  /** Replaces the content of a file and waits until the change is in force. */
  write(name: string, yaml: string): Promise<void>
  get(from: string, url: string, send?: Send): Promise<Got>
  /** The versions (else workloads) that answered `count` requests, counted; other answers by status. */
  split(from: string, url: string, count: number, send?: Send): Promise<Record<string, number>>
  /** The lines a sidecar has written to /dev/stdout so far; waits until there are `atLeast`. */
  logLines(namespace: string, pod: string, atLeast: number): Promise<string[]>
  stop(): Promise<void>
}

/** Starts a mesh on the given YAML (one file, or several by name). */
export async function startMesh(
  yaml: string | Record<string, string>,
  options: Partial<MeshOptions> = {},
): Promise<TestMesh> {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-test-'))
  const config = path.join(root, 'config')
  const logDir = path.join(root, 'logs')
  fs.mkdirSync(config)
  const files = typeof yaml === 'string' ? { 'mesh.yaml': yaml } : yaml
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(config, name), text)
  const events: MeshEvent[] = []
  const waiting = new Set<() => void>()
  let mesh: Mesh
  try {
    mesh = await Mesh.start({
      sources: [config],
      logDir,
      announce: false,
      env: {},
      ...options,
      onEvent(event) {
        events.push(event)
        for (const wake of waiting) wake()
      },
    })
  } catch (e) {
    fs.rmSync(root, { recursive: true, force: true })
    throw Object.assign(e as Error, { events })
  }
  const send = (from: string, url: string, count: number, request: Send = {}) =>
    mesh.call({
      from,
      url,
      method: request.method ?? (request.body === undefined ? 'GET' : 'POST'),
      headers: Object.entries(request.headers ?? {}),
      body: Buffer.from(request.body ?? '').toString('base64'),
      count,
      concurrency: 1,
      timeout: 10_000,
    })
  return {
    mesh,
    events,
    async write(name, text) {
      const changed = new Promise<void>((resolve) => {
        const seen = events.length
        const wake = () => {
          if (!events.slice(seen).some((e) => e.type === 'changed' || e.type === 'problems')) return
          waiting.delete(wake)
          resolve()
        }
        waiting.add(wake)
      })
      fs.writeFileSync(path.join(config, name), text)
      await changed
      await mesh.settled()
    },
    async get(from, url, request) {
      const [answer] = await send(from, url, 1, request)
      const text = Buffer.from(answer!.body ?? '', 'base64').toString()
      return {
        status: answer!.status,
        headers: Object.fromEntries(answer!.headers),
        text,
        echo: parse(text),
        answer: answer!,
      }
    },
    async split(from, url, count, request) {
      const counts: Record<string, number> = {}
      for (const answer of await send(from, url, count, request)) {
        const workload = answer.by && mesh.registry.workloads.find((w) => w.name === answer.by)
        const name = workload ? (workload.labels.version ?? workload.workloadName) : String(answer.status)
        counts[name] = (counts[name] ?? 0) + 1
      }
      return counts
    },
    async logLines(namespace, pod, atLeast) {
      const file = path.join(logDir, namespace, `${pod}.log`)
      const read = () => (fs.existsSync(file) ? fs.readFileSync(file, 'utf8').split('\n').filter(Boolean) : [])
      for (;;) {
        const lines = read()
        if (lines.length >= atLeast) return lines
        await new Promise<void>((resolve) => {
          fs.mkdirSync(path.dirname(file), { recursive: true })
          const watcher = fs.watch(path.dirname(file), () => {
            watcher.close()
            resolve()
          })
          if (read().length >= atLeast) {
            watcher.close()
            resolve()
          }
        })
      }
    },
    async stop() {
      await mesh.stop()
      fs.rmSync(root, { recursive: true, force: true })
    },
  }
}

function parse(text: string): Echo | undefined {
  try {
    return JSON.parse(text) as Echo
  } catch {
    return undefined
  }
}

/** A service on port 9080 (named `http`) that selects `app: <name>`. */
export function service(
  name: string,
  namespace = 'default',
  port: { name: string; port: number } = { name: 'http', port: 9080 },
): string {
  return `
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  selector: {app: ${name}}
  ports: [{name: ${port.name}, port: ${port.port}}]
---`
}

/** A pod called `<app>-<version>`, with stand-ins on its port. */
export function pod(
  app: string,
  version: string,
  more: {
    namespace?: string
    port?: number
    annotations?: string
    labels?: string
    spec?: string
    status?: string
  } = {},
): string {
  return `
apiVersion: v1
kind: Pod
metadata:
  name: ${app}-${version}
  namespace: ${more.namespace ?? 'default'}
  labels: {app: ${app}, version: ${version}${more.labels ? `, ${more.labels}` : ''}}
  annotations: {${more.annotations ?? ''}}
spec:
  serviceAccountName: ${app}${more.spec ? `\n  ${more.spec}` : ''}
  containers: [{name: app, image: app, ports: [{containerPort: ${more.port ?? 9080}}]}]
${more.status ?? ''}
---`
}

/** A pod without ports, to call from. */
export function client(name = 'client', namespace = 'default'): string {
  return `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: ${namespace}, labels: {app: ${name}}}
spec:
  serviceAccountName: ${name}
  containers: [{name: app, image: app}]
---`
}
