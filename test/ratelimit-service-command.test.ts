import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { RateLimitClient } from './support/ratelimit.ts'

const CLI = process.env.DINGHY_TEST_CLI ?? path.resolve(import.meta.dirname, '../dist/cli.js')
const LIMITS = 'domain: d\ndescriptors:\n- {key: k, rate_limit: {unit: day, requests_per_unit: 2}}\n'

describe('dinghy ratelimit', () => {
  let dir: string
  let child: ChildProcess | undefined
  let output = { stdout: '', stderr: '' }
  const file = (name: string, text: string) => {
    fs.writeFileSync(path.join(dir, name), text)
    return path.join(dir, name)
  }
  const run = (args: readonly string[], env: Record<string, string> = {}): ChildProcess => {
    output = { stdout: '', stderr: '' }
    const { PATH = '' } = process.env
    child = spawn(process.execPath, [CLI, 'ratelimit', ...args], { env: { PATH, NO_COLOR: '1', ...env } })
    for (const name of ['stdout', 'stderr'] as const)
      child[name]!.setEncoding('utf8').on('data', (text: string) => {
        output[name] += text
      })
    return child
  }
  const said = async (name: 'stdout' | 'stderr', pattern: RegExp): Promise<RegExpExecArray> => {
    for (;;) {
      const match = pattern.exec(output[name])
      if (match) return match
      if (child!.exitCode !== null) throw new Error(`it has ended:\n${output.stderr}`)
      await Promise.race([once(child![name]!, 'data'), once(child!, 'close')])
    }
  }
  const ended = async (args: readonly string[], env: Record<string, string> = {}) => {
    const [status] = (await once(run(args, env), 'close')) as [number]
    return { status, ...output }
  }
  beforeAll(() => {
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-ratelimit-'))
  })
  afterEach(async () => {
    if (child && child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await once(child, 'close')
    }
  })
  afterAll(() => fs.rmSync(dir, { recursive: true, force: true }))

  it('tells where it listens, serves, and ends with status 0 when it is told to', async () => {
    const ports = ['--port', '0', '--grpc-port', '0', '--debug-port', '0']
    run([file('limits.yaml', LIMITS), ...ports, '--shadow-mode', '--response-headers'])
    const [, http] = await said('stdout', /^HTTP on (127\.0\.0\.1:\d+)$/m)
    const [, grpc] = await said('stdout', /^gRPC on (127\.0\.0\.1:\d+)$/m)
    await said('stdout', /^debug on 127\.0\.0\.1:\d+$/m)
    expect((await fetch(`http://${http}/healthcheck`)).status).toBe(200)
    const client = new RateLimitClient(grpc!)
    expect(await client.admitted('d', ['k=v'], 5)).toBe(5)
    const { responseHeadersToAdd } = await client.ask('d', ['k=v'])
    expect(responseHeadersToAdd.map(({ key }) => key)).toContain('RateLimit-Remaining')
    child!.kill('SIGTERM')
    expect((await once(child!, 'close'))[0]).toBe(0)
    client.close()
  })

  it("reads the reference's variables and layout, and lets flags override them", async () => {
    fs.mkdirSync(path.join(dir, 'data/ratelimit/config'), { recursive: true })
    file('data/ratelimit/config/config.yaml', LIMITS)
    const env = {
      RUNTIME_ROOT: path.join(dir, 'data'),
      RUNTIME_SUBDIRECTORY: 'ratelimit',
      GRPC_PORT: '0',
      PORT: '0',
      DEBUG_PORT: '1',
      SHADOW_MODE: 'false',
    }
    run(['--debug-port', '0'], env)
    const [, grpc] = await said('stdout', /gRPC on (\S+)/)
    const client = new RateLimitClient(grpc!)
    expect(await client.admitted('d', ['k=v'], 5)).toBe(2)
    client.close()
  })

  it('shows with file, line and column what is wrong, and runs on until it is mended', async () => {
    const broken = file('broken.yaml', LIMITS.replace('day', 'dya'))
    run([broken, '--port', '0', '--grpc-port', '0', '--debug-port', '0'])
    const [, grpc] = await said('stdout', /gRPC on (\S+)/)
    await said('stderr', /broken\.yaml:3:31: error: invalid rate limit unit 'dya'\n/)
    await said('stderr', /no limits are in force until this is mended: requests fail/)
    fs.writeFileSync(broken, LIMITS)
    await said('stderr', /the new limits are in force/)
    const client = new RateLimitClient(grpc!)
    expect(await client.admitted('d', ['k=v'], 5)).toBe(2)
    client.close()
  })

  it('refuses misuse with status 2, and what is not there with status 1', async () => {
    const limits = file('limits.yaml', LIMITS)
    expect(await ended([])).toMatchObject({ status: 2, stderr: expect.stringContaining('name the files') as string })
    expect(await ended([limits, '--redis-url', 'http://x'])).toMatchObject({ status: 2 })
    expect(await ended([limits], { REDIS_TYPE: 'sentinel', REDIS_URL: 'm,a:1' })).toMatchObject({
      status: 2,
      stderr: 'dinghy: REDIS_TYPE=sentinel is not supported: only single\n',
    })
    expect(await ended([path.join(dir, 'nowhere')])).toMatchObject({
      status: 1,
      stderr: `dinghy: ${dir}/nowhere: no such file or folder\n`,
    })
  })
})
