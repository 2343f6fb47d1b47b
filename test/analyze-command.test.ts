import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { run } from '../src/cli/main.ts'
import { pod } from './support/mesh.ts'

const policy = (name: string, spec: string) => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}}
spec: {${spec}}
---`
const NOBODY = policy('nobody', 'selector: {matchLabels: {app: none}}')
const MISSING = policy('missing', 'rules: [{from: [{source: {namespaces: [gone]}}]}]')

describe('dinghy analyze', () => {
  let dir: string
  beforeEach(() => {
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-analyze-'))
  })
  afterEach(() => {
    vi.restoreAllMocks()
    fs.rmSync(dir, { recursive: true, force: true })
  })

  /** Runs the command on some YAML. */
  async function analyze(yaml: string, ...args: string[]) {
    const file = path.join(dir, 'mesh.yaml')
    fs.writeFileSync(file, yaml)
    const out = { stdout: '', stderr: '', status: 0 }
    for (const name of ['stdout', 'stderr'] as const)
      vi.spyOn(process[name], 'write').mockImplementation((text) => {
        out[name] += String(text)
        return true
      })
    const before = process.exitCode
    process.exitCode = 0
    try {
      await run(['analyze', file, ...args])
      out.status = Number(process.exitCode ?? 0)
    } finally {
      process.exitCode = before
      vi.restoreAllMocks()
    }
    return { ...out, stdout: out.stdout.replaceAll(`${dir}/`, '') }
  }

  it('prints messages as istioctl does, and fails for errors', async () => {
    const { stdout, status } = await analyze(pod('web', 'v1') + NOBODY + MISSING)
    expect(stdout).toMatch(
      /^Error \[IST0101\] \(AuthorizationPolicy default\/missing mesh\.yaml:\d+:\d+\) Referenced namespace/,
    )
    expect(stdout).toMatch(
      /\nWarning \[IST0127\] \(AuthorizationPolicy default\/nobody mesh\.yaml:\d+:\d+\) No matching/,
    )
    expect(status).toBe(1)
  })

  it('thresholds decide what is shown, and what is a failure', async () => {
    const yaml = pod('web', 'v1') + NOBODY
    expect((await analyze(yaml)).status).toBe(0)
    expect((await analyze(yaml, '--failure-threshold', 'warning')).status).toBe(1)
    const errors = await analyze(yaml, '--output-threshold', 'Error')
    expect(errors.stdout).toBe('')
    expect(errors.stderr).toContain('No validation issues found')
  })

  it('leaves out what is suppressed, by code and resource', async () => {
    const yaml = pod('web', 'v1') + NOBODY
    for (const resource of ['AuthorizationPolicy nobody.default', 'AuthorizationPolicy *.default', '*'])
      expect((await analyze(yaml, '-S', `IST0127=${resource}`)).stdout).not.toContain('IST0127')
    expect((await analyze(yaml, '-S', 'IST0127=AuthorizationPolicy other.default')).stdout).toContain('IST0127')
    expect((await analyze(yaml, '-S', 'IST9999=x')).stderr).toContain("code 'IST9999' is an unknown message code")
    expect((await analyze(yaml, '-S', 'IST0127')).status).toBe(2)
  })

  it('gives JSON and YAML with the fields of istioctl', async () => {
    const json = JSON.parse((await analyze(pod('web', 'v1') + NOBODY, '-o', 'json')).stdout)
    expect(json).toContainEqual({
      code: 'IST0127',
      documentationUrl: 'https://istio.io/latest/docs/reference/config/analysis/ist0127/',
      level: 'Warning',
      message: 'No matching workloads for this resource with the following labels: app=none',
      origin: 'AuthorizationPolicy default/nobody',
      reference: expect.stringMatching(/^mesh\.yaml:\d+:\d+$/),
    })
    expect((await analyze(pod('web', 'v1') + NOBODY, '-o', 'yaml')).stdout).toContain('- code: IST0127\n')
  })

  it('-n keeps to a namespace', async () => {
    const yaml = pod('web', 'v1') + NOBODY
    expect((await analyze(yaml, '-n', 'other')).stdout).toBe('')
    expect((await analyze(yaml, '-n', 'default')).stdout).toContain('IST0127')
    expect((await analyze(yaml, '-A')).stdout).toContain('IST0127')
  })

  it('what cannot be read is an error of the schema, and fails unless it may be unknown', async () => {
    const bad = policy('bad', 'action: SHRUG')
    const { stdout, status } = await analyze(bad)
    expect(stdout).toMatch(/^Error \[IST0106\] \(mesh\.yaml:5:\d+\) Schema validation error: /)
    expect(status).toBe(1)
    expect((await analyze(bad, '--ignore-unknown')).status).toBe(0)
  })

  it('shows the line of a document that ends too early', async () => {
    expect((await analyze('apiVersion: v1\nkind: [\n')).stdout).toMatch(/\(mesh\.yaml:2:8\)/)
  })

  it('lists its analyzers, and runs one of them', async () => {
    const { stdout } = await analyze('', '-L')
    expect(stdout).toContain('* auth.AuthorizationPoliciesAnalyzer:\n')
    expect(stdout).toContain('* dinghy.PathAnalyzer:\n')
    const one = await analyze(pod('web', 'v1') + NOBODY + MISSING, '--analyzer', 'dinghy.PathAnalyzer')
    expect(one.stdout).toBe('')
    expect((await analyze('', '--analyzer', 'nothing')).status).toBe(2)
  })
})
