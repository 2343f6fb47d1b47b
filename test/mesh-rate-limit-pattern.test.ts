import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { startMesh, type TestMesh } from '../src/testing/index.ts'

const FOLDER = path.resolve(import.meta.dirname, '../configs/patterns/rate-limit')

describe('the rate limit of configs/patterns', () => {
  let mesh: TestMesh
  afterEach(() => mesh?.close())

  /** The statuses of so many requests, one after the other, and the bodies of those refused. */
  async function statuses(count: number): Promise<number[]> {
    const out: number[] = []
    for (let i = 0; i < count; i++) {
      const { status, body } = await mesh.call('curl', 'http://httpbin:8000/get')
      if (status === 429) expect(body).toBe('local_rate_limited')
      out.push(status)
    }
    return out
  }

  it('gives ten requests at once, and then one every six seconds', async () => {
    mesh = await startMesh({ files: [FOLDER] })
    expect(await statuses(12)).toEqual([...Array(10).fill(200), 429, 429])
    await mesh.clock.advance('3s')
    expect(await statuses(1)).toEqual([429])
    await mesh.clock.advance('4s')
    expect(await statuses(2)).toEqual([200, 429])
    await mesh.clock.advance('60s')
    expect(await statuses(12)).toEqual([...Array(10).fill(200), 429, 429])
  })

  it('is refused as the real thing does when nothing may be taken for granted', async () => {
    await expect(startMesh({ files: [FOLDER], strict: true })).rejects.toThrow(
      /envoy-filter\.yaml:\d+:\d+: .*TypedStruct/,
    )
  })
})
