import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Command } from 'commander'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { parse } from 'yaml'
import { getCommand } from '../src/cli/get.ts'
import { age } from '../src/cli/get-columns.ts'
import { startMesh, type TestMesh } from './support/mesh.ts'

const YAML = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-0, labels: {app: reviews}}
spec: {containers: [{name: app, image: echo, ports: [{containerPort: 9080}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  hostnames: [shop.test]
  rules: [{backendRefs: [{name: reviews, port: 9080}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: lost, namespace: other}
spec:
  parentRefs: [{name: edge, namespace: default}]
  rules: [{backendRefs: [{name: reviews, port: 9080}]}]
`

describe('dinghy get', () => {
  const runtimeDir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-get-'))
  let mesh: TestMesh

  beforeAll(async () => {
    vi.stubEnv('XDG_RUNTIME_DIR', runtimeDir)
    mesh = await startMesh(YAML, { announce: true })
  })
  afterAll(async () => {
    await mesh.stop()
    vi.unstubAllEnvs()
    fs.rmSync(runtimeDir, { recursive: true, force: true })
  })

  /** Runs the verb; the exit status is 0 unless it was set. */
  async function get(...args: string[]): Promise<{ out: string; err: string; status: number }> {
    const said = { out: '', err: '' }
    const spies = [
      vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
        said.out += text
        return true
      }),
      vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
        said.err += text
        return true
      }),
    ]
    const program = new Command('dinghy')
    getCommand(program)
    try {
      await program.parseAsync(['get', ...args], { from: 'user' })
      return { ...said, status: Number(process.exitCode ?? 0) }
    } finally {
      for (const spy of spies) spy.mockRestore()
      process.exitCode = 0
    }
  }

  const rows = (text: string): string[][] =>
    text
      .trimEnd()
      .split('\n')
      .map((line) => line.split(/ {2,}/))

  it('shows the objects of a kind in columns, by plural, singular and short name', async () => {
    for (const kind of ['httproutes', 'httproute', 'httproutes.gateway.networking.k8s.io']) {
      const { out } = await get(kind)
      expect(rows(out)).toEqual([
        ['NAME', 'HOSTNAMES', 'AGE'],
        ['shop', '["shop.test"]', expect.stringMatching(/^\d+s$/)],
      ])
    }
    expect(rows((await get('svc')).out).map(([name, type]) => [name, type])).toEqual([
      ['NAME', 'TYPE'],
      ['edge-istio', 'LoadBalancer'],
      ['reviews', 'ClusterIP'],
    ])
    expect(rows((await get('gtw')).out)[1]?.slice(0, 4)).toEqual([
      'edge',
      'istio',
      expect.stringMatching(/^10\./),
      'True',
    ])
  })

  it('shows several kinds at once, and all namespaces', async () => {
    const { out } = await get('gateways,httproutes', '-A')
    expect(out).toMatch(/^default +gateway\.gateway\.networking\.k8s\.io\/edge /m)
    expect(out).toMatch(/^other +httproute\.gateway\.networking\.k8s\.io\/lost /m)
    expect((await get('httproutes', '-A', '-o', 'name')).out).toBe(
      'httproute.gateway.networking.k8s.io/shop\nhttproute.gateway.networking.k8s.io/lost\n',
    )
    expect((await get('pods', '-o', 'wide')).out).toMatch(/^reviews-0 +1\/1 +Running +0 +\d+s +10\.244\./m)
  })

  it('shows the status that Istio gives an object', async () => {
    const { out } = await get('httproute', 'lost', '-n', 'other', '-o', 'yaml')
    expect(parse(out)).toMatchObject({
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'HTTPRoute',
      status: {
        parents: [
          {
            controllerName: 'istio.io/gateway-controller',
            parentRef: { name: 'edge', namespace: 'default' },
            conditions: [
              {
                type: 'Accepted',
                status: 'False',
                reason: 'NotAllowedByListeners',
                observedGeneration: 1,
                lastTransitionTime: expect.stringMatching(/^\d{4}-/),
              },
              { type: 'ResolvedRefs', status: 'False', reason: 'BackendNotFound' },
            ],
          },
        ],
      },
    })
    const gateway = JSON.parse((await get('gateway/edge', '-o', 'json')).out)
    expect(gateway.status.listeners).toMatchObject([{ name: 'http', attachedRoutes: 1 }])
    expect(rows((await get('gatewayclasses')).out).map((row) => row.slice(0, 3))).toContainEqual([
      'istio',
      'istio.io/gateway-controller',
      'True',
    ])
  })

  it('says what is not there as kubectl does, and exits with 1', async () => {
    expect(await get('httproute', 'nope')).toEqual({
      out: '',
      err: 'Error from server (NotFound): httproutes.gateway.networking.k8s.io "nope" not found\n',
      status: 1,
    })
    expect(await get('pod', 'nope')).toMatchObject({ err: 'Error from server (NotFound): pods "nope" not found\n' })
    expect(await get('things')).toEqual({
      out: '',
      err: 'error: the server doesn\'t have a resource type "things"\n',
      status: 1,
    })
    expect(await get('vs', '-n', 'other')).toEqual({
      out: '',
      err: 'No resources found in other namespace.\n',
      status: 0,
    })
  })

  it.each([
    [5, '5s'],
    [119, '119s'],
    [125, '2m5s'],
    [660, '11m'],
    [4 * 3600 + 120, '4h2m'],
    [50 * 3600, '2d2h'],
    [400 * 86400, '400d'],
    [800 * 86400, '2y70d'],
  ])('calls %i seconds %s', (seconds, text) => {
    expect(age('2026-01-01T00:00:00Z', Date.parse('2026-01-01T00:00:00Z') + seconds * 1000)).toBe(text)
  })
})
