import http from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const policy = (spec: string, name = 'default', namespace = 'default') => `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: ${name}, namespace: ${namespace}}
spec: {${spec}}
---`

describe('PeerAuthentication', () => {
  let mesh: TestMesh | undefined
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })
  const start = async (...policies: string[]) => {
    mesh = await startMesh([client(), service('reviews'), pod('reviews', 'v1'), ...policies].join(''))
    return mesh
  }
  /** The status that a program outside the mesh gets in plain text; the code of the error if it gets none. */
  const plain = (from: TestMesh) =>
    new Promise<number | string | undefined>((resolve) => {
      const at = from.mesh.workloads().find((w) => w.name === 'reviews-v1')!.inbound['9080']
      http
        .get(`http://${at}/`, { agent: false }, (response) => resolve(response.resume().statusCode))
        .on('error', (e: NodeJS.ErrnoException) => resolve(e.code))
    })
  /** Whether the client's sidecar came with a certificate. */
  const identified = async (from: TestMesh) => {
    const { status, echo } = await from.get('client', 'http://reviews:9080/')
    return status === 200 ? echo!.request.headers['x-forwarded-client-cert'] !== undefined : status
  }

  it.each([
    ['nothing said', [], 200, true],
    ['STRICT in a namespace', [policy('mtls: {mode: STRICT}')], 'ECONNRESET', true],
    ['STRICT in the mesh', [policy('mtls: {mode: STRICT}', 'default', 'istio-system')], 'ECONNRESET', true],
    ['DISABLE', [policy('mtls: {mode: DISABLE}')], 200, false],
    [
      'a workload before its namespace',
      [
        policy('mtls: {mode: STRICT}'),
        policy('selector: {matchLabels: {app: reviews}}, mtls: {mode: PERMISSIVE}', 'reviews'),
      ],
      200,
      true,
    ],
    [
      'a port before its workload',
      [
        policy(
          'selector: {matchLabels: {app: reviews}}, mtls: {mode: DISABLE}, portLevelMtls: {9080: {mode: STRICT}}',
          'reviews',
        ),
      ],
      'ECONNRESET',
      true,
    ],
  ] as const)('%s', async (_what, policies, outside, mtls) => {
    const mesh = await start(...policies)
    expect(await plain(mesh)).toBe(outside)
    expect(await identified(mesh)).toBe(mtls)
  })

  it('STRICT refuses a client whose rule says DISABLE', async () => {
    const mesh = await start(
      policy('mtls: {mode: STRICT}'),
      `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {tls: {mode: DISABLE}}}
---`,
    )
    expect(await identified(mesh)).toBe(503)
  })

  it('a change holds for new connections', async () => {
    mesh = await startMesh(
      { 'mesh.yaml': [client(), service('reviews'), pod('reviews', 'v1')].join(''), 'policy.yaml': '' },
      { watch: true },
    )
    expect(await plain(mesh)).toBe(200)
    await mesh.write('policy.yaml', policy('mtls: {mode: STRICT}'))
    expect(await plain(mesh)).toBe('ECONNRESET')
  })
})
