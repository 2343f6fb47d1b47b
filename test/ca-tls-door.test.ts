import { generateKeyPairSync } from 'node:crypto'
import tls from 'node:tls'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { Ca } from '../src/ca/ca.ts'
import { openTlsDoor } from '../src/mesh/doors/tls-door.ts'
import { signingRequest } from '../src/mesh/sds-agent/csr.ts'
import type { Runtime } from '../src/runtime.ts'
import { createCertificate, shifted, startPlane, type TestPlane } from './support/control-plane.ts'

// Whose tokens the TLS port takes, and when its own certificate is made anew.

const HOUR = 3_600_000
const csr = signingRequest(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)

let plane: TestPlane
const cleanup: (() => unknown)[] = []
beforeAll(async () => {
  plane = await startPlane('apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: httpbin}\n', {})
})
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step()
})
afterAll(() => plane.close())

/** A door with a CA of its own, whose clock and timers are in the test's hands. */
async function door(env: Record<string, string> = {}) {
  const clock = { ahead: 0 }
  const waiting: { ms: number; fn: () => void; cancelled: boolean }[] = []
  const log: string[] = []
  const runtime: Runtime = {
    ...shifted(0),
    wallNow: () => Date.now() + clock.ahead,
    after(ms, fn) {
      const timer = { ms, fn, cancelled: false }
      waiting.push(timer)
      return {
        cancel() {
          timer.cancelled = true
        },
      }
    },
  }
  const ca = new Ca({ runtime: { ...runtime, after: shifted(0).after, fork: () => shifted(0) } })
  const listener = await openTlsDoor(
    { ...plane.plane, ca },
    { host: '127.0.0.1', port: 0 },
    { runtime, env, log: (line) => log.push(line) },
  )
  cleanup.push(
    () => ca.close(),
    () => listener.close(),
  )
  const { address } = listener
  return {
    ca,
    clock,
    log,
    address,
    /** The timer of the renewal: there is one at most. */
    timer() {
      const live = waiting.filter(({ cancelled }) => !cancelled)
      expect(live.slice(0, -1).filter(({ ms }) => ms > HOUR)).toEqual([])
      return live.at(-1)!
    },
    serial: () =>
      new Promise<string>((resolve, reject) => {
        const port = Number(address.split(':').at(-1))
        const socket = tls.connect(
          { host: '127.0.0.1', port, rejectUnauthorized: false, ALPNProtocols: ['h2'] },
          () => {
            resolve(socket.getPeerCertificate().serialNumber)
            socket.destroy()
          },
        )
        socket.on('error', reject)
      }),
  }
}

const answer = (at: { address: string; ca: Ca }, audiences: string[]) =>
  createCertificate(at.address, {
    csr,
    roots: at.ca.rootPem,
    token: plane.plane.accounts.issue({ namespace: 'default', name: 'httpbin', audiences }),
  })

test('tokens are for istio-ca, unless TOKEN_AUDIENCES names others', async () => {
  const usual = await door()
  expect((await answer(usual, ['istio-ca'])).code).toBe(0)
  expect((await answer(usual, ['first'])).code).toBe(16)
  const named = await door({ TOKEN_AUDIENCES: 'first,second' })
  for (const one of ['first', 'second']) expect((await answer(named, [one])).code).toBe(0)
  for (const one of ['istio-ca', 'first,second', '']) expect((await answer(named, [one])).code).toBe(16)
})

test('the certificate of the port is made anew at half of its life', async () => {
  const at = await door()
  const before = await at.serial()
  const { ms, fn } = at.timer()
  expect(ms / HOUR).toBeCloseTo(at.ca.settings.workloadTtl / HOUR / 2, 2)
  at.clock.ahead = ms
  fn()
  expect(await at.serial()).not.toBe(before)
  expect(at.timer().ms / HOUR).toBeCloseTo(at.ca.settings.workloadTtl / HOUR / 2, 2)
})

test('one that cannot be made is tried again a minute later, and the port goes on', async () => {
  const at = await door()
  const before = await at.serial()
  at.clock.ahead = 20 * 365 * 24 * HOUR
  at.timer().fn()
  expect(at.log.join()).toContain("the control plane's own certificate cannot be renewed")
  expect(at.timer().ms).toBeCloseTo(60_000, -2)
  expect(await at.serial()).toBe(before)
})

test('it is made anew with new roots, and clients of theirs are known', async () => {
  const at = await door()
  const before = await at.serial()
  const other = new Ca({ runtime: shifted(0) })
  cleanup.push(() => other.close())
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { certChain } = other.sign({ publicKey, spiffeIds: ['spiffe://cluster.local/ns/default/sa/httpbin'] })
  const client = { cert: certChain[0]!, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string }
  const call = () => createCertificate(at.address, { csr, roots: at.ca.rootPem, client })
  expect((await call()).code).not.toBe(0)
  // Certificates of the new CA wait until the roots have spread; nothing but the roots changes here.
  void at.ca.adopt(other.bundle)
  expect(await at.serial()).not.toBe(before)
  expect((await call()).code).toBe(0)
})

test('it is made anew when all identities are', async () => {
  const at = await door()
  const before = await at.serial()
  await at.ca.rotate()
  expect(await at.serial()).not.toBe(before)
})
