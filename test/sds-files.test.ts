import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { SdsAgent } from '../src/mesh/sds-agent/agent.ts'
import { secretStream, shifted, startPlane, type TestPlane } from './support/control-plane.ts'

// What SDS doors do not hand out, whatever is asked for.

const NODE = 'sidecar~10.1.0.1~httpbin-1.default~default.svc.cluster.local'
const objects = (pem: string) => `
apiVersion: v1
kind: ServiceAccount
metadata: {name: httpbin}
---
apiVersion: v1
kind: Pod
metadata: {name: httpbin-1, labels: {app: httpbin}}
spec:
  serviceAccountName: httpbin
  containers: [{name: app, image: app}]
status: {podIP: 10.1.0.1}
---
apiVersion: v1
kind: Secret
metadata: {name: roots}
data: {ca.crt: ${Buffer.from(pem).toString('base64')}}
`

let plane: TestPlane
let dir = ''
const files: string[] = []
const cleanup: (() => unknown)[] = []
beforeAll(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-sds-files-'))
  plane = await startPlane(objects(''), {
    tlsAddress: { host: '127.0.0.1', port: 0 },
    sdsAddress: { host: '127.0.0.1', port: 0 },
    sdsSocket: path.join(dir, 'socket'),
  })
  await plane.apply(objects(plane.plane.ca.rootPem))
  const { certChainPem, privateKeyPem, rootPem } = plane.plane.ca.identityFor('spiffe://cluster.local/ns/x/sa/y')
  const write = (name: string, text: string) => {
    fs.writeFileSync(path.join(dir, name), text)
    return path.join(dir, name)
  }
  const [cert, key, root] = [write('cert', certChainPem), write('key', privateKeyPem), write('root', rootPem)]
  files.push(`file-root:${root}`, `file-cert:${cert}~${key}`)
})
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step()
})
afterAll(async () => {
  await plane.close()
  fs.rmSync(dir, { recursive: true, force: true })
})

async function served(address: string, names: string[], more: object = {}): Promise<string[]> {
  const stream = secretStream(address, { service: 'sds', node: NODE, names: ['default', ...names], ...more })
  cleanup.push(() => stream.close())
  return [...(await stream.next()).secrets.keys()].sort()
}

async function agentAt(place: { socket: string } | { host: string; port: number }): Promise<string> {
  const ca = {
    address: plane.address('tlsAddress'),
    roots: () => plane.plane.ca.rootPem,
    token: () => plane.plane.accounts.issue({ namespace: 'default', name: 'httpbin', audiences: ['istio-ca'] }),
  }
  const agent = await SdsAgent.start({ ca, place, runtime: shifted(0) })
  cleanup.push(() => agent.close())
  return agent.address
}

describe.each(['sotw', 'delta'] as const)('%s', (mode) => {
  test('a loopback address, which all users of the machine reach, serves no file of it', async () => {
    expect(await served(plane.address('sdsSocket'), files, { mode })).toEqual(['default', ...files].sort())
    expect(await served(plane.address('sdsAddress'), files, { mode })).toEqual(['default'])
  })

  test('nor does that of an agent', async () => {
    const socket = await agentAt({ socket: path.join(dir, `agent-${mode}`) })
    expect(await served(socket, files, { mode })).toEqual(['default', ...files].sort())
    const address = await agentAt({ host: '127.0.0.1', port: 0 })
    expect(await served(address, files, { mode })).toEqual(['default'])
  })

  test('credentials of Secrets are for who has proved itself, and go over ADS alone', async () => {
    const names = ['kubernetes://roots-cacert']
    const token = plane.plane.accounts.issue({ namespace: 'default', name: 'httpbin', audiences: ['istio-ca'] })
    const ads = { service: 'ads', roots: plane.plane.ca.rootPem, token, mode }
    expect(await served(plane.address('tlsAddress'), names, ads)).toEqual(['default', ...names])
    for (const door of ['sdsSocket', 'sdsAddress'] as const)
      expect(await served(plane.address(door), names, { mode })).toEqual(['default'])
  })
})
