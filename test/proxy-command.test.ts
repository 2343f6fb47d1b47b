import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { echoServer, httpFilter, socketAddress, staticCluster, tcpChain } from './support/proxy.ts'

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-proxy-'))
afterAll(() => fs.rmSync(dir, { recursive: true, force: true }))

const children: ChildProcess[] = []
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

interface Run {
  child: ChildProcess
  stdout: () => string
  stderr: () => string
  exit: Promise<number | string>
}

/** Runs the built `dinghy proxy`. */
function dinghyProxy(...args: string[]): Run {
  const child = spawn(process.execPath, ['dist/cli.js', 'proxy', ...args])
  children.push(child)
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (data) => {
    stdout += data
  })
  child.stderr.on('data', (data) => {
    stderr += data
  })
  const exit = new Promise<number | string>((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? signal ?? ''))
  })
  return { child, stdout: () => stdout, stderr: () => stderr, exit }
}

let files = 0

function file(content: string, extension = 'json'): string {
  const name = path.join(dir, `${++files}.${extension}`)
  fs.writeFileSync(name, content)
  return name
}

async function freePort(): Promise<number> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** A bootstrap whose admin address goes to a file, and the arguments for it. */
async function serving(staticResources: object) {
  const address = path.join(dir, `admin-${++files}`)
  const bootstrap = file(JSON.stringify({ admin: { address: socketAddress(0) }, static_resources: staticResources }))
  const run = dinghyProxy('-c', bootstrap, '--admin-address-path', address)
  while (!fs.existsSync(address) || fs.readFileSync(address, 'utf8') === '') {
    if (run.child.exitCode !== null) throw new Error(run.stderr())
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return { run, admin: fs.readFileSync(address, 'utf8') }
}

describe('dinghy proxy', () => {
  test('serves a static config, and stops at once on SIGTERM though a connection is open', async () => {
    const upstream = await echoServer('up;')
    const [http, tcp] = [await freePort(), await freePort()]
    const { run, admin } = await serving({
      clusters: [staticCluster('c', upstream.port)],
      listeners: [
        { name: 'h', address: socketAddress(http), filter_chains: [{ filters: [httpFilter('hello')] }] },
        { name: 't', address: socketAddress(tcp), filter_chains: [tcpChain('c')] },
      ],
    })
    expect(await (await fetch(`http://${admin}/ready`)).text()).toBe('LIVE\n')
    expect(await (await fetch(`http://127.0.0.1:${http}/`)).text()).toBe('hello')
    const open = net.connect(tcp, '127.0.0.1')
    await new Promise((resolve) => open.once('data', resolve))
    const closed = new Promise((resolve) => open.once('close', resolve))
    const before = performance.now()
    run.child.kill('SIGTERM')
    expect(await run.exit).toBe(0)
    expect(performance.now() - before).toBeLessThan(1500)
    await closed
    upstream.close()
    expect(run.stderr()).toBe('')
  })

  test('exits on /quitquitquit', async () => {
    const { run, admin } = await serving({})
    await fetch(`http://${admin}/quitquitquit`, { method: 'POST' })
    expect(await run.exit).toBe(0)
  })

  test('writes access logs before it goes', async () => {
    const port = await freePort()
    const log = path.join(dir, 'access.log')
    const accessLog = {
      name: 'f',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
        path: log,
        log_format: { text_format_source: { inline_string: '%RESPONSE_CODE%\n' } },
      },
    }
    const { run } = await serving({
      listeners: [
        {
          name: 'h',
          address: socketAddress(port),
          filter_chains: [{ filters: [httpFilter('x', { access_log: [accessLog] })] }],
        },
      ],
    })
    await (await fetch(`http://127.0.0.1:${port}/`)).text()
    run.child.kill('SIGINT')
    expect(await run.exit).toBe(0)
    expect(fs.readFileSync(log, 'utf8')).toBe('200\n')
  })

  test('only checks with --mode validate', async () => {
    const good = file('static_resources: {}', 'yaml')
    const run = dinghyProxy('-c', good, '--mode', 'validate')
    expect(await run.exit).toBe(0)
    expect(run.stdout()).toBe(`configuration '${good}' OK\n`)
  })

  test('lays --config-yaml over the file', async () => {
    const run = dinghyProxy('-c', file('{}'), '--config-yaml', 'static_resources: {clusters: [{name: c, type: 99}]}')
    expect(await run.exit).toBe(1)
  })
})

describe('dinghy proxy says in one line what is wrong', () => {
  test.each<[string, string, string, string | RegExp]>([
    ['YAML that is none', 'a: [', 'yaml', /^dinghy: .*\.yaml:1:5: /],
    [
      'an unknown field',
      'static_resources:\n  listeners:\n  - name: l\n    adress: {}\n',
      'yaml',
      /^dinghy: .*\.yaml:4:5: static_resources\.listeners\[0\]/,
    ],
    [
      'a cluster that is refused',
      '{"static_resources":{"clusters":[{"name":"c","type":"STATIC"},{"name":"c","type":"STATIC"}]}}',
      'json',
      /^dinghy: .*duplicate cluster 'c'\n$/,
    ],
  ])('%s', async (_what, content, extension, message) => {
    const run = dinghyProxy('-c', file(content, extension))
    expect(await run.exit).toBe(1)
    expect(run.stderr()).toMatch(message)
  })

  test('a file that is not there', async () => {
    const run = dinghyProxy('-c', path.join(dir, 'missing.yaml'))
    expect(await run.exit).toBe(1)
    expect(run.stderr()).toMatch(/missing\.yaml/)
  })

  test('a port that is taken', async () => {
    const blocker = net.createServer()
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve))
    const { port } = blocker.address() as net.AddressInfo
    const listener = { name: 'l', address: socketAddress(port), filter_chains: [{ filters: [httpFilter('x')] }] }
    const run = dinghyProxy('-c', file(JSON.stringify({ static_resources: { listeners: [listener] } })))
    expect(await run.exit).toBe(1)
    expect(run.stderr()).toBe(`dinghy: cannot bind '127.0.0.1:${port}': Address already in use\n`)
    blocker.close()
  })

  test('a flag that does not exist', async () => {
    const run = dinghyProxy('-c', file('{}'), '--confg-yaml', 'x')
    expect(await run.exit).toBe(2)
    expect(run.stderr()).toContain("unknown option '--confg-yaml'")
  })
})
