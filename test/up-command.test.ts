import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { WorkloadView } from '../src/mesh/control/api.ts'
import { client, pod, service } from './support/mesh.ts'

const CLI = path.resolve(import.meta.dirname, '../dist/cli.js')

interface Result {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Two patches: a cluster's connect_timeout, and the typed_config of an HTTP filter of the client. */
const EXTENDED = (timeout: string, config: string): string => `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: extended, namespace: default}
spec:
  workloadSelector:
    labels: {app: client}
  configPatches:
  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND}
    patch: {operation: ADD, value: {name: mine, connect_timeout: ${timeout}}}
  - applyTo: HTTP_FILTER
    match: {context: SIDECAR_OUTBOUND}
    patch: {operation: INSERT_FIRST, value: {name: mine, typed_config: {${config}}}}
`

/** Runs the command to its end; `runtimeDir` keeps its announcements apart from those of other meshes. */
async function dinghy(runtimeDir: string, args: string[], input?: string): Promise<Result> {
  const child = spawn(process.execPath, [CLI, ...args], {
    env: { ...process.env, XDG_RUNTIME_DIR: runtimeDir, NO_COLOR: '1' },
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  child.stdin.end(input)
  const [status] = (await once(child, 'close')) as [number | null]
  return { status, stdout, stderr }
}

describe('the command', () => {
  let dir: string
  beforeAll(() => {
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-cli-'))
  })
  afterAll(() => fs.rmSync(dir, { recursive: true, force: true }))

  describe('dinghy up', () => {
    let mesh: ChildProcess | undefined
    let stderr = ''

    async function up(yaml: string, ...args: string[]): Promise<{ ready: boolean; workloads: WorkloadView[] }> {
      const file = path.join(dir, 'mesh.yaml')
      fs.writeFileSync(file, yaml)
      stderr = ''
      mesh = spawn(process.execPath, [CLI, 'up', file, '--json', ...args], {
        env: { ...process.env, XDG_RUNTIME_DIR: dir, NO_COLOR: '1' },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      mesh.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text))
      const [line] = (await once(readline.createInterface({ input: mesh.stdout! }), 'line')) as [string]
      return JSON.parse(line)
    }

    afterEach(async () => {
      if (!mesh) return
      const gone = once(mesh, 'close')
      mesh.kill('SIGTERM')
      expect((await gone)[0]).toBe(0)
      mesh = undefined
    })

    const yaml = [client(), service('reviews'), pod('reviews', 'v1'), pod('reviews', 'v2')].join('')

    it('tells where everything is, and every address it tells works', async () => {
      const { ready, workloads } = await up(yaml)
      expect(ready).toBe(true)
      expect(workloads.map((w) => w.name)).toEqual(['client', 'reviews-v1', 'reviews-v2'])
      const [me, reviews] = workloads as [WorkloadView, WorkloadView]
      const get = (at: string, headers = {}) =>
        new Promise<string>((resolve, reject) => {
          http
            .get(`http://${at.includes('/') ? at : `${at}/`}`, { headers, agent: false }, (response) => {
              let text = ''
              response.on('data', (chunk) => (text += chunk)).on('end', () => resolve(text))
            })
            .on('error', reject)
        })
      expect(JSON.parse(await get(reviews.inbound['9080']!)).instance).toBe('reviews-v1')
      const [destination, at] = Object.entries(me.outbound)[0]!
      expect(destination).toMatch(/^10\.96\.\d+\.\d+:9080$/)
      expect(JSON.parse(await get(at, { host: 'reviews:9080' })).workload).toMatch(/^reviews-v/)
      const captured = JSON.parse(await get(`${me.admin}/capture?destination=${reviews.ip}:9080`)) as {
        address: string
      }
      expect(JSON.parse(await get(captured.address, { host: 'reviews:9080' })).workload).toMatch(/^reviews-v/)
    })

    it('tells what becomes of a patch that is no good, in one line at its place', async () => {
      await up(`${yaml}\n${EXTENDED('1s', '"@type": type.googleapis.com/envoy.config.filter.http.lua.v2.Lua')}`)
      await expect
        .poll(() => stderr)
        .toMatch(
          /^\S+mesh\.yaml:\d+:\d+: warning: EnvoyFilter default\/extended: spec\.configPatches\[1\]: .*: the v2 API is gone; write the v3 type; the patch is left out$/m,
        )
      const wasm = 'envoy.extensions.filters.http.wasm.v3.Wasm'
      const refused = EXTENDED('1s', `"@type": type.googleapis.com/${wasm}`)
      fs.writeFileSync(path.join(dir, 'mesh.yaml'), `${yaml}\n${refused}`)
      await expect.poll(() => stderr).toMatch(/; it goes on with what it had$/m)
      expect(stderr.split('\n').filter((line) => line.includes('rejected:'))).toEqual([
        expect.stringMatching(
          /^\S+mesh\.yaml:\d+:5: rejected: EnvoyFilter default\/extended: spec\.configPatches\[1\]: client\.default refused envoy\.config\.listener\.v3\.Listener: .*wasm.*; it goes on with what it had$/,
        ),
      ])
      const once = await dinghy(dir, ['call', 'client', 'http://reviews:9080/'])
      expect(once.stdout).toMatch(/^HTTP\/1\.1 200 OK\n/)
    })

    it('answers dinghy call, one request or many', async () => {
      await up(yaml)
      const one = await dinghy(dir, ['call', 'client', 'http://reviews:9080/x?y=1', '-H', 'x-a: 1', '-d', 'hello'])
      expect(one.status).toBe(0)
      expect(one.stdout).toMatch(/^HTTP\/1\.1 200 OK\n/)
      const body = JSON.parse(one.stdout.slice(one.stdout.indexOf('\n\n')))
      expect(body.request).toMatchObject({ method: 'POST', path: '/x?y=1', body: 'hello', headers: { 'x-a': '1' } })
      expect(one.stderr).toMatch(/answered by reviews-v[12] in [\d.]+ ms/)
      const many = await dinghy(dir, ['call', 'client', 'reviews:9080', '-n', '40', '-c', '4'])
      expect(many.stdout).toMatch(/^ANSWERED BY +STATUS +FLAGS +REQUESTS +SHARE/)
      const counts = [...many.stdout.matchAll(/^reviews-v[12] +200 +- +(\d+)/gm)].map((m) => Number(m[1]))
      expect(counts.reduce((a, b) => a + b)).toBe(40)
      const nobody = await dinghy(dir, ['call', 'nobody', 'http://reviews:9080/'])
      expect([nobody.status, nobody.stderr]).toEqual([
        1,
        'dinghy: no workload is called "nobody"; there are: client.default, reviews-v1.default, reviews-v2.default\n',
      ])
      const nowhere = await dinghy(dir, ['call', 'client', 'http://nowhere:9080/'])
      expect([nowhere.status, nowhere.stderr]).toEqual([1, 'dinghy: could not resolve host: nowhere\n'])
    })

    it('lets any program that honours http_proxy go through a sidecar', async () => {
      await up(yaml)
      const script = `
        const http = require('http'), proxy = new URL(process.env.http_proxy)
        http.get({ host: proxy.hostname, port: proxy.port, path: 'http://reviews:9080/p', headers: { host: 'reviews:9080' } }, (r) => {
          let t = ''; r.on('data', (c) => (t += c)).on('end', () => { console.log(JSON.parse(t).workload, process.env.POD_NAME); process.exit(3) })
        })`
      const ran = await dinghy(dir, ['exec', 'client', '--', process.execPath, '-e', script])
      expect(ran.stdout).toMatch(/^reviews-v[12] client\n$/)
      expect(ran.status).toBe(3)
      const missing = await dinghy(dir, ['exec', 'client', '--', 'no-such-program'])
      expect([missing.status, missing.stderr]).toEqual([127, 'dinghy: no-such-program: command not found\n'])
    })

    it('says when an app is not there, and serves all the same', async () => {
      await up(
        [
          client(),
          service('reviews'),
          pod('reviews', 'v1', { annotations: 'dinghy.dev/app: "9080=127.0.0.1:1"' }),
        ].join(''),
      )
      await expect
        .poll(() => stderr)
        .toContain(
          'reviews-v1: its app for port 9080 does not answer at 127.0.0.1:1 (ECONNREFUSED); requests to it get 503 until it does',
        )
    })
  })

  it('reads standard input, and reports what is wrong with it by line and column', async () => {
    const result = await dinghy(
      dir,
      ['up', '-'],
      'apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports: [{port: "x"}]\n',
    )
    expect(result.status).toBe(1)
    expect(result.stderr).toMatch(/^stdin:5:\d+: error: .*port/)
    expect(result.stderr).toContain('\n    ports: [{port: "x"}]\n')
    expect(result.stderr).toMatch(/\n +\^\n/)
    expect(result.stderr).toContain('dinghy: nothing was started, because of the errors above\n')
  })

  it('names a file that cannot be read', async () => {
    const missing = path.join(dir, 'missing.yaml')
    const result = await dinghy(dir, ['up', missing])
    expect([result.status, result.stderr]).toEqual([
      1,
      `${missing}: error: cannot be read: no such file or folder\ndinghy: nothing was started, because of the errors above\n`,
    ])
  })

  it('names a port that is in use', async () => {
    const taken = net.createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    try {
      const { port } = taken.address() as net.AddressInfo
      const result = await dinghy(dir, ['up', '-', '--grpc-addr', `127.0.0.1:${port}`], client())
      expect(result.status).toBe(1)
      expect(result.stderr).toBe(`dinghy: cannot listen for gRPC on 127.0.0.1:${port}: the address is in use\n`)
    } finally {
      taken.close()
    }
  })

  it('exits with 2 on misuse', async () => {
    for (const args of [
      ['up'],
      ['call', 'x'],
      ['bogus'],
      ['call', 'a', 'b', '-n', '0'],
      ['up', 'x', '--no-such-option'],
    ]) {
      const result = await dinghy(dir, args)
      expect([args, result.status]).toEqual([args, 2])
      expect(result.stderr).toMatch(/^error: /)
    }
  })

  it('checks files without running anything', async () => {
    const clean = await dinghy(dir, ['validate', path.resolve(import.meta.dirname, '../configs/patterns/canary')])
    expect([clean.status, clean.stdout, clean.stderr]).toEqual([0, '3 files: no problems\n', ''])
    const flawed = await dinghy(dir, ['validate', '-'], EXTENDED('60 s', '"@type": type.googleapis.com/a.v3.Nothing'))
    expect([flawed.status, flawed.stdout]).toEqual([1, '1 file: 2 errors\n'])
    expect(flawed.stderr).toMatch(
      /:10:66: error: spec\.configPatches\[0\]\.patch\.value\.connect_timeout: "60 s" is no Duration/,
    )
    expect(flawed.stderr).toMatch(
      /:13:\d+: error: spec\.configPatches\[1\]\.patch\.value\.typed_config\.@type: unknown type/,
    )
    const table = await dinghy(dir, ['validate', '--not-enforced'])
    expect(table.stdout).toMatch(/^Understood and checked, but not enforced yet:\nFIELD +WHAT DOES NOT HAPPEN\n/)
  })
})
