import { X509Certificate } from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Timer } from '../src/runtime.ts'
import { SystemRuntime } from '../src/runtime-system.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'
import { type OpensslCa, OpensslFolder } from './support/openssl.ts'

/** The wait that is there to let handshakes end takes as long as the test wants. */
class HastyRuntime extends SystemRuntime {
  private readonly waiting: (() => void)[] = []
  private readonly ms: number | undefined

  /** Without `ms`, until `pass`. */
  constructor(ms?: number) {
    super()
    this.ms = ms
  }

  override after(ms: number, fn: () => void): Timer {
    if (ms !== 12_000) return super.after(ms, fn)
    if (this.ms !== undefined) return super.after(this.ms, fn)
    this.waiting.push(fn)
    return { cancel: () => {} }
  }

  /** What waits has waited long enough. */
  async pass(): Promise<void> {
    while (this.waiting.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    for (const fn of this.waiting.splice(0)) fn()
  }
}

const YAML = [
  `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultHttpRetryPolicy: {attempts: 0}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: server}
spec:
  host: server
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}
---`,
  client(),
  service('server').replace('spec:', 'spec:\n  clusterIP: 10.96.8.1'),
  pod('server', 'v1'),
].join('')

let folder: OpensslFolder
let old: OpensslCa
let oldMiddle: OpensslCa
let fresh: OpensslCa
let freshMiddle: OpensslCa
let mesh: TestMesh | undefined

beforeAll(() => {
  folder = new OpensslFolder()
  old = folder.ca('/CN=Old root')
  oldMiddle = folder.ca('/CN=Old signer', { issuer: old })
  fresh = folder.ca('/CN=New root', { rsa: true })
  freshMiddle = folder.ca('/CN=New signer', { issuer: fresh })
})
afterEach(async () => {
  await mesh?.stop()
  mesh = undefined
})
afterAll(() => folder.remove())

/** What a sidecar shows and trusts, by the subjects of SDS secrets. */
async function held(workload: string): Promise<{ roots: string[]; signer: string }> {
  const { admin } = mesh!.mesh.workloads().find((w) => w.name === workload)!
  const dump = (await (await fetch(`http://${admin}/config_dump?resource=dynamic_active_secrets`)).json()) as {
    configs: { name: string; secret: { tls_certificate?: Chain; validation_context?: { trusted_ca: Bytes } } }[]
  }
  const pem = (name: string, of: (secret: (typeof dump.configs)[0]['secret']) => Bytes | undefined) =>
    Buffer.from(of(dump.configs.find((c) => c.name === name)!.secret)!.inline_bytes, 'base64').toString()
  const names = (text: string, which: 'subject' | 'issuer') =>
    text
      .split(/(?<=-----END CERTIFICATE-----\n)/)
      .filter(Boolean)
      .map((one) => new X509Certificate(one)[which] ?? '')
  return {
    roots: names(
      pem('ROOTCA', (s) => s.validation_context?.trusted_ca),
      'subject',
    ),
    signer: names(
      pem('default', (s) => s.tls_certificate?.certificate_chain),
      'issuer',
    )[0]!,
  }
}
interface Bytes {
  inline_bytes: string
}
interface Chain {
  certificate_chain: Bytes
}

/** Requests one after the other, each over a connection of its own between the sidecars. */
async function load(): Promise<{
  outcomes: Record<string, number>
  more(n: number): Promise<void>
  stop(): Promise<void>
}> {
  const { host, port } = await mesh!.mesh.captureOf('client', '10.96.8.1', 9080)
  const agent = new http.Agent({ keepAlive: true })
  const outcomes: Record<string, number> = {}
  let running = true
  let total = 0
  const get = () =>
    new Promise<string>((resolve) => {
      const request = http.get({ host, port, agent, headers: { host: 'server:9080' } }, (response) => {
        response.resume()
        response.on('end', () => resolve(String(response.statusCode)))
      })
      request.on('error', (error) => resolve(error.message))
    })
  const loop = async () => {
    while (running) {
      const outcome = await get()
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
      total++
    }
  }
  const loops = [loop(), loop(), loop()]
  return {
    outcomes,
    async more(n) {
      const until = total + n
      while (total < until) await new Promise((resolve) => setTimeout(resolve, 2))
    },
    async stop() {
      running = false
      await Promise.all(loops)
      agent.destroy()
    },
  }
}

async function told(text: string): Promise<void> {
  while (!mesh!.events.some((event) => 'summary' in event && event.summary.includes(text)))
    await new Promise((resolve) => setTimeout(resolve, 5))
}

describe('a CA that is replaced on disk while traffic flows', { timeout: 60_000 }, () => {
  it('by one of another root: all trust both, then show the new one, then trust only that; no request fails', async () => {
    const runtime = new HastyRuntime()
    const dir = folder.cacerts('live', oldMiddle, [oldMiddle], [old])
    mesh = await startMesh(YAML, { runtime, ca: { dir } })
    const traffic = await load()
    await traffic.more(20)
    expect(await held('client')).toEqual({ roots: ['CN=Old root'], signer: 'CN=Old signer' })

    folder.cacerts('live', freshMiddle, [freshMiddle], [fresh])
    await told('2 roots trusted, among them those of CN=New signer')
    await traffic.more(20)
    for (const name of ['client', 'server-v1'])
      expect(await held(name)).toEqual({ roots: ['CN=New root', 'CN=Old root'], signer: 'CN=Old signer' })

    await runtime.pass()
    await told('certificates are signed by CN=New signer from now on')
    await traffic.more(20)
    for (const name of ['client', 'server-v1'])
      expect(await held(name)).toEqual({ roots: ['CN=New root', 'CN=Old root'], signer: 'CN=New signer' })

    await runtime.pass()
    await told('1 root trusted, after one was dropped')
    await traffic.more(20)
    for (const name of ['client', 'server-v1'])
      expect(await held(name)).toEqual({ roots: ['CN=New root'], signer: 'CN=New signer' })

    await traffic.stop()
    expect(Object.keys(traffic.outcomes)).toEqual(['200'])
  })

  it('by an intermediate of the same root: at once', async () => {
    const runtime = new HastyRuntime(300)
    const dir = folder.cacerts('same', oldMiddle, [oldMiddle], [old])
    mesh = await startMesh(YAML, { runtime, ca: { dir } })
    const traffic = await load()
    await traffic.more(10)
    const next = folder.ca('/CN=Next signer', { issuer: old })
    folder.cacerts('same', next, [next], [old])
    await told('certificates are signed by CN=Next signer from now on')
    await traffic.more(20)
    expect(await held('server-v1')).toEqual({ roots: ['CN=Old root'], signer: 'CN=Next signer' })
    await traffic.stop()
    expect(Object.keys(traffic.outcomes)).toEqual(['200'])
  })

  it('step by step, as Istio’s own documents have it: a root more, then its signer, then a root less', async () => {
    const runtime = new HastyRuntime(300)
    const dir = folder.cacerts('steps', oldMiddle, [oldMiddle], [old])
    mesh = await startMesh(YAML, { runtime, ca: { dir } })
    const traffic = await load()
    folder.cacerts('steps', oldMiddle, [oldMiddle], [old, fresh])
    await told('2 roots trusted')
    await traffic.more(20)
    expect(await held('client')).toEqual({ roots: ['CN=New root', 'CN=Old root'], signer: 'CN=Old signer' })
    folder.cacerts('steps', freshMiddle, [freshMiddle], [old, fresh])
    await told('certificates are signed by CN=New signer')
    await traffic.more(20)
    await new Promise((resolve) => setTimeout(resolve, 1000))
    // As long as it is given, it is trusted.
    expect((await held('client')).roots).toHaveLength(2)
    folder.cacerts('steps', freshMiddle, [freshMiddle], [fresh])
    await told('1 root trusted, after one was dropped')
    await traffic.more(20)
    expect(await held('client')).toEqual({ roots: ['CN=New root'], signer: 'CN=New signer' })
    await traffic.stop()
    expect(Object.keys(traffic.outcomes)).toEqual(['200'])
  })

  it('by files that do not fit together: that is told, and the CA stays', async () => {
    const dir = folder.cacerts('broken', oldMiddle, [oldMiddle], [old])
    mesh = await startMesh(YAML, { ca: { dir } })
    fs.copyFileSync(freshMiddle.key, `${dir}/ca-key.pem`)
    while (!mesh.events.some(({ type }) => type === 'warning')) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(mesh.events.find(({ type }) => type === 'warning')).toMatchObject({
      message: `${dir}/ca-key.pem: is not the key of the certificate in ${dir}/ca-cert.pem; the CA stays as it was`,
    })
    expect((await mesh.get('client', 'http://server:9080/')).status).toBe(200)
    expect(await held('client')).toEqual({ roots: ['CN=Old root'], signer: 'CN=Old signer' })
  })
})

it('an intermediate may be all that is trusted, as with a real Envoy', async () => {
  mesh = await startMesh(YAML, { ca: { dir: folder.cacerts('partial', oldMiddle, [oldMiddle], [oldMiddle]) } })
  expect((await mesh.get('client', 'http://server:9080/')).status).toBe(200)
  expect((await held('client')).roots).toEqual(['CN=Old signer'])
})

describe('a CA in the Secrets that Istio keeps it in', { timeout: 60_000 }, () => {
  const secret = (name: string, signer: OpensslCa, chain: OpensslCa[], roots: OpensslCa[]) => `
apiVersion: v1
kind: Secret
metadata: {name: ${name}, namespace: istio-system}
data:
  ca-cert.pem: ${base64(signer.pem)}
  ca-key.pem: ${base64(fs.readFileSync(signer.key, 'utf8'))}
  root-cert.pem: ${base64(roots.map(({ pem }) => pem).join(''))}
  cert-chain.pem: ${base64(chain.map(({ pem }) => pem).join(''))}
---`
  const base64 = (text: string) => Buffer.from(text).toString('base64')

  it('cacerts goes before istio-ca-secret, and is followed when it changes', async () => {
    const runtime = new HastyRuntime(300)
    const made = secret('istio-ca-secret', fresh, [], [])
    mesh = await startMesh(
      { 'mesh.yaml': YAML, 'ca.yaml': secret('cacerts', oldMiddle, [oldMiddle], [old]) + made },
      { runtime, watch: true },
    )
    expect(await held('client')).toEqual({ roots: ['CN=Old root'], signer: 'CN=Old signer' })
    const traffic = await load()
    await mesh.write('ca.yaml', secret('cacerts', freshMiddle, [freshMiddle], [fresh]))
    await told('2 roots trusted')
    await traffic.more(10)
    await told('certificates are signed by CN=New signer')
    await traffic.more(10)
    await told('1 root trusted')
    await traffic.more(10)
    await traffic.stop()
    expect(Object.keys(traffic.outcomes)).toEqual(['200'])
  })

  it('istio-ca-secret alone is taken', async () => {
    mesh = await startMesh(YAML + secret('istio-ca-secret', fresh, [], []))
    expect(await held('client')).toEqual({ roots: ['CN=New root'], signer: 'CN=New root' })
  })

  it('one that cannot be used stops everything, and names the Secret', async () => {
    await expect(startMesh(YAML + secret('cacerts', oldMiddle, [oldMiddle], [fresh]))).rejects.toThrow(
      'Secret istio-system/cacerts, root-cert.pem: does not vouch for Secret istio-system/cacerts, ca-cert.pem: CN=Old root, which signed CN=Old signer, is not in Secret istio-system/cacerts, root-cert.pem and Secret istio-system/cacerts, cert-chain.pem',
    )
  })
})
