import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startMesh, type TestMesh } from '../support/mesh.ts'
import { startRedis, type TestRedis } from '../support/redis.ts'
import { dinghyCli } from './envoy.ts'

const FOLDER = 'configs/rate-limits/global'
const PRODUCTPAGE = 'http://bookinfo.example.com/productpage'

const read = (name: string) => fs.readFileSync(path.join(FOLDER, name), 'utf8')

/** The mesh of the folder, with the service's command as changed. */
async function start(change: (command: string) => string = (command) => command): Promise<TestMesh> {
  const files = { 'workloads.yaml': read('workloads.yaml'), 'ratelimit.yaml': change(read('ratelimit.yaml')) }
  const mesh = await startMesh(files)
  await said(mesh, 'debug on')
  return mesh
}

/** Resolves when the service has written a line. */
async function said(mesh: TestMesh, text: string): Promise<void> {
  while (!mesh.events.some((event) => event.type === 'output' && event.line.includes(text)))
    await new Promise((resolve) => setTimeout(resolve, 20))
}

/** The statuses of requests from outside, one after the other. */
async function statuses(mesh: TestMesh, url: string, count: number): Promise<number[]> {
  const found: number[] = []
  for (let i = 0; i < count; i++) found.push((await mesh.get('outside', url)).status)
  return found
}

describe("Istio's task of global rate limits, with dinghy ratelimit as a pod's app", () => {
  let bin: string
  const { PATH } = process.env
  beforeAll(() => {
    bin = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-bin-'))
    const script = `#!/bin/sh\nexec "${process.execPath}" "${dinghyCli()}" "$@"\n`
    fs.writeFileSync(path.join(bin, 'dinghy'), script, { mode: 0o755 })
    process.env.PATH = `${bin}:${PATH}`
  })
  afterAll(() => {
    process.env.PATH = PATH
    fs.rmSync(bin, { recursive: true })
  })

  it('lets one request a minute through to the product page, and a hundred to each other path', async () => {
    // A day in the place of a minute: no window ends within the test.
    const limits = path.join(bin, 'limits.yaml')
    fs.writeFileSync(limits, read('ratelimit.yaml').replaceAll('unit: minute', 'unit: day'))
    const mesh = await start((text) => text.replace(`${FOLDER}/ratelimit.yaml`, limits))
    try {
      expect(await statuses(mesh, PRODUCTPAGE, 3)).toEqual([200, 429, 429])
      expect(await statuses(mesh, 'http://bookinfo.example.com/details/0', 3)).toEqual([200, 200, 200])
      const over = await mesh.get('outside', PRODUCTPAGE)
      expect(over.headers['x-envoy-ratelimited']).toBe('true')
    } finally {
      await mesh.stop()
    }
  })

  it('lets two meshes together through no more than the limit, when they count in one Redis', async () => {
    const redis: TestRedis = await startRedis()
    const limits = path.join(bin, 'limits.yaml')
    const text = read('ratelimit.yaml').replaceAll('unit: minute', 'unit: day')
    fs.writeFileSync(limits, text.replace('requests_per_unit: 1\n', 'requests_per_unit: 7\n'))
    const shared = (yaml: string) => yaml.replace(`${FOLDER}/ratelimit.yaml`, `${limits} --redis-url ${redis.url}`)
    const meshes = await Promise.all([start(shared), start(shared)])
    try {
      await Promise.all(meshes.map((mesh) => said(mesh, 'counting in the Redis')))
      const answers = (await Promise.all(meshes.map((mesh) => statuses(mesh, PRODUCTPAGE, 8)))).flat()
      expect(answers.filter((status) => status === 200)).toHaveLength(7)
      expect(answers.filter((status) => status === 429)).toHaveLength(9)
    } finally {
      await Promise.all(meshes.map((mesh) => mesh.stop()))
      await redis.stop()
    }
  })
})
