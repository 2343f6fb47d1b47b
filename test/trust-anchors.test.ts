import { X509Certificate } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import tls from 'node:tls'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { loadText } from '../src/api/load.ts'
import { certificatesOf } from '../src/ca/pem.ts'
import type { Timer } from '../src/runtime.ts'
import { SystemRuntime } from '../src/runtime-system.ts'
import { type Identity, makeAuthority, makeIdentity } from './support/certificates.ts'
import { type KeyServer, startKeyServer } from './support/jwt.ts'
import { client, pod, service, startMesh } from './support/mesh.ts'
import { pilotOf } from './support/pilot.ts'

const POLL_MS = 30 * 60_000

/** The next refresh comes when the test says so. */
class PatientRuntime extends SystemRuntime {
  private readonly polls: (() => void)[] = []

  override after(ms: number, fn: () => void): Timer {
    if (ms !== POLL_MS) return super.after(ms, fn)
    this.polls.push(fn)
    return { cancel: () => {} }
  }

  poll(): void {
    for (const fn of this.polls.splice(0)) fn()
  }
}

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

const der = ({ cert }: Identity) => new X509Certificate(cert).raw.toString('base64')
const bundle = (...roots: Identity[]) =>
  JSON.stringify({
    keys: [...roots.map((root) => ({ kty: 'EC', use: 'x509-svid', x5c: [der(root)] })), { use: 'jwt' }],
  })
const meshConfig = (...anchors: string[]) => `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    caCertificates:
${anchors.map((text) => `    - ${text}`).join('\n')}
---`
const inYaml = (pem: string) => `pem: ${JSON.stringify(pem)}`

let first: Identity
let second: Identity
/** Vouches for the server of bundles. */
let web: Identity
beforeAll(async () => {
  first = await makeAuthority('O=first')
  second = await makeAuthority('O=second')
  web = await makeAuthority('O=web')
})

async function bundleServer(text: string): Promise<{ server: KeyServer; env: Record<string, string> }> {
  const { key, cert } = await makeIdentity(web, 'CN=localhost', [{ type: 'dns', value: 'localhost' }])
  const server = await startKeyServer(text, { key, cert })
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-anchors-'))
  const file = path.join(folder, 'web.pem')
  fs.writeFileSync(file, web.cert)
  ends.push(
    () => fs.rmSync(folder, { recursive: true }),
    () => server.stop(),
  )
  return { server, env: { SSL_CERT_FILE: file } }
}

function started(yaml: string, env: Record<string, string> = {}) {
  const warnings: string[] = []
  const runtime = new PatientRuntime()
  let heard = () => {}
  const told = () => new Promise<void>((resolve) => (heard = resolve))
  const warn = (line: string) => {
    warnings.push(line)
    heard()
  }
  const made = pilotOf(yaml, { runtime, env, warn })
  ends.push(() => made.pilot.close())
  const roots = () => {
    const { trusted_ca: trusted } = made.proxy('client').secret('ROOTCA').validation_context
    return certificatesOf(Buffer.from(trusted.inline_bytes, 'base64').toString())
      .map((pem) => new X509Certificate(pem).subject)
      .slice(1)
  }
  const pushed = () =>
    new Promise<void>((resolve) => {
      const stop = made.pilot.onPush(() => {
        stop()
        resolve()
      })
    })
  return { ...made, runtime, warnings, roots, told, pushed }
}

describe('further roots of trust', () => {
  it('are those that MeshConfig has written out, however their lines end', () => {
    const { roots } = started(meshConfig(inYaml(first.cert.trim()), inYaml(second.cert.trim())))
    expect(roots()).toEqual(['O=first', 'O=second'])
  })

  it('are none of those when one is no certificate of a CA, of which loading tells', async () => {
    const leaf = await makeIdentity(first, 'CN=leaf', [])
    for (const [pem, fault] of [
      [leaf.cert, 'holds a certificate that is not of a CA'],
      ['nothing', 'holds no certificate in PEM'],
    ] as const) {
      const yaml = meshConfig(inYaml(first.cert), inYaml(pem))
      expect(loadText('f.yaml', yaml).problems.map(({ severity, message }) => `${severity} ${message}`)).toEqual([
        expect.stringContaining(`${fault}; none of the roots in caCertificates is trusted`),
      ])
      expect(started(yaml).roots()).toEqual([])
    }
  })

  it('come from SPIFFE bundles too, and follow what these hold', async () => {
    const { server, env } = await bundleServer(bundle(first))
    const { roots, pushed, runtime, told, warnings, apply } = started(
      meshConfig(`spiffeBundleUrl: localhost:${server.port}/jwks`, inYaml(web.cert)),
      env,
    )
    expect(roots()).toEqual(['O=web'])
    await pushed()
    expect(roots()).toEqual(['O=web', 'O=first'])
    server.jwks = bundle(second, first)
    runtime.poll()
    await pushed()
    expect(roots()).toEqual(['O=web', 'O=second', 'O=first'])
    server.jwks = '{}'
    const failure = told()
    runtime.poll()
    await failure
    expect(warnings).toEqual([
      expect.stringMatching(
        /^test\.yaml:\d+:\d+: the roots of https:\/\/localhost:\d+\/jwks cannot be fetched: the answer is no SPIFFE bundle: it has no list "keys"; those of before stay in use$/,
      ),
    ])
    expect(roots()).toEqual(['O=web', 'O=second', 'O=first'])
    const next = pushed()
    apply(meshConfig(inYaml(web.cert)), 'test')
    await next
    expect(roots()).toEqual(['O=web'])
  })

  it('are not taken from servers that nobody vouches for', async () => {
    const { server } = await bundleServer(bundle(first))
    const env = { JWKS_RESOLVER_INSECURE_SKIP_VERIFY: 'true' }
    const runtime = new PatientRuntime()
    let now = 0
    runtime.now = () => (now += 60_000)
    const warned = new Promise<string>((resolve) => {
      const { pilot } = pilotOf(meshConfig(`spiffeBundleUrl: https://localhost:${server.port}/jwks`), {
        runtime,
        env,
        warn: resolve,
      })
      ends.push(() => pilot.close())
    })
    expect(await warned).toMatch(/cannot be fetched: .*certificate.*; whom they vouch for is not trusted$/)
    expect(server.requests).toEqual([])
  })

  it('let in callers of another mesh', async () => {
    const { server, env } = await bundleServer(bundle(first))
    const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---`
    const yaml = [strict, client(), service('reviews'), pod('reviews', 'v1')].join('')
    const config = meshConfig(`{spiffeBundleUrl: "localhost:${server.port}/jwks", trustDomains: [elsewhere]}`)
    const mesh = await startMesh(config + yaml, { env })
    ends.push(() => mesh.stop())
    const [host = '', port = ''] = mesh.mesh
      .workloads()
      .find(({ name }) => name === 'reviews-v1')!
      .inbound['9080']!.split(':')
    const call = async (authority: Identity): Promise<string> => {
      const { key, cert } = await makeIdentity(authority, 'CN=caller', [
        { type: 'url', value: 'spiffe://elsewhere/ns/a/sa/b' },
      ])
      return new Promise((resolve) => {
        const options = { key, cert, rejectUnauthorized: false, ALPNProtocols: ['istio'], servername: 'x.test' }
        const socket = tls.connect({ host, port: Number(port), ...options })
        socket.on('secureConnect', () => socket.write('GET / HTTP/1.1\r\nhost: reviews\r\nconnection: close\r\n\r\n'))
        socket.once('data', (data) => {
          resolve(data.toString().slice(9, 12))
          socket.destroy()
        })
        socket.on('error', () => resolve('refused'))
        socket.on('close', () => resolve('refused'))
      })
    }
    await expect.poll(() => call(first), { timeout: 5000 }).toBe('200')
    expect(await call(second)).toBe('refused')
  })
})
