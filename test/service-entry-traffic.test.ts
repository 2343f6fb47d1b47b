import fs from 'node:fs'
import http from 'node:http'
import type net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const cleanup: (() => unknown)[] = []
let mesh: TestMesh | undefined
afterEach(async () => {
  await mesh?.stop()
  mesh = undefined
  for (const fn of cleanup.splice(0)) await fn()
})

/** An HTTP server outside the mesh that says its name and the Host it was asked for. */
async function site(
  name: string,
  at: { port: number; host: string } | { path: string } = { port: 0, host: '127.0.0.1' },
) {
  const server = http.createServer((request, response) => response.end(`${name} ${request.headers.host}`))
  await new Promise<void>((resolve) => server.listen(at, resolve))
  cleanup.push(() => server.closeAllConnections())
  cleanup.push(() => server.close())
  const address = server.address() as net.AddressInfo | string
  return typeof address === 'string' ? 0 : address.port
}

const entry = (spec: string, more = '') => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api${more}}
spec:
${spec.replace(/^/gm, '  ')}
---`

const workload = (name: string, spec: string, labels = '') => `
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}${labels}}
spec: {${spec}}
---`

const HTTP = 'ports: [{number: 80, name: http, protocol: HTTP}]'
const url = 'http://api.example/'

async function answers(count: number): Promise<Record<string, number>> {
  const seen: Record<string, number> = {}
  for (let i = 0; i < count; i++) {
    const name = (await mesh!.get('client', url)).text.split(' ')[0]!
    seen[name] = (seen[name] ?? 0) + 1
  }
  return seen
}

test('WorkloadEntries that it selects are its endpoints, by weight, at ports of their own', async () => {
  const [one, two] = [await site('one'), await site('two')]
  mesh = await startMesh(
    client() +
      entry(`hosts: [api.example]\n${HTTP}\nresolution: STATIC\nworkloadSelector: {labels: {app: vm}}`) +
      workload('vm1', `address: 127.0.0.1, labels: {app: vm}, ports: {http: ${one}}, weight: 9`) +
      workload('vm2', `address: 127.0.0.1, labels: {app: none}, ports: {http: ${two}}`, ', labels: {app: vm}'),
    { seed: 3 },
  )
  const seen = await answers(40)
  expect(seen.one! + seen.two!).toBe(40)
  expect(seen.one!).toBeGreaterThan(seen.two! * 2)
})

test('a Kubernetes Service takes WorkloadEntries beside its pods', async () => {
  const port = await site('vm')
  mesh = await startMesh(
    client() +
      service('a') +
      pod('a', 'v1') +
      workload('vm', `address: 127.0.0.1, labels: {app: a}, ports: {http: ${port}}`),
    { seed: 1 },
  )
  const seen = new Set<string>()
  for (let i = 0; i < 12; i++)
    seen.add((await mesh.get('client', 'http://a:9080/')).text.startsWith('vm ') ? 'vm' : 'pod')
  expect([...seen].sort()).toEqual(['pod', 'vm'])
})

test('pods that it selects are its endpoints, with mutual TLS', async () => {
  mesh = await startMesh(
    client() +
      service('a') +
      pod('a', 'v1') +
      entry(
        'hosts: [api.example]\nlocation: MESH_INTERNAL\nports: [{number: 80, name: http, protocol: HTTP, targetPort: 9080}]\nresolution: STATIC\nworkloadSelector: {labels: {app: a}}',
      ),
  )
  const got = await mesh.get('client', url)
  expect(got.status).toBe(200)
  expect(got.echo!.request.headers['x-forwarded-client-cert']).toContain('sa/client')
})

test('an endpoint may be a unix socket', async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-'))
  cleanup.push(() => fs.rmSync(dir, { recursive: true, force: true }))
  await site('socket', { path: path.join(dir, 's') })
  mesh = await startMesh(
    client() + entry(`hosts: [api.example]\n${HTTP}\nresolution: STATIC\nendpoints: [{address: "unix://${dir}/s"}]`),
  )
  expect((await mesh.get('client', url)).text).toBe('socket api.example')
})

test('endpoints have labels, for subsets, and localities, for failover', async () => {
  const [near, far] = [await site('near'), await site('far')]
  mesh = await startMesh(
    client() +
      entry(
        `hosts: [api.example]\n${HTTP}\nresolution: STATIC\nendpoints:\n` +
          `- {address: 127.0.0.1, ports: {http: ${near}}, labels: {v: "1"}}\n` +
          `- {address: 127.0.0.1, ports: {http: ${far}}, labels: {v: "2"}}`,
      ) +
      `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api}
spec: {host: api.example, subsets: [{name: far, labels: {v: "2"}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api}
spec:
  hosts: [api.example]
  http: [{route: [{destination: {host: api.example, subset: far}}]}]
---`,
  )
  expect(await answers(6)).toEqual({ far: 6 })
})

test.each(['DNS', 'DNS_ROUND_ROBIN'])('resolution: %s asks for the names of its endpoints', async (resolution) => {
  const port = await site('named')
  mesh = await startMesh(
    client() +
      entry(
        `hosts: [api.example]\n${HTTP}\nresolution: ${resolution}\nendpoints: [{address: localhost, ports: {http: ${port}}}]`,
      ),
  )
  expect((await mesh.get('client', url)).text).toBe('named api.example')
})

test('resolution: NONE goes where the client was going, for all names of a wildcard', async () => {
  const port = await site('there')
  mesh = await startMesh(
    client() + entry(`hosts: ["*.example"]\nports: [{number: ${port}, name: http, protocol: HTTP}]\nresolution: NONE`),
  )
  const at = await mesh.mesh.captureOf('client', '127.0.0.1', port)
  const direct = await fetch(`http://${at.host}:${at.port}/`)
  expect(await direct.text()).toMatch(/^there /)
})

test('addresses may be a block', async () => {
  const port = await site('block')
  mesh = await startMesh(
    client() +
      entry(
        `hosts: [api.example]\naddresses: [10.77.0.0/16]\nports: [{number: 80, name: tcp, protocol: TCP}]\nresolution: STATIC\nendpoints: [{address: 127.0.0.1, ports: {tcp: ${port}}}]`,
      ),
  )
  const { host, port: captured } = await mesh.mesh.captureOf('client', '10.77.1.2', 80)
  const got = await fetch(`http://${host}:${captured}/`)
  expect(await got.text()).toMatch(/^block /)
})

test('of one that is exported to its own namespace, others know nothing', async () => {
  const port = await site('own')
  const block = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: istio-system}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
---`
  mesh = await startMesh(
    block +
      client() +
      client('client', 'other') +
      entry(
        `hosts: [api.example]\nexportTo: [.]\n${HTTP}\nresolution: STATIC\nendpoints: [{address: 127.0.0.1, ports: {http: ${port}}}]`,
      ) +
      entry(`hosts: [public.example]\n${HTTP}\nresolution: DNS`, '2'),
  )
  expect((await mesh.get('client', url)).status).toBe(200)
  expect((await mesh.get('client.other', url)).status).toBe(502)
})

test('serviceEntryVisibility narrows what ServiceEntries export', async () => {
  const port = await site('own')
  const config = `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
    serviceEntryVisibility: {applyToSidecars: true, defaultVisibility: NAMESPACE}
---`
  mesh = await startMesh(
    config +
      client() +
      client('client', 'other') +
      service('b') +
      pod('b', 'v1') +
      entry(
        `hosts: [api.example]\n${HTTP}\nresolution: STATIC\nendpoints: [{address: 127.0.0.1, ports: {http: ${port}}}]`,
      ),
  )
  expect((await mesh.get('client', url)).status).toBe(200)
  expect([0, 502]).toContain((await mesh.get('client.other', url)).status)
})

test('discoverySelectors choose the namespaces that the mesh knows of', async () => {
  const config = `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    discoverySelectors: [{matchLabels: {mesh: "yes"}}]
---
apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {mesh: "yes"}}
---
apiVersion: v1
kind: Namespace
metadata: {name: hidden}
---`
  mesh = await startMesh(
    config +
      client() +
      service('a') +
      pod('a', 'v1') +
      service('b', 'hidden') +
      pod('b', 'v1', { namespace: 'hidden' }),
  )
  expect((await mesh.get('client', 'http://a:9080/')).status).toBe(200)
  expect(mesh.mesh.registry.byHostname('b.hidden.svc.cluster.local')).toBeUndefined()
  expect(mesh.mesh.registry.byHostname('a.default.svc.cluster.local')).toBeDefined()
})

test('discoverySelectors may name namespaces, by the label that every one has', async () => {
  mesh = await startMesh(
    `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    discoverySelectors: [{matchLabels: {kubernetes.io/metadata.name: default}}]
---
apiVersion: v1
kind: Namespace
metadata: {name: default}
---
apiVersion: v1
kind: Namespace
metadata: {name: hidden}
---` +
      client() +
      service('a') +
      pod('a', 'v1') +
      service('b', 'hidden'),
  )
  expect((await mesh.get('client', 'http://a:9080/')).status).toBe(200)
  expect(mesh.mesh.registry.byHostname('b.hidden.svc.cluster.local')).toBeUndefined()
})
