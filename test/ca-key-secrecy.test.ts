import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { inspect } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { spiffeId } from '../src/ca/ca.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'
import { type OpensslCa, OpensslFolder } from './support/openssl.ts'

let folder: OpensslFolder
let mesh: TestMesh
let dataDir: string
/** Everything that a gateway shows is made of this one. */
let shop: OpensslCa
/** All private keys that there are, or were. */
const keys = new Set<string>()

const base64 = (text: string) => Buffer.from(text).toString('base64')
const secret = (cert: string, key: string) => `
apiVersion: v1
kind: Secret
metadata: {name: shop-cert, namespace: default}
type: kubernetes.io/tls
data: {tls.crt: ${base64(cert)}, tls.key: ${base64(key)}}
---`
const GATEWAY = `
apiVersion: v1
kind: Pod
metadata:
  name: edge
  labels: {app: edge}
  annotations: {inject.istio.io/templates: gateway}
spec:
  serviceAccountName: edge
  containers: [{name: istio-proxy, image: auto}]
---
apiVersion: v1
kind: Service
metadata: {name: edge}
spec:
  selector: {app: edge}
  ports: [{name: https, port: 443}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {app: edge}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ["*"]
    tls: {mode: SIMPLE, credentialName: shop-cert}
---`

beforeAll(async () => {
  folder = new OpensslFolder()
  shop = folder.ca('/CN=shop')
  dataDir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-keys-'))
  const key = fs.readFileSync(shop.key, 'utf8')
  keys.add(key)
  mesh = await startMesh(
    {
      'base.yaml': [client(), service('reviews'), pod('reviews', 'v1'), GATEWAY].join(''),
      'secret.yaml': secret(shop.pem, key),
    },
    { dataDir, watch: true },
  )
})
afterAll(async () => {
  await mesh?.stop()
  folder?.remove()
  fs.rmSync(dataDir, { recursive: true, force: true })
})

function gather(): void {
  keys.add(fs.readFileSync(path.join(dataDir, 'ca-key.pem'), 'utf8'))
  for (const name of ['client', 'reviews', 'edge'])
    keys.add(mesh.mesh.ca.identityFor(spiffeId('cluster.local', 'default', name)).privateKeyPem)
}

/** What would give a key away: its base64 lines, as they are or without breaks, its PEM in base64 again, its bytes. */
function traces(pem: string): string[] {
  const lines = pem.split('\n').filter((line) => line !== '' && !line.startsWith('-----'))
  const der = Buffer.from(lines.join(''), 'base64')
  // Inside the DER of a key the numbers come last: what goes before is alike for all keys of a kind.
  const secretPart = der.subarray(40, 60)
  return [
    ...lines.slice(1),
    lines[0]!.slice(-16),
    base64(pem).slice(120, 160),
    secretPart.toString('hex'),
    [...secretPart].join(', '),
    [...secretPart].join(','),
  ]
}

const rejections = () => mesh.events.filter(({ type }) => type === 'rejected').length

it('a running mesh gives no private key away, whatever it is asked and whatever goes wrong', {
  timeout: 60_000,
}, async () => {
  gather()
  const outputs = new Map<string, string>()
  const logged: string[] = []
  const spied = (['log', 'error', 'warn'] as const).map((name) => {
    const before = console[name]
    console[name] = (...args: unknown[]) => {
      logged.push(args.map(String).join(' '))
    }
    return () => {
      console[name] = before
    }
  })
  try {
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(200)
    await mesh.mesh.ca.rotate()
    gather()
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(200)

    // A key that does not fit: pilot and the gateway have something to say about it.
    const other = folder.ca('/CN=other')
    const wrong = fs.readFileSync(other.key, 'utf8')
    keys.add(wrong)
    const writes = [wrong, wrong.replace(/\n.{10}/, '\nAAAAAAAAAA')].map(
      (bad) => () => mesh.write('secret.yaml', secret(shop.pem, bad)),
    )
    const pending: Promise<void>[] = []
    for (const write of writes) {
      const known = rejections()
      pending.push(write())
      while (rejections() === known) await new Promise((resolve) => setTimeout(resolve, 5))
    }

    for (const { name, admin } of mesh.mesh.workloads()) {
      for (const at of [
        '/config_dump',
        '/config_dump?include_eds',
        '/config_dump?resource=dynamic_active_secrets',
        '/config_dump?resource=dynamic_warming_secrets',
        '/config_dump?resource=static_secrets',
        '/config_dump?resource=dynamic_listeners',
        '/config_dump?resource=dynamic_active_clusters',
        '/certs',
        '/clusters?format=json',
        '/listeners?format=json',
        '/server_info',
        '/stats',
        '/stats?format=json',
        '/stats/prometheus',
        '/memory',
        '/',
        '/help',
      ])
        outputs.set(`${name} ${at}`, await (await fetch(`http://${admin}${at}`)).text())
    }
    for (const at of ['/v1/workloads', '/v1/links', '/v1/faults', '/v1/control-plane', '/v1/objects?kinds=Pod,Service'])
      outputs.set(at, await (await fetch(mesh.mesh.controlUrl + at)).text())
    outputs.set('--json', JSON.stringify({ ready: true, workloads: mesh.mesh.workloads() }))
    outputs.set('events', JSON.stringify(mesh.events))
    outputs.set('the CA', inspect(mesh.mesh.ca, { depth: 30, showHidden: true, maxArrayLength: null }))
    outputs.set('an identity', inspect(mesh.mesh.ca.identityFor(spiffeId('cluster.local', 'default', 'client'))))

    outputs.set('console', logged.join('\n'))
    await mesh.write('secret.yaml', secret(shop.pem, fs.readFileSync(shop.key, 'utf8')))
    await Promise.all(pending)
  } finally {
    for (const stop of spied) stop()
  }

  // There was something to hide: in every dump a key has its place, with nothing in it.
  const dump = outputs.get('client /config_dump?resource=dynamic_active_secrets')!
  expect(dump).toContain(base64('[redacted]'))
  const gateway = outputs.get('edge /config_dump?resource=dynamic_active_secrets')!
  expect(gateway).toContain('kubernetes://shop-cert')
  expect(outputs.get('events')).toContain('shop-cert')
  expect(keys.size).toBeGreaterThan(7)
  for (const key of keys) {
    const [line] = traces(key)
    expect([key.includes(line!), traces(key).some((trace) => base64(key).includes(trace))]).toEqual([true, true])
  }
  const found: string[] = []
  for (const [where, text] of outputs)
    for (const key of keys) for (const trace of traces(key)) if (text.includes(trace)) found.push(`${where}: ${trace}`)
  expect(found).toEqual([])
})

it('files with keys are for their owner alone', () => {
  for (const name of fs.readdirSync(dataDir))
    expect([name, fs.statSync(path.join(dataDir, name)).mode & 0o777]).toEqual([name, 0o600])
})
