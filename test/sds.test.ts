import { generateKeyPairSync } from 'node:crypto'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Secret } from '#gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { openSdsDoor } from '../src/mesh/doors/sds-door.ts'
import { SdsAgent } from '../src/mesh/sds-agent/agent.ts'
import type { Runtime } from '../src/runtime.ts'
import { SystemRuntime } from '../src/runtime-system.ts'
import {
  leafOf,
  type Pair,
  type SecretStreamOptions,
  secretStream,
  shifted,
  startPlane,
  type TestPlane,
} from './support/control-plane.ts'

const pod = (name: string, ip: string) => `
apiVersion: v1
kind: ServiceAccount
metadata: {name: ${name}}
---
apiVersion: v1
kind: Pod
metadata: {name: ${name}-1, labels: {app: ${name}}}
spec:
  serviceAccountName: ${name}
  containers: [{name: app, image: app}]
status: {podIP: ${ip}}
---`
const ID = (name: string) => `spiffe://cluster.local/ns/default/sa/${name}`
const NODE = 'sidecar~10.1.0.1~httpbin-1.default~default.svc.cluster.local'
const OTHER = 'sidecar~10.1.0.2~other-1.default~default.svc.cluster.local'

let plane: TestPlane
let dir = ''
const cleanup: (() => unknown)[] = []
beforeAll(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-sds-'))
  plane = await startPlane(`${pod('httpbin', '10.1.0.1')}${pod('other', '10.1.0.2')}`, {
    grpcAddress: { host: '127.0.0.1', port: 0 },
    tlsAddress: { host: '127.0.0.1', port: 0 },
    sdsAddress: { host: '127.0.0.1', port: 0 },
    sdsSocket: path.join(dir, 'all', 'socket'),
  })
})
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step()
})
afterAll(async () => {
  await plane.close()
  fs.rmSync(dir, { recursive: true, force: true })
})

function open(address: string, options: SecretStreamOptions) {
  const stream = secretStream(address, options)
  cleanup.push(() => stream.close())
  return stream
}

const token = (name: string) => plane.plane.accounts.issue({ namespace: 'default', name, audiences: ['istio-ca'] })
const runtime = new SystemRuntime()

describe('over ADS a private key goes', () => {
  const overTls = (more: Partial<SecretStreamOptions>) =>
    open(plane.address('tlsAddress'), { service: 'ads', roots: plane.plane.ca.rootPem, node: NODE, ...more }).next()

  test.each(['sotw', 'delta'] as const)('to who has proved to be that workload, %s', async (mode) => {
    const { secrets } = await overTls({ token: token('httpbin'), mode })
    expect(leafOf(secrets.get('default')).subjectAltName).toBe(`URI:${ID('httpbin')}`)
    expect(secrets.get('ROOTCA')?.type.case).toBe('validationContext')
  })

  test('to who proves it by its certificate', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const { certChain } = plane.plane.ca.sign({ publicKey, spiffeIds: [ID('httpbin')] })
    const client: Pair = { cert: certChain[0]!, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string }
    expect((await overTls({ client })).secrets.has('default')).toBe(true)
  })

  test('to nobody who proves nothing', async () => {
    expect((await overTls({})).end).toEqual({ code: 16, message: 'authentication failure' })
  })

  test('to nobody who says that it is another workload', async () => {
    expect((await overTls({ token: token('other'), metadata: { SERVICE_ACCOUNT: 'httpbin' } })).end).toEqual({
      code: 7,
      message: `authorization failed: no identities ([${ID('other')}]) matched default/httpbin`,
    })
    const elsewhere = 'sidecar~10.1.0.1~httpbin-1.elsewhere~elsewhere.svc.cluster.local'
    expect((await overTls({ token: token('httpbin'), node: elsewhere })).end).toMatchObject({ code: 7 })
    // As with istiod, a node without an account is taken for what its credential says: it has no key of another then.
    const stream = await overTls({ token: token('other'), mode: 'delta' })
    expect([...stream.secrets.keys()]).toEqual([])
  })

  test('to nobody in plaintext, though on the loopback interface', async () => {
    const { secrets, end } = await open(plane.address('grpcAddress'), {
      service: 'ads',
      node: NODE,
      mode: 'delta',
    }).next()
    expect([secrets.size, end]).toEqual([0, undefined])
  })

  test('and no file of this machine, whoever asks', async () => {
    const names = ['default', 'file-root:system', `file-root:${path.resolve('package.json')}`]
    const { secrets } = await overTls({ token: token('httpbin'), mode: 'delta', names })
    expect([...secrets.keys()]).toEqual(['default'])
  })
})

describe.each([
  ['unix socket', 'sdsSocket'],
  ['loopback address', 'sdsAddress'],
] as const)('the control plane serves SDS on a %s', (_, door) => {
  test.each(['sotw', 'delta'] as const)('to each workload its own certificate, by its node id, %s', async (mode) => {
    for (const [node, name] of [
      [NODE, 'httpbin'],
      [OTHER, 'other'],
    ] as const) {
      const { secrets } = await open(plane.address(door), { service: 'sds', node, mode }).next()
      expect(leafOf(secrets.get('default')).subjectAltName).toBe(`URI:${ID(name)}`)
    }
  })

  test('whatever else the node says of itself', async () => {
    const metadata = { SERVICE_ACCOUNT: 'other', NAMESPACE: 'istio-system', INSTANCE_IPS: '10.1.0.2' }
    const { secrets } = await open(plane.address(door), { service: 'sds', node: NODE, metadata }).next()
    expect(leafOf(secrets.get('default')).subjectAltName).toBe(`URI:${ID('httpbin')}`)
  })

  test.each([
    'sidecar~10.1.0.1~nobody-1.default~default.svc.cluster.local',
    'sidecar~10.1.0.1~httpbin-1.elsewhere~default.svc.cluster.local',
    'httpbin-1.default',
  ])('but to no workload that there is not: %s', async (node) => {
    const { end } = await open(plane.address(door), { service: 'sds', node }).next()
    expect(end).toEqual({ code: 7, message: `there is no workload of the node id ${node}` })
  })

  test('and sends a certificate that was made anew', async () => {
    const stream = open(plane.address(door), { service: 'sds', node: NODE })
    const before = leafOf((await stream.next()).secrets.get('default'))
    plane.plane.ca.rotate()
    const after = leafOf((await stream.next()).secrets.get('default'))
    expect(after.serialNumber).not.toBe(before.serialNumber)
  })
})

test('files are served on the socket, which is of one user, and not on an address', async () => {
  const file = path.join(dir, 'root.pem')
  fs.writeFileSync(file, plane.plane.ca.rootPem)
  const names = ['default', `file-root:${file}`]
  const socket = await open(plane.address('sdsSocket'), { service: 'sds', node: NODE, names }).next()
  expect([...socket.secrets.keys()]).toEqual(names)
  const address = await open(plane.address('sdsAddress'), { service: 'sds', node: NODE, names }).next()
  expect([...address.secrets.keys()]).toEqual(['default'])
})

describe('a socket for SDS', () => {
  const serve = (socket: string) => openSdsDoor(plane.plane, { socket }, { runtime })

  test('is of its user alone, and so is the folder that is made for it', async () => {
    const file = path.join(dir, 'new', 'socket')
    const door = await serve(file)
    expect(fs.statSync(file).mode & 0o777).toBe(0o600)
    expect(fs.statSync(path.dirname(file)).mode & 0o777).toBe(0o700)
    await door.close()
    expect(fs.existsSync(file)).toBe(false)
  })

  test('that a dead process left is taken over, one that is in use is not', async () => {
    const file = path.join(dir, 'left')
    const server = net.createServer().listen(file)
    await new Promise((resolve) => server.once('listening', resolve))
    await expect(serve(file)).rejects.toThrow(`cannot listen on ${file}: the address is in use`)
    fs.renameSync(file, `${file}.kept`)
    await new Promise((resolve) => server.close(resolve))
    fs.renameSync(`${file}.kept`, file)
    const door = await serve(file)
    await door.close()
  })

  test('does not take the place of a file', async () => {
    const file = path.join(dir, 'file')
    fs.writeFileSync(file, 'mine')
    await expect(serve(file)).rejects.toThrow('there is something else of that name')
    expect(fs.readFileSync(file, 'utf8')).toBe('mine')
  })

  test('is not made in a folder that others write to', async () => {
    const folder = path.join(dir, 'open')
    fs.mkdirSync(folder)
    fs.chmodSync(folder, 0o777)
    await expect(serve(path.join(folder, 'socket'))).rejects.toThrow(`others may write to its folder ${folder}`)
  })
})

test.each(['0.0.0.0', '::', '192.0.2.1'])('SDS is not served on %s', async (host) => {
  await expect(openSdsDoor(plane.plane, { host, port: 0 }, { runtime })).rejects.toThrow(
    `SDS hands out private keys: ${host} is not on the loopback interface`,
  )
})

describe('an agent', () => {
  const agentFor = async (name: string, more: { token?: () => string | undefined } = {}) => {
    const agent = await SdsAgent.start({
      ca: {
        address: plane.address('tlsAddress'),
        roots: () => plane.plane.ca.rootPem,
        token: () => token(name),
        ...more,
      },
      place: { socket: path.join(dir, `agent-${name}`) },
      runtime,
    })
    cleanup.push(() => agent.close())
    return agent
  }

  test('gets a certificate for its token and serves it, to a client without a name too', async () => {
    const agent = await agentFor('httpbin')
    expect(agent.spiffeId).toBe(ID('httpbin'))
    for (const node of [NODE, OTHER, undefined]) {
      const { secrets } = await open(agent.address, { service: 'sds', node }).next()
      expect(leafOf(secrets.get('default')).subjectAltName).toBe(`URI:${ID('httpbin')}`)
      expect(secrets.get('ROOTCA')?.type.case).toBe('validationContext')
    }
  })

  test('renews by its certificate when there is no token any more, and sends what is new', async () => {
    let first: string | undefined = token('httpbin')
    const ca = {
      address: plane.address('tlsAddress'),
      roots: () => plane.plane.ca.rootPem,
      token: () => {
        const given = first
        first = undefined
        return given
      },
    }
    // The clock of the agent leaps to the renewal.
    let renew = () => {}
    const clock: Runtime = {
      ...shifted(0),
      after(ms, fn) {
        if (ms < 3_600_000) return runtime.after(ms, fn)
        renew = fn
        return { cancel() {} }
      },
    }
    const agent = await SdsAgent.start({ ca, place: { socket: path.join(dir, 'agent-renewing') }, runtime: clock })
    cleanup.push(() => agent.close())
    const stream = open(agent.address, { service: 'sds', node: NODE })
    const before = leafOf((await stream.next()).secrets.get('default'))
    renew()
    const after = leafOf((await stream.next()).secrets.get('default'))
    expect(after.subjectAltName).toBe(`URI:${ID('httpbin')}`)
    expect(after.serialNumber).not.toBe(before.serialNumber)
    expect(after.publicKey.equals(before.publicKey)).toBe(false)
  })

  test('serves the certificates of files, and again when they change', async () => {
    const agent = await agentFor('httpbin')
    const file = path.join(dir, 'changing.pem')
    fs.writeFileSync(file, 'first')
    const name = `file-root:${file}`
    const stream = open(agent.address, { service: 'sds', node: NODE, names: [name] })
    const rootOf = (secret: Secret | undefined) =>
      secret?.type.case === 'validationContext' &&
      Buffer.from(secret.type.value.trustedCa!.specifier.value as Uint8Array).toString()
    expect(rootOf((await stream.next()).secrets.get(name))).toBe('first')
    const next = stream.next()
    // The watch begins a moment after the first answer.
    for (let n = 0; n < 50; n++) {
      fs.writeFileSync(file, 'second')
      if (
        await Promise.race([next.then(() => true), new Promise<boolean>((resolve) => setTimeout(resolve, 200, false))])
      )
        break
    }
    expect(rootOf((await next).secrets.get(name))).toBe('second')
  })

  test('says so when the CA refuses', async () => {
    await expect(agentFor('other', { token: () => 'no token' })).rejects.toThrow('request authenticate failure')
  })
})
