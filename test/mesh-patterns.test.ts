import fs from 'node:fs'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { startMesh, type TestMesh } from './support/mesh.ts'

/** The files of a folder under configs/patterns, as they are. */
function pattern(name: string): Record<string, string> {
  const folder = path.resolve(import.meta.dirname, '../configs/patterns', name)
  const files = fs.readdirSync(folder).filter((file) => file.endsWith('.yaml'))
  return Object.fromEntries(files.map((file) => [file, fs.readFileSync(path.join(folder, file), 'utf8')]))
}

describe('the patterns of configs/patterns', () => {
  let mesh: TestMesh
  afterEach(() => mesh?.stop())

  it('canary: one request in ten goes to the new version', async () => {
    mesh = await startMesh(pattern('canary'), { seed: 1 })
    const split = await mesh.split('curl', 'http://reviews:9080/', 300)
    expect(split.v1! + split.v2!).toBe(300)
    expect(split.v2).toBeGreaterThan(12)
    expect(split.v2).toBeLessThan(55)
    expect(mesh.events).toEqual([])
  })

  it('blue/green: the switch moves every request', async () => {
    const files = pattern('blue-green')
    mesh = await startMesh(files, { watch: true })
    expect(await mesh.split('curl', 'http://myapp:9080/', 20)).toEqual({ blue: 20 })
    await mesh.write('virtual-service.yaml', files['virtual-service.yaml']!.replace('subset: blue', 'subset: green'))
    expect(await mesh.split('curl', 'http://myapp:9080/', 20)).toEqual({ green: 20 })
  })

  it('A/B test: a header decides', async () => {
    mesh = await startMesh(pattern('ab-test'))
    expect(await mesh.split('curl', 'http://myapp:9080/', 10)).toEqual({ blue: 10 })
    const tester = { headers: { 'end-user': 'ab-tester' } }
    expect(await mesh.split('curl', 'http://myapp:9080/', 10, tester)).toEqual({ green: 10 })
    expect(await mesh.split('curl', 'http://myapp:9080/', 10, { headers: { 'end-user': 'ab-tester2' } })).toEqual({
      blue: 10,
    })
  })
})
