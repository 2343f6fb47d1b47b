import { X509Certificate } from 'node:crypto'
import { afterEach, expect, it } from 'vitest'
import { MovableRuntime } from '../src/runtime-movable.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'
import { OpensslFolder } from './support/openssl.ts'

const HOUR = 3_600_000

const STRICT = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---`

let mesh: TestMesh | undefined
const folders: OpensslFolder[] = []
afterEach(async () => {
  await mesh?.stop()
  mesh = undefined
  for (const folder of folders.splice(0)) folder.remove()
})

/** The certificate that a sidecar shows. */
async function shown(workload: string): Promise<X509Certificate> {
  const { admin } = mesh!.mesh.workloads().find((w) => w.name === workload)!
  const dump = (await (await fetch(`http://${admin}/config_dump?resource=dynamic_active_secrets`)).json()) as {
    configs: { name: string; secret: { tls_certificate: { certificate_chain: { inline_bytes: string } } } }[]
  }
  const { secret } = dump.configs.find(({ name }) => name === 'default')!
  return new X509Certificate(Buffer.from(secret.tls_certificate.certificate_chain.inline_bytes, 'base64'))
}

const gauge = async (workload: string, name: string): Promise<number> => {
  const { admin } = mesh!.mesh.workloads().find((w) => w.name === workload)!
  const text = await (await fetch(`http://${admin}/stats?filter=${name}`)).text()
  return Number(/: (\d+)/.exec(text)?.[1])
}

it('certificates are replaced when half of their lives is over, and again, without anyone asking', {
  timeout: 60_000,
}, async () => {
  const runtime = new MovableRuntime()
  mesh = await startMesh([STRICT, client(), service('server'), pod('server', 'v1')].join(''), {
    runtime,
    env: { SECRET_TTL: '2h' },
  })
  expect((await mesh.get('client', 'http://server:9080/')).status).toBe(200)
  const first = await shown('client')
  expect(Math.round((Date.parse(first.validTo) - runtime.wallNow()) / HOUR)).toBe(2)

  await runtime.advance(0.9 * HOUR)
  expect((await shown('client')).serialNumber).toBe(first.serialNumber)
  await runtime.advance(0.2 * HOUR)
  const second = await shown('client')
  expect(second.serialNumber).not.toBe(first.serialNumber)
  expect((await shown('server-v1')).subjectAltName).toBe('URI:spiffe://cluster.local/ns/default/sa/server')
  expect((await mesh.get('client', 'http://server:9080/')).status).toBe(200)

  await runtime.advance(4 * HOUR)
  const last = await shown('server-v1')
  expect(Date.parse(last.validTo) - runtime.wallNow()).toBeGreaterThan(0.9 * HOUR)
  expect((await mesh.get('client', 'http://server:9080/')).status).toBe(200)
  const name = 'ssl.certificate.default.expiration_unix_time_seconds'
  expect(await gauge('server-v1', `listener.*${name}`)).toBe(Date.parse(last.validTo) / 1000)
})

it('a CA that runs out is told of; its last certificates are renewed until then', { timeout: 60_000 }, async () => {
  const folder = new OpensslFolder()
  folders.push(folder)
  const runtime = new MovableRuntime()
  const end = new Date(Date.now() + 2 * HOUR)
  const stamp = `${end.toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`
  const { cert, key } = folder.ca('/CN=Brief', { notAfter: stamp })
  mesh = await startMesh([STRICT, client(), service('server'), pod('server', 'v1')].join(''), {
    runtime,
    ca: { cert, key },
  })
  const first = await shown('client')
  expect(Date.parse(first.validTo)).toBe(Math.floor(end.getTime() / 1000) * 1000)
  await runtime.advance(1.2 * HOUR)
  expect((await shown('client')).serialNumber).not.toBe(first.serialNumber)
  await runtime.advance(HOUR)
  const messages = mesh.events.map((event) => ('message' in event ? event.message : ''))
  expect(messages).toContainEqual(
    `no certificate can be renewed: the CA certificate CN=Brief expired on ${new Date(Date.parse(first.validTo)).toISOString()}`,
  )
})
