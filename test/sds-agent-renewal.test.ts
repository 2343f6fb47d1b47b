import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { Ca } from '../src/ca/ca.ts'
import { SdsAgent } from '../src/mesh/sds-agent/agent.ts'
import type { CaEndpoint } from '../src/mesh/sds-agent/ca-client.ts'
import type { Runtime } from '../src/runtime.ts'
import { leafOf, secretStream, shifted, startPlane, type TestPlane } from './support/control-plane.ts'

// When an agent renews its certificate, and what it proves its identity by then.

const HOUR = 3_600_000
let plane: TestPlane
let dir = ''
const cleanup: (() => unknown)[] = []
beforeAll(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-renewal-'))
  plane = await startPlane('apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: httpbin}\n', {
    tlsAddress: { host: '127.0.0.1', port: 0 },
  })
})
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step()
})
afterAll(async () => {
  await plane.close()
  fs.rmSync(dir, { recursive: true, force: true })
})

const token = () => plane.plane.accounts.issue({ namespace: 'default', name: 'httpbin', audiences: ['istio-ca'] })

/** An agent whose timers run when the test says so. */
async function agentOf(more: Partial<CaEndpoint> = {}) {
  const clock = { ahead: 0 }
  const log: string[] = []
  const waiting: { ms: number; fn: () => void }[] = []
  const runtime: Runtime = {
    ...shifted(0),
    wallNow: () => Date.now() + clock.ahead,
    after(ms, fn) {
      if (ms < 1000) return shifted(0).after(ms, fn)
      const timer = { ms, fn }
      waiting.push(timer)
      return { cancel() {} }
    },
  }
  const ca = { address: plane.address('tlsAddress'), roots: () => plane.plane.ca.rootPem, token, ...more }
  const socket = path.join(dir, `agent-${cleanup.length}-${Math.floor(performance.now())}`)
  const agent = await SdsAgent.start({ ca, place: { socket }, runtime, log: (line) => log.push(line) })
  cleanup.push(() => agent.close())
  return {
    clock,
    log,
    agent,
    async timer() {
      while (waiting.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
      return waiting.shift()!
    },
    async serial() {
      const stream = secretStream(agent.address, { service: 'sds', node: 'x' })
      const { secrets } = await stream.next()
      stream.close()
      return leafOf(secrets.get('default')).serialNumber
    },
  }
}

test('at half of its life, again and again', async () => {
  const at = await agentOf()
  let before = await at.serial()
  for (let n = 0; n < 2; n++) {
    const { ms, fn } = await at.timer()
    expect(ms / HOUR).toBeCloseTo(12, 1)
    fn()
    while ((await at.serial()) === before) await new Promise((resolve) => setTimeout(resolve, 5))
    before = await at.serial()
  }
})

test('a certificate that has run out proves nothing; it is tried again, later each time, until a token is there', async () => {
  const tokens: (string | undefined)[] = [token()]
  const at = await agentOf({ token: () => tokens.shift() })
  const before = await at.serial()
  const first = await at.timer()
  at.clock.ahead = 25 * HOUR
  first.fn()
  for (const ms of [1000, 2000, 4000]) {
    const retry = await at.timer()
    expect(retry.ms).toBe(ms)
    if (ms === 4000) tokens.push(token())
    retry.fn()
  }
  while ((await at.serial()) === before) await new Promise((resolve) => setTimeout(resolve, 5))
  expect(at.log).toHaveLength(3)
  expect(at.log[0]).toContain('could not be renewed, and is tried again: request authenticate failure')
})

test('the roots that came with a certificate vouch for the CA too', async () => {
  const other = new Ca({ runtime: shifted(0) })
  cleanup.push(() => other.close())
  const roots = [plane.plane.ca.rootPem, other.rootPem]
  const at = await agentOf({ roots: () => roots.shift()! })
  const before = await at.serial()
  ;(await at.timer()).fn()
  while ((await at.serial()) === before && at.log.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  expect(at.log).toEqual([])
})

test('the CA has to have the name that is asked for', async () => {
  await agentOf({ serverName: 'localhost' })
  const runtime = shifted(0)
  const { requestIdentity } = await import('../src/mesh/sds-agent/ca-client.ts')
  const ca = { address: plane.address('tlsAddress'), roots: () => plane.plane.ca.rootPem, token }
  await expect(requestIdentity({ ...ca, serverName: 'somebody.else' }, undefined, runtime.wallNow())).rejects.toThrow()
})
