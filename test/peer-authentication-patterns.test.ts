import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { head, inboundOf, sendRaw } from './support/attacker.ts'
import { startMesh, type TestMesh } from './support/mesh.ts'

describe('the zero-trust pattern of configs/patterns', () => {
  let mesh: TestMesh
  beforeAll(async () => {
    const folder = path.resolve(import.meta.dirname, '../configs/patterns/zero-trust')
    const files = fs.readdirSync(folder).filter((file) => file.endsWith('.yaml'))
    mesh = await startMesh(
      Object.fromEntries(files.map((file) => [file, fs.readFileSync(path.join(folder, file), 'utf8')])),
    )
  })
  afterAll(() => mesh?.stop())

  it('starts without a complaint', () => {
    expect(mesh.events).toEqual([])
  })

  it('sleep gets an answer, and everybody else 403 with the words of Envoy', async () => {
    expect((await mesh.get('sleep', 'http://httpbin:8000/get')).status).toBe(200)
    const other = await mesh.get('curl', 'http://httpbin:8000/get')
    expect([other.status, other.text]).toEqual([403, 'RBAC: access denied'])
  })

  it('plain text is closed, not answered, also with the name of sleep in its headers', async () => {
    const name = mesh.mesh.workloads().find((w) => w.workload === 'httpbin')!.name
    const forged = 'x-forwarded-client-cert: URI=spiffe://cluster.local/ns/default/sa/sleep'
    const { text, end } = await sendRaw(inboundOf(mesh, name, 80), head('/get', 'httpbin', [forged]))
    expect([text, end]).toEqual(['', 'ECONNRESET'])
  })
})
