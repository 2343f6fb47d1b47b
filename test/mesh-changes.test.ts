import { afterEach, describe, expect, it } from 'vitest'
import { client, service, startMesh, type TestMesh } from './support/mesh.ts'

const deployment = (version: string, replicas = 1) => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews}
spec:
  replicas: ${replicas}
  selector: {matchLabels: {app: reviews}}
  template:
    metadata: {labels: {app: reviews, version: ${version}}}
    spec:
      containers: [{name: app, image: reviews, ports: [{containerPort: 9080}]}]
`

describe('a mesh that runs', () => {
  let mesh: TestMesh
  afterEach(() => mesh?.stop())

  it('replaces the pods of an edited Deployment without a failed request', async () => {
    mesh = await startMesh(
      { 'base.yaml': client() + service('reviews'), 'app.yaml': deployment('v1', 2) },
      { watch: true },
    )
    let done = false
    const load = mesh.split('client', 'http://reviews:9080/', 600).finally(() => {
      done = true
    })
    let edits = 0
    for (; !done && edits < 6; edits++) await mesh.write('app.yaml', deployment(`v${edits + 2}`, 1 + (edits % 3)))
    const split = await load
    expect(edits).toBeGreaterThan(2)
    // Pods that are gone by now are counted by their status.
    expect(Object.keys(split).filter((name) => !/^v\d$|^200$/.test(name))).toEqual([])
    expect(Object.values(split).reduce((a, b) => a + b)).toBe(600)
  }, 60_000)

  it('starts what is added, and forgets what is deleted', async () => {
    mesh = await startMesh({ 'base.yaml': client() + service('reviews'), 'app.yaml': '' }, { watch: true })
    expect((await mesh.get('client', 'http://reviews:9080/')).answer.flags).toBe('UH')
    await mesh.write('app.yaml', deployment('v1'))
    expect((await mesh.get('client', 'http://reviews:9080/')).echo?.version).toBe('v1')
    expect(mesh.mesh.workloads()).toHaveLength(2)
    await mesh.write('app.yaml', deployment('v1', 0))
    expect((await mesh.get('client', 'http://reviews:9080/')).answer.flags).toBe('UH')
    expect(mesh.mesh.workloads()).toHaveLength(1)
  })

  it('goes on with what it had when an edit is wrong, and says where', async () => {
    mesh = await startMesh(
      { 'base.yaml': client() + service('reviews'), 'app.yaml': deployment('v1') },
      { watch: true },
    )
    const wrong: [yaml: string, line: number, message: RegExp][] = [
      ['kind: [', 1, /./],
      [deployment('v1').replace('replicas: 1', 'replicas: one'), 6, /replicas/],
      [
        'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r}\nspec:\n  hosts: [reviews]\n  htpp: []\n',
        6,
        /unknown field "htpp".*http/,
      ],
    ]
    for (const [yaml, line, message] of wrong) {
      const seen = mesh.events.length
      await mesh.write('app.yaml', yaml)
      const problems = mesh.events.slice(seen).flatMap((e) => (e.type === 'problems' ? e.problems : []))
      expect(problems[0]).toMatchObject({ severity: 'error', line, file: expect.stringMatching(/app\.yaml$/) })
      expect(problems.map((p) => p.message).join('\n')).toMatch(message)
      expect((await mesh.get('client', 'http://reviews:9080/')).echo?.version).toBe('v1')
    }
    await mesh.write('app.yaml', deployment('v2'))
    expect((await mesh.get('client', 'http://reviews:9080/')).echo?.version).toBe('v2')
  })

  it('is not started from files with errors', async () => {
    await expect(startMesh('kind: Service\n')).rejects.toMatchObject({
      message: 'nothing was started, because of the errors above',
      events: [{ type: 'problems', problems: [expect.objectContaining({ severity: 'error', line: 1 })] }],
    })
  })
})

describe('what a sidecar cannot use', () => {
  let mesh: TestMesh
  afterEach(() => mesh?.stop())

  it('routes that no proxy can read are said to be rejected, and the mesh starts all the same', async () => {
    const redirect = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{redirect: {uri: /x, redirectCode: 304}}]}
`
    mesh = await startMesh(`${client()}${service('reviews')}${deployment('v1')}---${redirect}`)
    expect(mesh.events).toContainEqual(
      expect.objectContaining({
        type: 'rejected',
        typeUrl: 'type.googleapis.com/envoy.config.route.v3.RouteConfiguration',
      }),
    )
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(404)
  })

  it('a certificate file that is not there is named, and only requests that need it fail', async () => {
    const mutual = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: /nowhere/cert.pem, privateKey: /nowhere/key.pem, caCertificates: /nowhere/ca.pem}}
`
    mesh = await startMesh(`${client()}${service('reviews')}${deployment('v1')}---${mutual}`)
    expect(mesh.events).toContainEqual({
      type: 'warning',
      message: expect.stringMatching(
        /mesh\.yaml:\d+:\d+: DestinationRule default\/reviews: clientCertificate \/nowhere\/cert\.pem cannot be read: there is no such file/,
      ),
    })
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(503)
  })
})
