import 'reflect-metadata'
import {
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  webcrypto,
  X509Certificate,
} from 'node:crypto'
import tls from 'node:tls'
import * as x509 from '@peculiar/x509'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Ca } from '../src/ca/ca.ts'
import { bits, explicit, integer, oid, sequence } from '../src/ca/der.ts'
import { pem } from '../src/ca/pem.ts'
import { authenticator } from '../src/pilot/ca-service/authenticate.ts'
import { SigningKey } from '../src/pilot/ca-service/signing-key.ts'
import { issueToken, readToken } from '../src/pilot/ca-service/token.ts'
import type { Runtime } from '../src/runtime.ts'
import { SystemRuntime } from '../src/runtime-system.ts'
import {
  type CertificateAnswer,
  type CertificateCall,
  createCertificate,
  type Pair,
  shifted,
  startPlane,
  type TestPlane,
} from './support/control-plane.ts'

const DAY = 86_400_000
const HTTPBIN = 'spiffe://cluster.local/ns/default/sa/httpbin'
const UNAUTHENTICATED = { code: 16, details: 'request authenticate failure', chain: [] }

const account = (name: string, more = '') => `
apiVersion: v1
kind: ServiceAccount
metadata: {name: ${name}${more}}
---`

let plane: TestPlane
let csr: Csr
beforeAll(async () => {
  x509.cryptoProvider.set(webcrypto as never)
  plane = await startPlane(`${account('httpbin')}${account('other')}`)
  csr = await signingRequest()
})
afterAll(() => plane.close())

interface Csr {
  readonly pem: string
  readonly key: KeyObject
}

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const rsa = (modulusLength: number) => ({
  name: 'RSASSA-PKCS1-v1_5',
  modulusLength,
  publicExponent: new Uint8Array([1, 0, 1]),
  hash: 'SHA-256',
})

async function signingRequest(algorithm: object = EC, sans: string[] = []): Promise<Csr> {
  const keys = (await webcrypto.subtle.generateKey(algorithm as typeof EC, true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    keys: keys as never,
    signingAlgorithm: algorithm as never,
    extensions: sans.map((value) => new x509.SubjectAlternativeNameExtension([{ type: 'url', value }])),
  })
  return { pem: request.toString('pem'), key: await publicOf(keys) }
}

async function publicOf({ publicKey }: webcrypto.CryptoKeyPair): Promise<KeyObject> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('spki', publicKey))
  return createPublicKey({ key: der, format: 'der', type: 'spki' })
}

const roots = () => plane.plane.ca.rootPem
const token = (name = 'httpbin', audiences = ['istio-ca']) =>
  plane.plane.accounts.issue({ namespace: 'default', name, audiences })
const ask = (call: Partial<CertificateCall>): Promise<CertificateAnswer> =>
  createCertificate(plane.address('tlsAddress'), { csr: csr.pem, roots: roots(), ...call })

/** A certificate for an identity, of some CA. */
function pairOf(ca: Ca, spiffeId: string, ttlMs = DAY): Pair {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { certChain } = ca.sign({ publicKey, spiffeIds: [spiffeId], ttlMs })
  return { cert: certChain[0]!, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string }
}

describe('with the token of its service account a proxy gets a certificate', () => {
  test('of its identity and key, with the chain up to the root', async () => {
    const { chain, code, details } = await ask({ token: token() })
    expect([code, details]).toEqual([0, ''])
    expect(chain).toHaveLength(2)
    const [leaf, root] = chain.map((pem) => new X509Certificate(pem))
    expect(leaf!.subjectAltName).toBe(`URI:${HTTPBIN}`)
    expect(leaf!.publicKey.equals(csr.key)).toBe(true)
    expect(leaf!.verify(root!.publicKey)).toBe(true)
    expect(chain[1]).toBe(roots())
    const hours = (Date.parse(leaf!.validTo) - Date.now()) / 3_600_000
    expect(hours).toBeGreaterThan(23.9)
    expect(hours).toBeLessThan(24.1)
  })

  test('for as long as it asks, up to what the CA allows', async () => {
    const { chain } = await ask({ token: token(), validity: 3600n })
    const hours = (Date.parse(new X509Certificate(chain[0]!).validTo) - Date.now()) / 3_600_000
    expect(hours).toBeCloseTo(1, 1)
    expect(await ask({ token: token(), validity: 2n ** 40n })).toMatchObject({
      code: 3,
      details: expect.stringMatching(
        /^CSR signing error \(requested TTL .* is greater than the max allowed TTL 2160h0m0s\)$/,
      ),
    })
  })

  test.each([
    ['P-384', { ...EC, namedCurve: 'P-384', hash: 'SHA-384' }],
    ['RSA 2048', rsa(2048)],
  ])('for a key of %s', async (_, algorithm) => {
    const other = await signingRequest(algorithm)
    const { chain } = await ask({ csr: other.pem, token: token() })
    expect(new X509Certificate(chain[0]!).publicKey.equals(other.key)).toBe(true)
  })

  test('and not of the identity that its request names', async () => {
    const { pem } = await signingRequest(EC, ['spiffe://cluster.local/ns/default/sa/other'])
    const { chain } = await ask({ csr: pem, token: token() })
    expect(new X509Certificate(chain[0]!).subjectAltName).toBe(`URI:${HTTPBIN}`)
  })
})

test('a certificate that is still good gets the next one, without a token', async () => {
  const { chain } = await ask({ client: pairOf(plane.plane.ca, HTTPBIN) })
  expect(new X509Certificate(chain[0]!).subjectAltName).toBe(`URI:${HTTPBIN}`)
})

describe('a signing request is refused', () => {
  test.each([
    ['that is none', () => 'hello', 'certificate signing request is not properly encoded'],
    [
      'whose content is none',
      () =>
        `-----BEGIN CERTIFICATE REQUEST-----\n${Buffer.alloc(99).toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`,
      'failed to parse X.509 certificate signing request',
    ],
    [
      'that another key has signed',
      async () => {
        const [mine, theirs] = [await signingRequest(), await signingRequest()]
        const [a, b] = [mine, theirs].map(({ pem }) => Buffer.from(pem.replace(/-----.*-----|\s/g, ''), 'base64'))
        const at = a!.indexOf(mine.key.export({ type: 'spki', format: 'der' }))
        theirs.key.export({ type: 'spki', format: 'der' }).copy(a!, at)
        expect(b).toBeDefined()
        return `-----BEGIN CERTIFICATE REQUEST-----\n${a!.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`
      },
      'x509: the signature of the certificate signing request is wrong',
    ],
    [
      'with a small RSA key',
      async () => (await signingRequest(rsa(1024))).pem,
      'requested key size does not meet the minimum required size of 2048 (requested: 1024)',
    ],
    [
      'with an RSA key so large that a handshake with it is an attack',
      () => {
        const n = Buffer.alloc(2056, 0xff).toString('base64url')
        const huge = createPublicKey({ key: { kty: 'RSA', n, e: 'AQAB' }, format: 'jwk' })
        const info = sequence(
          integer(Buffer.of(0)),
          sequence(),
          huge.export({ type: 'spki', format: 'der' }),
          explicit(0),
        )
        const der = sequence(info, sequence(oid('1.2.840.113549.1.1.11')), bits(Buffer.alloc(2056)))
        return pem('CERTIFICATE REQUEST', der)
      },
      'requested key size 16448 is above 16384',
    ],
    [
      'of enormous length',
      () => `${'x'.repeat(65_536)}\n${csr.pem}`,
      'certificate signing request is not properly encoded',
    ],
    [
      'with a key of another kind',
      async () => (await signingRequest({ ...EC, namedCurve: 'P-521', hash: 'SHA-512' })).pem,
      'keys of the kind secp521r1 are not signed for: RSA, P-256 and P-384 are',
    ],
  ])('%s', async (_, make, words) => {
    const answer = await ask({ csr: await make(), token: token() })
    expect(answer).toEqual({ chain: [], code: 3, details: `CSR signing error (${words})` })
  })
})

/** A token like ours, with changes, signed by some way. */
function forged(
  change: (parts: { head: Record<string, unknown>; body: Record<string, unknown> }) => void,
  sign: (data: string) => Buffer = () => Buffer.alloc(64),
): string {
  const [head, body] = token()
    .split('.')
    .slice(0, 2)
    .map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>)
  const parts = { head: head!, body: body! }
  change(parts)
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const data = `${encode(parts.head)}.${encode(parts.body)}`
  return `${data}.${sign(data).toString('base64url')}`
}

const key = () => SigningKey.kept(plane.dataDir, false)
/** A token like ours, with changes, and our signature. */
const signed = (change: Parameters<typeof forged>[0]): string => forged(change, (data) => key().sign(data))
const request = { namespace: 'default', name: 'httpbin', audiences: ['istio-ca'] }

describe('nobody is known by', () => {
  test.each<[string, () => Partial<CertificateCall>]>([
    ['nothing', () => ({})],
    ['a token for another audience', () => ({ token: token('httpbin', []) })],
    ['a token that has expired', () => ({ token: issueToken(request, key(), shifted(-2 * 3_600_000)) })],
    ['a token that expired half a minute ago', () => ({ token: issueToken(request, key(), shifted(-3_630_000)) })],
    ['a token without an end', () => ({ token: signed(({ body }) => delete body.exp) })],
    ['a token without a beginning', () => ({ token: signed(({ body }) => delete body.nbf) })],
    [
      'a token that names another algorithm',
      () => ({ token: signed(({ head }) => Object.assign(head, { alg: 'ES384' })) }),
    ],
    ['a token that names another key', () => ({ token: signed(({ head }) => Object.assign(head, { kid: 'other' })) })],
    [
      'a token with something critical that nobody here understands',
      () => ({ token: signed(({ head }) => Object.assign(head, { crit: ['exp'] })) }),
    ],
    [
      'a token of an account with another uid',
      () => ({
        token: signed(({ body }) => {
          body['kubernetes.io'] = { namespace: 'default', serviceaccount: { name: 'httpbin', uid: 'x' } }
        }),
      }),
    ],
    [
      'a token of the default account of a namespace that there is not',
      () => ({ token: issueToken({ ...request, namespace: 'nowhere', name: 'default' }, key(), new SystemRuntime()) }),
    ],
    ['a token that is not good yet', () => ({ token: issueToken(request, key(), shifted(3_600_000)) })],
    [
      'a token that another key has signed',
      () => ({ token: issueToken(request, SigningKey.make(), new SystemRuntime()) }),
    ],
    [
      'a token with alg none',
      () => ({
        token: forged(
          ({ head }) => Object.assign(head, { alg: 'none' }),
          () => Buffer.alloc(0),
        ),
      }),
    ],
    [
      'a token with alg none and something for a signature',
      () => ({ token: forged(({ head }) => Object.assign(head, { alg: 'none' })) }),
    ],
    [
      'a token whose signature takes the public key for a secret',
      () => ({
        token: forged(
          ({ head }) => Object.assign(head, { alg: 'HS256' }),
          (data) => createHmac('sha256', plane.plane.ca.rootPem).update(data).digest(),
        ),
      }),
    ],
    [
      'a token whose subject was changed',
      () => {
        const [, , signature] = token().split('.')
        return {
          token: forged(
            ({ body }) => Object.assign(body, { sub: 'system:serviceaccount:default:other' }),
            () => Buffer.from(signature!, 'base64url'),
          ),
        }
      },
    ],
    [
      'a token of another issuer',
      () => ({
        token: forged(
          ({ body }) => Object.assign(body, { iss: 'https://else' }),
          (data) => key().sign(data),
        ),
      }),
    ],
    [
      'a token whose names do not agree',
      () => ({
        token: forged(
          ({ body }) => Object.assign(body, { sub: 'system:serviceaccount:default:other' }),
          (data) => key().sign(data),
        ),
      }),
    ],
    [
      'a token of an account that there is not',
      () => ({ token: issueToken({ ...request, name: 'gone' }, key(), new SystemRuntime()) }),
    ],
    ['a token without its signature', () => ({ token: token().split('.').slice(0, 2).join('.') })],
    ['a token of enormous length', () => ({ token: `${token()}${'A'.repeat(6000)}` })],
    ['a password', () => ({ authorization: `Basic ${Buffer.from('httpbin:x').toString('base64')}` })],
    [
      'a certificate of another trust domain',
      () => ({ client: pairOf(plane.plane.ca, 'spiffe://elsewhere/ns/default/sa/httpbin') }),
    ],
    [
      'a certificate of two identities',
      () => {
        const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
        const { certChain } = plane.plane.ca.sign({
          publicKey,
          spiffeIds: [HTTPBIN, HTTPBIN.replace('httpbin', 'other')],
        })
        return { client: { cert: certChain[0]!, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string } }
      },
    ],
    ['a certificate of more than an identity', () => ({ client: pairOf(plane.plane.ca, `${HTTPBIN}/more`) })],
    [
      'a certificate of an account that there is not',
      () => ({ client: pairOf(plane.plane.ca, 'spiffe://cluster.local/ns/default/sa/gone') }),
    ],
    [
      "the control plane's own certificate",
      () => {
        const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
        const { certChainPem } = plane.plane.ca.signServer(publicKey, {
          dnsNames: ['istiod.istio-system.svc'],
          ips: [],
        })
        return { client: { cert: certChainPem, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string } }
      },
    ],
  ])('%s', async (_, call) => {
    expect(await ask(call())).toEqual(UNAUTHENTICATED)
  })

  test.each<[string, () => Pair]>([
    ['another CA', () => pairOf(new Ca({ runtime: new SystemRuntime() }), HTTPBIN)],
    ['the day before yesterday', () => pairOf(new Ca({ runtime: shifted(-2 * DAY), dataDir: plane.dataDir }), HTTPBIN)],
  ])('a certificate of %s: the connection is ended, whatever the token', async (_, pair) => {
    const answer = await ask({ client: pair(), token: token() })
    expect(answer).toMatchObject({ chain: [], code: 14 })
  })

  test.each([
    ['after its end', 2 * DAY],
    ['before its beginning', -3_600_000],
  ])('a certificate %s, by the clock of the control plane', (_, ms) => {
    const at = (runtime: Runtime) =>
      authenticator({
        accounts: plane.plane.accounts,
        runtime,
        trustDomain: () => 'cluster.local',
        audiences: ['istio-ca'],
      })
    const certificate = new X509Certificate(pairOf(plane.plane.ca, HTTPBIN).cert).raw
    const peer = { address: '127.0.0.1:1', authorization: [], certificate }
    expect(at(shifted(0))(peer)).toEqual([HTTPBIN])
    expect(at(shifted(ms))(peer)).toBeUndefined()
  })

  test('a token of more than 16 KiB, whoever signed it', () => {
    const [small, large] = [3, 17_000].map((length) =>
      signed(({ body }) => Object.assign(body, { x: 'x'.repeat(length) })),
    )
    const read = (text: string) => readToken(text, key(), ['istio-ca'], Date.now())
    expect(read(small!)).toMatchObject({ name: 'httpbin' })
    expect(() => read(large!)).toThrow('it is no signed JWT')
  })

  test('a token that is older than an account which was there from the start is good', async () => {
    const old = issueToken(request, key(), shifted(-3_000_000))
    expect((await ask({ token: old })).code).toBe(0)
  })

  test('a token that is older than its account, which was deleted and made again', async () => {
    const objects = `${account('httpbin')}${account('other')}`
    const old = issueToken({ ...request, name: 'fleeting' }, key(), shifted(-2000))
    await plane.apply(`${objects}${account('fleeting')}`)
    expect(await ask({ token: old })).toEqual(UNAUTHENTICATED)
    const fresh = issueToken({ ...request, name: 'fleeting' }, key(), shifted(0))
    expect((await ask({ token: fresh })).code).toBe(0)
    await plane.apply(objects)
    expect(await ask({ token: fresh })).toEqual(UNAUTHENTICATED)
  })
})

test('nobody gets a certificate on behalf of another', async () => {
  const metadata = { ImpersonatedIdentity: 'spiffe://cluster.local/ns/default/sa/other' }
  expect(await ask({ token: token(), metadata })).toEqual({
    ...UNAUTHENTICATED,
    details: 'request impersonation authentication failure',
  })
})

test('over plaintext there is no such service, so that no token is read there', async () => {
  const answer = await createCertificate(plane.address('grpcAddress'), {
    csr: csr.pem,
    roots: undefined,
    token: token(),
  })
  expect(answer).toMatchObject({ chain: [], code: 12 })
})

test('what was refused is logged with the reason, and without the token', async () => {
  const bad = issueToken(request, key(), shifted(-2 * 3_600_000))
  plane.log.length = 0
  await ask({ token: bad })
  const line = plane.log.find((text) => text.startsWith('Failed to authenticate'))
  expect(line).toMatch(
    /^Failed to authenticate client from 127\.0\.0\.1:\d+: Authenticator ClientCertAuthenticator: no client certificate is presented; Authenticator KubeJWTAuthenticator: it has expired$/,
  )
  expect(plane.log.join('\n')).not.toContain(bad.slice(0, 20))
})

describe('the TLS port', () => {
  const hello = (options: tls.ConnectionOptions) =>
    new Promise<tls.TLSSocket>((resolve, reject) => {
      const socket = tls.connect(
        { host: '127.0.0.1', port: plane.port('tlsAddress'), ca: roots(), ALPNProtocols: ['h2'], ...options },
        () => resolve(socket),
      )
      socket.on('error', reject)
    })

  test('shows a certificate for all names of istiod', async () => {
    for (const servername of ['istiod.istio-system.svc', 'istiod.istio-system', 'localhost']) {
      const socket = await hello({ servername })
      expect(socket.authorized).toBe(true)
      socket.destroy()
    }
    const socket = await hello({ servername: 'localhost' })
    expect(socket.getPeerCertificate().subjectaltname).toContain('IP Address:127.0.0.1')
    socket.destroy()
  })

  test('makes it anew when the CA does, and connections go on', async () => {
    const before = await hello({ servername: 'localhost' })
    plane.plane.ca.rotate()
    const after = await hello({ servername: 'localhost' })
    expect(after.authorized).toBe(true)
    expect(after.getPeerCertificate().serialNumber).not.toBe(before.getPeerCertificate().serialNumber)
    expect(before.destroyed).toBe(false)
    for (const socket of [before, after]) socket.destroy()
  })

  test('speaks TLS 1.2 at least', async () => {
    await expect(hello({ servername: 'localhost', maxVersion: 'TLSv1.1', minVersion: 'TLSv1' })).rejects.toThrow()
    const socket = await hello({ servername: 'localhost', maxVersion: 'TLSv1.2' })
    expect(socket.getProtocol()).toBe('TLSv1.2')
    socket.destroy()
  })
})
