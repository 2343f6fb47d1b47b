import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { inspect } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Authority, openAuthority } from '../src/ca/authority.ts'
import { Ca, CaError, spiffeId } from '../src/ca/ca.ts'
import { caSettings } from '../src/ca/settings.ts'
import { MovableRuntime } from '../src/runtime-movable.ts'
import { createStore } from '../src/store/store.ts'
import { type OpensslCa, OpensslFolder } from './support/openssl.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const ID = spiffeId('cluster.local', 'default', 'reader')

let folder: OpensslFolder
let old: OpensslCa
let fresh: OpensslCa
let runtime: MovableRuntime
let log: string[]
let open: Authority | undefined

beforeAll(() => {
  folder = new OpensslFolder()
  old = folder.ca('/CN=Old')
  fresh = folder.ca('/CN=New')
})
afterAll(() => folder.remove())
beforeEach(() => {
  runtime = new MovableRuntime()
  log = []
})
afterEach(() => {
  open?.close()
  open = undefined
})

function authority(options: Partial<Parameters<typeof openAuthority>[0]>): Authority {
  const line = (text: string) => log.push(text)
  open = openAuthority({
    store: createStore(runtime),
    runtime,
    trustDomain: 'cluster.local',
    rootNamespace: 'istio-system',
    env: {},
    watch: false,
    warn: line,
    log: line,
    ...options,
  })
  return open
}

const names = (pem: string) =>
  pem
    .split(/(?<=-----END CERTIFICATE-----\n)/)
    .filter(Boolean)
    .map((one) => new X509Certificate(one).subject)
const outsider = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey
const bundleOf = (of: OpensslCa) => authority({ given: { cert: of.cert, key: of.key } }).ca.bundle
const lifetime = (pem: string) => Date.parse(new X509Certificate(pem).validTo) - runtime.wallNow()

describe('certificates that are signed for others', () => {
  it('leaf, intermediates and roots, as IstioCertificateService answers; for as long as was asked', () => {
    const middle = folder.ca('/CN=Middle', { issuer: old })
    const { ca } = authority({ given: { cert: middle.cert, key: middle.key, root: old.cert, chain: [middle.cert] } })
    const publicKey = outsider()
    const { certChain } = ca.sign({ publicKey, spiffeIds: [ID], ttlMs: HOUR })
    expect(certChain.map((pem) => new X509Certificate(pem).subject)).toEqual([undefined, 'CN=Middle', 'CN=Old'])
    const leaf = new X509Certificate(certChain[0]!)
    expect(leaf.subjectAltName).toBe(`URI:${ID}`)
    expect(leaf.publicKey.equals(publicKey)).toBe(true)
    expect(Math.abs(lifetime(certChain[0]!) - HOUR)).toBeLessThan(2000)
    folder.verify(certChain.join(''), ca.rootPem)
  })

  it('DEFAULT_WORKLOAD_CERT_TTL when nothing is asked, and no more than MAX_WORKLOAD_CERT_TTL', () => {
    const { ca } = authority({ env: { DEFAULT_WORKLOAD_CERT_TTL: '2h', MAX_WORKLOAD_CERT_TTL: '36h' } })
    const sign = (ttlMs?: number) => ca.sign({ publicKey: outsider(), spiffeIds: [ID], ttlMs }).certChain[0]!
    expect(Math.abs(lifetime(sign()) - 2 * HOUR)).toBeLessThan(2000)
    expect(Math.abs(lifetime(sign(-1)) - 2 * HOUR)).toBeLessThan(2000)
    expect(Math.abs(lifetime(sign(36 * HOUR)) - 36 * HOUR)).toBeLessThan(2000)
    expect(() => sign(37 * HOUR)).toThrow('requested TTL 37h0m0s is greater than the max allowed TTL 36h0m0s')
    expect(() => ca.sign({ publicKey: outsider(), spiffeIds: [] })).toThrow(CaError)
  })

  it('none outlives the signer, and an expired one signs no more', async () => {
    const notAfter = new Date(runtime.wallNow() + 5 * HOUR)
    const stamp = `${notAfter.toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`
    const brief = folder.ca('/CN=Brief', { notAfter: stamp })
    const { ca } = authority({ given: { cert: brief.cert, key: brief.key } })
    const end = Math.floor(notAfter.getTime() / 1000) * 1000
    expect(ca.identityFor(ID).notAfter).toBe(end)
    expect(
      Date.parse(new X509Certificate(ca.sign({ publicKey: outsider(), spiffeIds: [ID] }).certChain[0]!).validTo),
    ).toBe(end)
    await runtime.advance(6 * HOUR)
    expect(() => ca.identityFor(ID)).toThrow(/^the CA certificate CN=Brief expired on /)
    expect(() => ca.sign({ publicKey: outsider(), spiffeIds: [ID] })).toThrow(CaError)
  })
})

describe('the lifetimes that istio-agent asks for', () => {
  it('SECRET_TTL, renewed when SECRET_GRACE_PERIOD_RATIO of it is left, give or take the jitter', () => {
    const renewals = new Set<number>()
    const settings = caSettings({
      SECRET_TTL: '10h',
      SECRET_GRACE_PERIOD_RATIO: '0.2',
      SECRET_GRACE_PERIOD_RATIO_JITTER: '0.1',
    })
    const ca = new Ca({ runtime, settings })
    for (let i = 0; i < 30; i++) {
      const { notAfter, renewAt } = ca.identityFor(`${ID}${i}`)
      expect(Math.abs(notAfter - runtime.wallNow() - 10 * HOUR)).toBeLessThan(3000)
      const left = (notAfter - renewAt) / (10 * HOUR)
      expect(left).toBeGreaterThan(0.0999)
      expect(left).toBeLessThan(0.3001)
      renewals.add(renewAt)
    }
    expect(renewals.size).toBeGreaterThan(20)
  })

  it('RSA keys, or P-384, when they are asked for', () => {
    const keyOf = (env: Record<string, string>) =>
      new X509Certificate(new Ca({ runtime, settings: caSettings(env) }).identityFor(ID).certChainPem).publicKey
    expect(keyOf({}).asymmetricKeyDetails).toMatchObject({ namedCurve: 'prime256v1' })
    expect(keyOf({ WORKLOAD_RSA_KEY_SIZE: '2048' }).asymmetricKeyDetails).toMatchObject({ modulusLength: 2048 })
    expect(keyOf({ ECC_SIGNATURE_ALGORITHM: 'ECDSA', ECC_CURVE: 'P384' }).asymmetricKeyDetails).toMatchObject({
      namedCurve: 'secp384r1',
    })
    const root = new Ca({ runtime, settings: caSettings({ CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE: '2048' }) })
    expect(new X509Certificate(root.rootPem).publicKey.asymmetricKeyType).toBe('rsa')
    folder.verify(root.identityFor(ID).certChainPem, root.rootPem)
  })
})

describe('a change to a CA of another root', () => {
  it('waits until everyone has the new roots before it signs, and with the certificates before it drops the old', async () => {
    const next = bundleOf(fresh)
    const { ca } = authority({ given: { cert: old.cert, key: old.key } })
    const events: string[] = []
    let answer: () => void = () => {}
    ca.onRootChange(() => events.push(`roots ${names(ca.rootPem)}`))
    ca.onIdentityChange(() => events.push('identities'))
    ca.onDelivery(
      () =>
        new Promise<void>((resolve) => {
          events.push('asked')
          answer = resolve
        }),
    )
    const first = ca.identityFor(ID)
    const done = ca.adopt(next)
    await runtime.advance(25_000)
    expect(events).toEqual(['roots CN=New,CN=Old', 'asked'])
    expect(ca.identityFor(ID)).toBe(first)
    answer()
    await runtime.advance(11_000)
    expect(ca.identityFor(ID)).toBe(first)
    await runtime.advance(1001)
    expect(events.slice(2)).toEqual(['identities', 'asked'])
    const second = ca.identityFor(ID)
    folder.verify(second.certChainPem, fresh.pem)
    expect(names(second.rootPem)).toEqual(['CN=New', 'CN=Old'])
    await runtime.advance(20_000)
    expect(names(ca.rootPem)).toHaveLength(2)
    answer()
    await runtime.advance(12_001)
    await done
    expect(events.slice(4)).toEqual(['roots CN=New'])
  })

  it('does not wait for ever for one that does not answer', async () => {
    const next = bundleOf(fresh)
    const { ca } = authority({ given: { cert: old.cert, key: old.key } })
    ca.onDelivery(() => new Promise(() => {}))
    ca.adopt(next)
    await runtime.advance(90_000)
    expect(names(ca.rootPem)).toEqual(['CN=New'])
    expect(log).toContain('CA: some proxies have not answered; going on without them')
  })

  it('waits for the renewals of proxies outside, and trusts the old root until their last certificate runs out', async () => {
    const next = bundleOf(fresh)
    const { ca } = authority({ given: { cert: old.cert, key: old.key } })
    const start = runtime.wallNow()
    ca.sign({ publicKey: outsider(), spiffeIds: [ID], ttlMs: DAY })
    ca.adopt(next)
    await runtime.advance(12 * HOUR)
    expect(names(ca.identityFor(ID).certChainPem)).toContain('CN=Old')
    expect(ca.bundle.subject).toBe('CN=Old')
    // It has renewed now, from the old CA, and knows both roots.
    ca.sign({ publicKey: outsider(), spiffeIds: [ID], ttlMs: DAY })
    await runtime.advance(1.3 * HOUR)
    expect(ca.bundle.subject).toBe('CN=New')
    await runtime.advance(20 * HOUR)
    expect(names(ca.rootPem)).toEqual(['CN=New', 'CN=Old'])
    await runtime.advance(3 * HOUR)
    expect(runtime.wallNow() - start).toBeGreaterThan(36 * HOUR)
    expect(names(ca.rootPem)).toEqual(['CN=New'])
  })

  it('that is replaced before it is through ends with the last one', async () => {
    const third = folder.ca('/CN=Third')
    const [second, last] = [bundleOf(fresh), bundleOf(third)]
    const { ca } = authority({ given: { cert: old.cert, key: old.key } })
    ca.adopt(second)
    await runtime.advance(5000)
    ca.adopt(last)
    await runtime.advance(40_000)
    expect(names(ca.rootPem)).toEqual(['CN=Third'])
    expect(ca.bundle.subject).toBe('CN=Third')
  })
})

describe('the root that signs itself', () => {
  it('is renewed with its key when the last fifth of its life begins, kept, and old certificates go on', async () => {
    const dataDir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-ca-'))
    try {
      const env = { CITADEL_SELF_SIGNED_CA_CERT_TTL: '1000h', CITADEL_ENABLE_JITTER_FOR_ROOT_CERT_ROTATOR: 'false' }
      const { ca } = authority({ dataDir, env })
      const first = ca.rootPem
      await runtime.advance(799 * HOUR)
      expect(ca.rootPem).toBe(first)
      const leaf = ca.identityFor(ID)
      await runtime.advance(2 * HOUR)
      expect(ca.rootPem).not.toBe(first)
      expect(names(ca.rootPem)).toEqual(['O=cluster.local'])
      expect(new X509Certificate(ca.rootPem).publicKey.equals(new X509Certificate(first).publicKey)).toBe(true)
      expect(fs.readFileSync(path.join(dataDir, 'ca-cert.pem'), 'utf8')).toBe(ca.rootPem)
      expect(fs.readdirSync(dataDir).sort()).toEqual(['ca-cert.pem', 'ca-key.pem'])
      for (const name of fs.readdirSync(dataDir)) expect(fs.statSync(path.join(dataDir, name)).mode & 0o777).toBe(0o600)
      expect(new X509Certificate(leaf.certChainPem).verify(new X509Certificate(ca.rootPem).publicKey)).toBe(true)
      expect(lifetime(ca.rootPem)).toBeGreaterThan(990 * HOUR)
    } finally {
      fs.rmSync(dataDir, { recursive: true })
    }
  })

  it('stays when the check is switched off', async () => {
    const env = { CITADEL_SELF_SIGNED_CA_CERT_TTL: '100h', CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL: '0s' }
    const { ca } = authority({ env })
    const first = ca.rootPem
    await runtime.advance(99 * HOUR)
    expect(ca.rootPem).toBe(first)
  })

  it('leaves alone the CA that takes its place: that is for its owner to renew', async () => {
    const env = {
      CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE: '100',
      CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL: '1m',
      CITADEL_ENABLE_JITTER_FOR_ROOT_CERT_ROTATOR: 'false',
    }
    const { ca } = authority({ env })
    const given = authority({ given: { cert: old.cert, key: old.key } }).ca.bundle
    const adopted = ca.adopt(given)
    await runtime.advance(30_000)
    await adopted
    await runtime.advance(150_000)
    expect(ca.bundle.certPem).toBe(given.certPem)
    expect(log.filter((line) => line.includes('about to expire'))).toEqual([])
  })

  it('is kept in a folder of its own that only its owner may enter', () => {
    const parent = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-ca-'))
    const dataDir = path.join(parent, 'deep', 'data')
    try {
      const first = authority({ dataDir }).ca
      expect(fs.statSync(dataDir).mode & 0o777).toBe(0o700)
      const again = authority({ dataDir }).ca
      expect(again.rootPem).toBe(first.rootPem)
      fs.writeFileSync(path.join(dataDir, 'ca-key.pem'), fs.readFileSync(old.key))
      expect(() => authority({ dataDir })).toThrow(
        `${dataDir}/ca-key.pem: is not the key of the certificate in ${dataDir}/ca-cert.pem`,
      )
    } finally {
      fs.rmSync(parent, { recursive: true })
    }
  })
})

it('no key shows when a CA or an identity is printed', () => {
  const { ca } = authority({ given: { cert: old.cert, key: old.key } })
  const identity = ca.identityFor(ID)
  const bodies = [identity.privateKeyPem, fs.readFileSync(old.key, 'utf8')].map((pem) => pem.split('\n')[1]!)
  for (const object of [ca, identity, ca.bundle, { identity }])
    for (const text of [inspect(object, { depth: 20, showHidden: true, getters: false }), JSON.stringify(object)])
      for (const body of bodies) expect(text).not.toContain(body)
})
