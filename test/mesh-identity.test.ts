import type { X509Certificate } from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import os from 'node:os'
import path from 'node:path'
import tls from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const config = [
  client(),
  service('reviews'),
  pod('reviews', 'v1'),
  service('plain'),
  pod('plain', 'v1', { annotations: 'sidecar.istio.io/inject: "false"' }),
  `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    accessLogFormat: "%RESPONSE_CODE% %DOWNSTREAM_TLS_VERSION% %REQUESTED_SERVER_NAME% %DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_LOCAL_URI_SAN%\\n"
---`,
].join('')

describe('identity and automatic mutual TLS', () => {
  let mesh: TestMesh
  beforeAll(async () => {
    mesh = await startMesh(config)
  })
  afterAll(() => mesh?.stop())

  const inbound = (name: string) => {
    const [host, port] = mesh.mesh
      .workloads()
      .find((w) => w.name === name)!
      .inbound['9080']!.split(':')
    return { host: host!, port: Number(port) }
  }

  it('sidecars speak TLS 1.3 with the SPIFFE ids of their service accounts and the name of the cluster', async () => {
    await mesh.get('client', 'http://reviews:9080/')
    const lines = await mesh.logLines('default', 'reviews-v1', 1)
    expect(lines[0]).toBe(
      '200 TLSv1.3 outbound_.9080_._.reviews.default.svc.cluster.local spiffe://cluster.local/ns/default/sa/client spiffe://cluster.local/ns/default/sa/reviews',
    )
  })

  it('the app learns who called from x-forwarded-client-cert, and a forged one is dropped', async () => {
    const { echo } = await mesh.get('client', 'http://reviews:9080/', {
      headers: { 'x-forwarded-client-cert': 'URI=spiffe://evil' },
    })
    expect(echo?.request.headers['x-forwarded-client-cert']).toMatch(
      /^By=spiffe:\/\/cluster\.local\/ns\/default\/sa\/reviews;Hash=[0-9a-f]{64};Subject="";URI=spiffe:\/\/cluster\.local\/ns\/default\/sa\/client$/,
    )
  })

  it('a pod without a sidecar is called in plain text', async () => {
    const { echo } = await mesh.get('client', 'http://plain:9080/')
    expect(echo?.request.headers).not.toHaveProperty('x-forwarded-client-cert')
  })

  it('plain text is still served (PERMISSIVE), without an identity', async () => {
    const body = await new Promise<string>((resolve, reject) => {
      http
        .get(
          {
            ...inbound('reviews-v1'),
            headers: { host: 'reviews', 'x-forwarded-client-cert': 'URI=spiffe://evil' },
            agent: false,
          },
          (response) => {
            let text = ''
            response.on('data', (chunk) => (text += chunk)).on('end', () => resolve(text))
          },
        )
        .on('error', reject)
    })
    expect(JSON.parse(body).request.headers).not.toHaveProperty('x-forwarded-client-cert')
  })

  it('presents a certificate of the mesh’s own root, and takes no client without one', async () => {
    const failure = await new Promise<{ certificate: X509Certificate; code: string | undefined }>((resolve) => {
      const socket = tls.connect({
        ...inbound('reviews-v1'),
        rejectUnauthorized: false,
        ALPNProtocols: ['istio'],
        servername: 'x.test',
      })
      let certificate: X509Certificate
      socket.on('secureConnect', () => {
        certificate = socket.getPeerX509Certificate()!
        socket.write('GET / HTTP/1.1\r\nhost: reviews\r\n\r\n')
      })
      socket.on('data', () => resolve({ certificate, code: undefined }))
      socket.on('error', (e: NodeJS.ErrnoException) => resolve({ certificate, code: e.code }))
      socket.on('end', () => resolve({ certificate, code: 'ended' }))
    })
    expect(failure.certificate.subjectAltName).toContain('URI:spiffe://cluster.local/ns/default/sa/reviews')
    expect(failure.code).toBe('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED')
  })
})

describe('the root certificate', () => {
  it('is kept in the data folder, for its owner only, and used again', async () => {
    const dataDir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-ca-'))
    try {
      const roots: string[] = []
      for (let i = 0; i < 2; i++) {
        const mesh = await startMesh(config, { dataDir })
        const admin = mesh.mesh.workloads().find((w) => w.name === 'client')!.admin
        const certs = (await (await fetch(`http://${admin}/certs`)).json()) as {
          certificates: { ca_cert: { serial_number: string }[] }[]
        }
        roots.push(certs.certificates.flatMap((c) => c.ca_cert.map((ca) => ca.serial_number))[0]!)
        await mesh.stop()
      }
      expect(roots[0]).toMatch(/^[0-9a-f]+$/)
      expect(roots[1]).toBe(roots[0])
      for (const file of fs.readdirSync(dataDir)) {
        if (fs.readFileSync(path.join(dataDir, file), 'utf8').includes('PRIVATE KEY'))
          expect(fs.statSync(path.join(dataDir, file)).mode & 0o077).toBe(0)
      }
    } finally {
      fs.rmSync(dataDir, { recursive: true, force: true })
    }
  })
})
