import fs from 'node:fs'
import http from 'node:http'
import type net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { addressGuard } from '../src/pilot/authn/blocked-addresses.ts'
import { JwksFetcher } from '../src/pilot/authn/jwks-fetch.ts'
import type { MeshDial } from '../src/pilot/authn/mesh-dial.ts'
import { SystemRuntime } from '../src/runtime-system.ts'
import { makeAuthority, makeIdentity } from './support/certificates.ts'
import { type KeyServer, startKeyServer } from './support/jwt.ts'

const KEYS = '{"keys":[]}'

describe('pilot gets keys', () => {
  const ends: (() => unknown)[] = []
  afterEach(async () => {
    for (const end of ends.splice(0)) await end()
  })
  const server = async (tls?: { key: string; cert: string }): Promise<KeyServer> => {
    const started = await startKeyServer(KEYS, tls)
    ends.push(() => started.stop())
    return started
  }
  const fetcher = (env: Record<string, string> = {}, dial?: MeshDial): JwksFetcher => {
    const made = new JwksFetcher({ runtime: new SystemRuntime(), variable: (name) => env[name] ?? '', dial })
    ends.push(() => made.close())
    return made
  }
  const reason = (promise: Promise<string>): Promise<string> =>
    promise.then(
      (text) => `nothing is wrong: ${text}`,
      (error: Error) => error.message,
    )

  it('over HTTP, by redirects too', async () => {
    const { url, requests } = await server()
    expect(await fetcher().get(`${url}/jwks`, 5000)).toBe(KEYS)
    expect(await fetcher().get(`${url}/redirect`, 5000)).toBe(KEYS)
    expect(requests).toEqual(['/jwks', '/redirect', '/jwks'])
  })

  it('says what was wrong', async () => {
    const known = await server()
    known.status = 503
    expect(await reason(fetcher().get(`${known.url}/jwks`, 5000))).toBe('status 503 ("no keys today")')
    known.silent = true
    expect(await reason(fetcher().get(`${known.url}/jwks`, 50))).toBe('no answer within 0.05 s')
    await known.stop()
    expect(await reason(fetcher().get(`${known.url}/jwks`, 5000))).toContain(`ECONNREFUSED 127.0.0.1:${known.port}`)
    expect(await reason(fetcher().get('me@here', 5000))).toBe('me@here is no http or https URL')
    expect(await reason(fetcher().get('http://nobody.invalid/jwks', 5000))).toBe('the name nobody.invalid is not known')
  })

  it('over TLS, from servers whose certificate comes from a root that the system trusts', async () => {
    const authority = await makeAuthority('CN=private root')
    const { key, cert } = await makeIdentity(authority, 'CN=localhost', [{ type: 'dns', value: 'localhost' }])
    const { url } = await server({ key, cert })
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-roots-'))
    ends.push(() => fs.rmSync(folder, { recursive: true }))
    const file = path.join(folder, 'root.pem')
    fs.writeFileSync(file, authority.cert)
    expect(await reason(fetcher().get(`${url}/jwks`, 5000))).toMatch(/certificate/)
    expect(await fetcher({ SSL_CERT_FILE: file }).get(`${url}/jwks`, 5000)).toBe(KEYS)
    expect(await fetcher({ SSL_CERT_DIR: folder }).get(`${url}/jwks`, 5000)).toBe(KEYS)
    expect(await fetcher({ NODE_EXTRA_CA_CERTS: file }).get(`${url}/jwks`, 5000)).toBe(KEYS)
    expect(await fetcher({ JWKS_RESOLVER_INSECURE_SKIP_VERIFY: 'true' }).get(`${url}/jwks`, 5000)).toBe(KEYS)
  })

  it('from services of the mesh, whose names only the mesh knows, with their own name in TLS', async () => {
    const authority = await makeAuthority('CN=private root')
    const { key, cert } = await makeIdentity(authority, 'CN=keys', [{ type: 'dns', value: 'keys.default' }])
    const plain = await server()
    const secure = await server({ key, cert })
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-roots-'))
    ends.push(() => fs.rmSync(folder, { recursive: true }))
    const file = path.join(folder, 'root.pem')
    fs.writeFileSync(file, authority.cert)
    const dial: MeshDial = (host, port) =>
      host === 'keys.default'
        ? { host: '127.0.0.1', port: port === 443 ? secure.port : plain.port, ip: '10.96.0.9' }
        : undefined
    const env = { SSL_CERT_FILE: file, HTTP_PROXY: 'http://127.0.0.1:1', HTTPS_PROXY: 'http://127.0.0.1:1' }
    const both = fetcher(env, dial)
    expect(await both.get('http://keys.default/jwks', 5000)).toBe(KEYS)
    expect(await both.get('https://keys.default/jwks', 5000)).toBe(KEYS)
    const blocked = fetcher({ BLOCKED_CIDRS_IN_JWKS_URIS: '10.0.0.0/8' }, dial)
    expect(await reason(blocked.get('http://keys.default/jwks', 5000))).toContain('10.96.0.9 is in a range of BLOCKED')
  })

  it('through the proxy that the environment names, but for this machine and NO_PROXY', async () => {
    const asked: string[] = []
    const proxy = http.createServer((request, response) => {
      asked.push(request.url ?? '')
      response.end(KEYS)
    })
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
    ends.push(() => new Promise((resolve) => proxy.close(resolve)))
    const env = {
      HTTP_PROXY: `http://127.0.0.1:${(proxy.address() as net.AddressInfo).port}`,
      NO_PROXY: 'near.invalid',
    }
    const { url } = await server()
    expect(await fetcher(env).get('http://far.invalid/jwks', 5000)).toBe(KEYS)
    expect(await fetcher(env).get(`${url}/jwks`, 5000)).toBe(KEYS)
    expect(await reason(fetcher(env).get('http://near.invalid/jwks', 5000))).toContain('not known')
    expect(asked).toEqual(['http://far.invalid/jwks'])
  })

  it('up to ten megabytes, and over ten redirects', async () => {
    const large = http.createServer((request, response) => {
      const [, what, count] = (request.url ?? '').split('/')
      const left = Number(count)
      if (what === 'bytes') response.end(Buffer.alloc(left, 'a'))
      else if (left === 0) response.end(KEYS)
      else response.writeHead(302, { location: `/hops/${left - 1}` }).end()
    })
    await new Promise<void>((resolve) => large.listen(0, '127.0.0.1', resolve))
    ends.push(() => new Promise((resolve) => large.close(resolve)))
    const url = `http://127.0.0.1:${(large.address() as net.AddressInfo).port}`
    expect((await fetcher().get(`${url}/bytes/${10 << 20}`, 5000)).length).toBe(10 << 20)
    expect(await reason(fetcher().get(`${url}/bytes/${(10 << 20) + 1}`, 5000))).toBe('the answer has more than 10 MiB')
    expect(await fetcher().get(`${url}/hops/10`, 5000)).toBe(KEYS)
    expect(await reason(fetcher().get(`${url}/hops/11`, 5000))).toBe('more than 10 redirects')
  })

  it('never from link-local addresses, nor where BLOCKED_CIDRS_IN_JWKS_URIS forbids it', async () => {
    expect(await reason(fetcher().get('http://169.254.169.254/latest', 5000))).toContain('link-local')
    const { url, port, requests } = await server()
    const env = { BLOCKED_CIDRS_IN_JWKS_URIS: 'nonsense, 127.0.0.0/8,::1/128' }
    const blocked = '127.0.0.1 is in a range of BLOCKED_CIDRS_IN_JWKS_URIS'
    expect(await reason(fetcher(env).get(`${url}/jwks`, 5000))).toBe(blocked)
    expect(await reason(fetcher(env).get(`http://localhost:${port}/jwks`, 5000))).toContain('BLOCKED_CIDRS')
    expect(requests).toEqual([])
  })
})

describe('addresses that no keys come from', () => {
  it.each([
    ['169.254.1.1', true],
    ['fe80::1', true],
    ['100.100.100.200', true],
    ['fd00:ec2::254', true],
    ['10.0.0.1', false],
    ['127.0.0.1', false],
    ['::1', false],
  ])('%s: %s', (ip, blocked) => {
    expect(addressGuard('')(ip) !== undefined).toBe(blocked)
  })
})
