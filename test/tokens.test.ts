import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { SigningKey } from '../src/pilot/ca-service/signing-key.ts'
import { leafOf, secretStream } from './support/control-plane.ts'
import { client, pod, service } from './support/mesh.ts'

const CLI = process.env.DINGHY_TEST_CLI ?? path.resolve(import.meta.dirname, '../dist/cli.js')

let dir = ''
beforeAll(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-tokens-'))
})
afterAll(() => fs.rmSync(dir, { recursive: true, force: true }))

const start = (...args: string[]) =>
  spawn(process.execPath, [CLI, ...args], {
    env: { ...process.env, XDG_RUNTIME_DIR: dir, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })

/** Runs the command to its end. */
async function dinghy(...args: string[]): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const child = start(...args)
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const [status] = (await once(child, 'close')) as [number | null]
  return { status, stdout, stderr }
}

const claimsOf = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as Record<string, unknown> & {
    exp: number
    iat: number
  }

describe('dinghy create token', () => {
  const running: ChildProcess[] = []
  let doors: Record<string, string> = {}
  const data = () => path.join(dir, 'data')
  beforeAll(async () => {
    const file = path.join(dir, 'mesh.yaml')
    fs.writeFileSync(file, [client(), service('reviews'), pod('reviews', 'v1')].join(''))
    const mesh = start('up', file, '--json', '--tls-addr', '127.0.0.1:0', '--data-dir', data())
    running.push(mesh)
    const [line] = (await once(readline.createInterface({ input: mesh.stdout! }), 'line')) as [string]
    doors = (JSON.parse(line) as { doors: Record<string, string> }).doors
  })
  afterEach(async () => {
    for (const child of running.splice(1)) {
      const gone = once(child, 'close')
      child.kill('SIGTERM')
      expect((await gone)[0]).toBe(0)
    }
  })
  afterAll(async () => {
    const gone = once(running[0]!, 'close')
    running[0]!.kill('SIGTERM')
    expect((await gone)[0]).toBe(0)
  })

  test('gives what a cluster gives: one hour, for its API server', async () => {
    const { status, stdout, stderr } = await dinghy('create', 'token', 'reviews')
    expect([status, stderr]).toEqual([0, ''])
    const { iat, ...claims } = claimsOf(stdout)
    expect(claims).toEqual({
      aud: ['https://kubernetes.default.svc.cluster.local'],
      exp: iat + 3600,
      iss: 'https://kubernetes.default.svc.cluster.local',
      jti: expect.stringMatching(/^[0-9a-f-]{36}$/),
      'kubernetes.io': {
        namespace: 'default',
        serviceaccount: { name: 'reviews', uid: expect.stringMatching(/^[0-9a-f-]{36}$/) },
      },
      nbf: iat,
      sub: 'system:serviceaccount:default:reviews',
    })
  })

  test('takes audiences, a namespace and a duration', async () => {
    const more = ['-n', 'default', '--audience', 'istio-ca', '--audience', 'else', '--duration', '20m']
    const { aud, exp, iat } = claimsOf((await dinghy('create', 'token', 'reviews', ...more)).stdout)
    expect([aud, exp - iat]).toEqual([['istio-ca', 'else'], 1200])
  })

  test.each([
    [['nobody'], 'failed to create token: serviceaccounts "nobody" not found'],
    [['reviews', '-n', 'elsewhere'], 'failed to create token: serviceaccounts "reviews" not found'],
    [['reviews', '--duration', '1m'], 'failed to create token: may not specify a duration less than 10 minutes'],
  ])('says why it gives none: %j', async (args, words) => {
    const { status, stdout, stderr } = await dinghy('create', 'token', ...args)
    expect([status, stdout]).toEqual([1, ''])
    expect(stderr).toContain(words)
  })

  test('signs with the key of a data folder, without asking anybody', async () => {
    const { stdout } = await dinghy('create', 'token', 'reviews', '--data-dir', data(), '--audience', 'istio-ca')
    const [head = '', body = '', signature = ''] = stdout.trim().split('.')
    const key = SigningKey.kept(data(), false)
    expect(JSON.parse(Buffer.from(head, 'base64url').toString())).toEqual({ alg: 'ES256', kid: key.kid })
    expect(key.verify(`${head}.${body}`, Buffer.from(signature, 'base64url'))).toBe(true)
    expect(fs.statSync(path.join(data(), 'sa-key.pem')).mode & 0o777).toBe(0o600)
    expect((await dinghy('create', 'token', 'reviews', '--data-dir', path.join(dir, 'none'))).status).toBe(1)
  })

  test('its token gets a certificate, which dinghy sds serves', async () => {
    const token = path.join(dir, 'token')
    fs.writeFileSync(token, (await dinghy('create', 'token', 'reviews', '--audience', 'istio-ca')).stdout)
    const ca = ['--ca-addr', doors.tlsAddress!, '--ca-root', path.join(data(), 'ca-cert.pem'), '--token-file', token]
    const ways = [
      ['--socket', path.join(dir, 'by-file'), ...ca],
      ['--socket', path.join(dir, 'by-mesh'), '--for', 'reviews.default'],
    ]
    for (const way of ways) {
      const agent = start('sds', ...way)
      running.push(agent)
      const [line] = (await once(readline.createInterface({ input: agent.stdout! }), 'line')) as [string]
      expect(line).toBe(`serving SDS for spiffe://cluster.local/ns/default/sa/reviews at unix:${way[1]}`)
      const stream = secretStream(`unix:${way[1]}`, { service: 'sds', node: 'x' })
      const { secrets } = await stream.next()
      stream.close()
      expect(leafOf(secrets.get('default')).subjectAltName).toBe('URI:spiffe://cluster.local/ns/default/sa/reviews')
    }
  })

  test('a token for somebody else gets none', async () => {
    const token = path.join(dir, 'token-for-another')
    fs.writeFileSync(token, (await dinghy('create', 'token', 'reviews')).stdout)
    const ca = ['--ca-addr', doors.tlsAddress!, '--ca-root', path.join(data(), 'ca-cert.pem'), '--token-file', token]
    const { status, stderr } = await dinghy('sds', '--socket', path.join(dir, 'never'), ...ca)
    expect(status).toBe(1)
    expect(stderr).toContain('no certificate: request authenticate failure')
  })

  test.each([
    [['sds'], 'say --socket PATH or --addr HOST:PORT'],
    [['sds', '--socket', '/x'], 'say --for SERVICEACCOUNT, or all of --ca-addr, --ca-root and --token-file'],
    [['sds', '--addr', '0.0.0.0:0', '--for', 'reviews'], 'SDS hands out private keys: 0.0.0.0 is not on the loopback'],
    [['up', 'x.yaml', '--sds-addr', '192.0.2.1:0'], 'SDS hands out private keys: 192.0.2.1 is not on the loopback'],
  ])('misuse is told: %j', async (args, words) => {
    const { status, stderr } = await dinghy(...args)
    expect(status).toBe(2)
    expect(stderr).toContain(words)
  })
})

describe('a key for tokens', () => {
  test.each([0o644, 0o640, 0o620])('that others can read or write is not used: mode %d', (mode) => {
    const folder = path.join(dir, `open-${mode}`)
    SigningKey.kept(folder, true)
    fs.chmodSync(path.join(folder, 'sa-key.pem'), mode)
    expect(() => SigningKey.kept(folder, true)).toThrow(`sa-key.pem is open to others: chmod 600`)
  })

  test('that is not there is made by a control plane alone', () => {
    const folder = path.join(dir, 'none')
    expect(() => SigningKey.kept(folder, false)).toThrow('sa-key.pem: a control plane with --data-dir')
    expect(fs.existsSync(folder)).toBe(false)
  })

  test('that is none is named, and nothing of it is told', () => {
    const folder = path.join(dir, 'broken')
    fs.mkdirSync(folder)
    fs.writeFileSync(path.join(folder, 'sa-key.pem'), 'secret', { mode: 0o600 })
    expect(() => SigningKey.kept(folder, true)).toThrow(/sa-key\.pem holds no private key in PEM$/)
  })
})
