import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { run } from '../src/cli/main.ts'
import type { LoadReport } from '../src/mesh/load/types.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

/** Runs a command line in this process; the mesh it finds is the one of this file. */
async function dinghy(...args: string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  const out = { stdout: '', stderr: '' }
  const take = (name: 'stdout' | 'stderr') =>
    vi.spyOn(process[name], 'write').mockImplementation((text) => {
      out[name] += String(text)
      return true
    })
  const spies = [take('stdout'), take('stderr')]
  process.exitCode = undefined
  try {
    await run(args)
    return { status: Number(process.exitCode ?? 0), ...out }
  } finally {
    process.exitCode = undefined
    for (const spy of spies) spy.mockRestore()
  }
}

describe('the commands that break things', () => {
  let mesh: TestMesh
  let dir: string
  beforeAll(async () => {
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-faults-'))
    vi.stubEnv('XDG_RUNTIME_DIR', dir)
    const yaml = client() + service('reviews') + pod('reviews', 'v1') + pod('reviews', 'v2')
    mesh = await startMesh(yaml, { announce: true, seed: 1 })
  })
  afterAll(async () => {
    await mesh.stop()
    vi.unstubAllEnvs()
    fs.rmSync(dir, { recursive: true, force: true })
  })

  it('set faults, show how often they struck, and clear them', async () => {
    expect((await dinghy('fault')).stdout).toBe('no faults are set\n')
    const set = await dinghy('fault', 'reviews', 'abort', '503', '50%;', 'delay', '1ms')
    expect(set.stdout).toMatch(
      /NAMESPACE +INSTANCE +FAULT +MATCHED +STRUCK\ndefault +reviews-v1 +abort 503 50% +0 +0\ndefault +reviews-v1 +delay 1ms +0 +0\ndefault +reviews-v2/,
    )
    for (let i = 0; i < 6; i++) await mesh.get('client', 'http://reviews:9080/')
    const [v1, v2] = JSON.parse((await dinghy('fault', 'reviews', '-o', 'json')).stdout)
    expect(v1.rules[1].struck + v2.rules[1].struck).toBe(6)
    expect((await dinghy('fault', 'reviews-v1', '--clear')).stderr).toBe('cleared\n')
    expect(JSON.parse((await dinghy('fault', '-o', 'json')).stdout)).toMatchObject([{ name: 'reviews-v2' }])
    await dinghy('fault', '--clear')
    expect((await dinghy('fault')).stdout).toBe('no faults are set\n')
  })

  it('refuse what they do not understand', async () => {
    expect(await dinghy('fault', 'reviews', 'abort')).toMatchObject({
      status: 2,
      stderr: 'dinghy: the status must be a whole number of 200 to 599 in "abort"\n',
    })
    expect(await dinghy('fault', 'nobody', 'hang')).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^dinghy: no workload is called "nobody"; there are: /),
    })
    expect(await dinghy('load', 'client', 'https://reviews/')).toMatchObject({ status: 2 })
  })

  it('send a load, and report what became of it', async () => {
    const good = await dinghy('load', 'client', 'http://reviews:9080/', '-n', '40', '-c', '4', '--max-error-rate', '0')
    expect(good.status).toBe(0)
    expect(good.stdout).toMatch(/^40 requests over 4 connections in [\d.]+ s: /)
    expect(good.stdout).toMatch(/\nreviews-v1 +200 +- +\d+ +[\d.]+%\n/)
    expect(good.stdout).toMatch(/\nATTEMPTS +REQUESTS +SHARE\n1 +40 +100%\n/)
    expect(good.stdout).toMatch(/\nno request failed\n$/)
    await dinghy('fault', 'reviews-v1', 'abort 500')
    const args = ['client', 'http://reviews:9080/', '-n', '40', '-c', '4', '--max-error-rate', '1%', '-o', 'json']
    const bad = await dinghy('load', ...args)
    const report = JSON.parse(bad.stdout) as LoadReport
    expect(report.failed).toBeGreaterThan(5)
    expect(report.failures).toMatchObject([{ savable: true, why: expect.stringContaining('GET was answered 500') }])
    expect(report.failures[0]?.examples[0]).toMatchObject({
      tried: ['reviews-v1'],
      attempts: 1,
      details: 'via_upstream',
    })
    expect([bad.status, bad.stderr]).toEqual([1, expect.stringMatching(/% of the requests failed, more than 1%\n$/)])
    await dinghy('fault', '--clear')
    const slow = await dinghy('load', 'client', 'http://reviews:9080/', '--duration', '200ms', '--max-p99', '0.001ms')
    expect([slow.status, slow.stderr]).toEqual([
      1,
      expect.stringMatching(/^dinghy: p99 is [\d.]+ ms, more than 0.001 ms\n$/),
    ])
  })
})
