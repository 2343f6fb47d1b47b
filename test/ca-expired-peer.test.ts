import fs from 'node:fs'
import tls from 'node:tls'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'
import { type CaWish, type OpensslCa, OpensslFolder } from './support/openssl.ts'

const STRICT = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---`

let folder: OpensslFolder
let root: OpensslCa
let mesh: TestMesh

beforeAll(async () => {
  folder = new OpensslFolder()
  root = folder.ca('/CN=Root')
  mesh = await startMesh([STRICT, client(), service('server'), pod('server', 'v1')].join(''), {
    ca: { cert: root.cert, key: root.key },
  })
})
afterAll(async () => {
  await mesh?.stop()
  folder?.remove()
})

const workload = (wish: CaWish): OpensslCa =>
  folder.ca('/CN=outsider', {
    issuer: root,
    extensions: ['basicConstraints=CA:false', 'subjectAltName=URI:spiffe://cluster.local/ns/default/sa/client'],
    ...wish,
  })

/** What a request to the server's sidecar comes to, with this certificate. */
function request({ cert, key }: OpensslCa): Promise<string> {
  const { inbound } = mesh.mesh.workloads().find((w) => w.name === 'server-v1')!
  const [host, port] = inbound['9080']!.split(':')
  return new Promise((resolve) => {
    const socket = tls.connect({
      host,
      port: Number(port),
      cert: fs.readFileSync(cert),
      key: fs.readFileSync(key),
      ca: root.pem,
      ALPNProtocols: ['istio-http/1.1'],
      checkServerIdentity: () => undefined,
    })
    let text = ''
    socket.on('secureConnect', () => socket.write('GET / HTTP/1.1\r\nhost: server:9080\r\nconnection: close\r\n\r\n'))
    socket.on('data', (data) => {
      text += data
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(text.split('\r\n')[0]!))
  })
}

async function stat(name: string): Promise<number> {
  const { admin } = mesh.mesh.workloads().find((w) => w.name === 'server-v1')!
  const text = await (await fetch(`http://${admin}/stats?filter=${name}`)).text()
  return text
    .split('\n')
    .filter(Boolean)
    .reduce((sum, line) => sum + Number(line.split(': ')[1]), 0)
}

it('a peer whose certificate has expired, or is not valid yet, is refused; one that is valid is served', async () => {
  expect(await request(workload({}))).toBe('HTTP/1.1 200 OK')
  expect(await stat('listener.*ssl.fail_verify_error')).toBe(0)
  expect(await request(workload({ notBefore: '20200101000000Z', notAfter: '20210101000000Z' }))).toBe('')
  expect(await request(workload({ notBefore: '20900101000000Z', notAfter: '20910101000000Z' }))).toBe('')
  expect(await stat('listener.*ssl.fail_verify_error')).toBe(2)
})

it('a peer whose certificate was revoked is refused, once the list is in the folder of the CA', async () => {
  const middle = folder.ca('/CN=Middle', { issuer: root })
  const dir = folder.cacerts('revoked', middle, [middle], [root])
  await mesh.stop()
  mesh = await startMesh([STRICT, client(), service('server'), pod('server', 'v1')].join(''), { ca: { dir } })
  const peer = workload({ issuer: root })
  expect(await request(peer)).toBe('HTTP/1.1 200 OK')
  folder.write('revoked/ca-crl.pem', folder.crl(root, [peer]) + folder.crl(middle))
  while ((await stat('sds_listener|listener.*ssl_context_update_by_sds')) < 1 || (await request(peer)) !== '')
    await new Promise((resolve) => setTimeout(resolve, 20))
  expect((await mesh.get('client', 'http://server:9080/')).status).toBe(200)
})

it('how long certificates still last stands in /certs and in the statistics', async () => {
  const { admin } = mesh.mesh.workloads().find((w) => w.name === 'server-v1')!
  const { certificates } = (await (await fetch(`http://${admin}/certs`)).json()) as {
    certificates: { ca_cert: object[]; cert_chain: Record<string, unknown>[] }[]
  }
  const own = certificates.find(({ cert_chain }) => cert_chain.length > 0)!
  const { valid_from, expiration_time, ...rest } = own.cert_chain[0]!
  expect(rest).toMatchObject({
    path: '<inline>',
    subject_alt_names: [{ uri: 'spiffe://cluster.local/ns/default/sa/server' }],
    days_until_expiration: '0',
  })
  for (const time of [valid_from, expiration_time]) expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  expect(own.ca_cert).toHaveLength(1)
  expect(await stat('^server.days_until_first_cert_expiring$')).toBe(0)
  expect(await stat('listener.0.0.0.0_15006.ssl.certificate.default.expiration_unix_time_seconds')).toBe(
    Date.parse(expiration_time as string) / 1000,
  )
  expect(await stat('listener.0.0.0.0_15006.ssl.certificate.ROOTCA.expiration_unix_time_seconds')).toBeGreaterThan(0)
})
