import { X509Certificate } from 'node:crypto'
import fs from 'node:fs'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openAuthority } from '../src/ca/authority.ts'
import { type Ca, CaConfigError, spiffeId } from '../src/ca/ca.ts'
import { SystemRuntime } from '../src/runtime-system.ts'
import { createStore } from '../src/store/store.ts'
import { type OpensslCa, OpensslFolder, openssl } from './support/openssl.ts'

const ID = spiffeId('cluster.local', 'default', 'reader')

let folder: OpensslFolder
let root: OpensslCa
let middle: OpensslCa
let low: OpensslCa
let warnings: string[]

beforeAll(() => {
  folder = new OpensslFolder()
  root = folder.ca('/O=Acme/CN=Root')
  middle = folder.ca('/O=Acme/L=cluster 1/OU=Mesh/CN=Middle', { issuer: root, rsa: true })
  low = folder.ca('/O=Acme/CN=Low', { issuer: middle, curve: 'secp384r1' })
})
afterAll(() => folder.remove())
beforeEach(() => {
  warnings = []
})

function open(given: Parameters<typeof openAuthority>[0]['given'], env: Record<string, string> = {}): Ca {
  const runtime = new SystemRuntime()
  const authority = openAuthority({
    store: createStore(runtime),
    runtime,
    given,
    trustDomain: 'cluster.local',
    rootNamespace: 'istio-system',
    env,
    watch: false,
    warn: (line) => warnings.push(line),
    log: () => {},
  })
  authority.close()
  return authority.ca
}

const refused = (given: Parameters<typeof open>[0]): string => {
  try {
    open(given)
  } catch (error) {
    expect(error).toBeInstanceOf(CaConfigError)
    return (error as Error).message
  }
  throw new Error('taken')
}

/** The certificates of a chain by their subjects. */
const subjects = (pem: string): string[] =>
  pem
    .split(/(?<=-----END CERTIFICATE-----\n)/)
    .filter(Boolean)
    .map((one) => new X509Certificate(one).subject ?? '')

describe('a CA in the layout of Istio’s cacerts', () => {
  it('a root of its own, with an EC key', () => {
    const ca = open({ dir: folder.cacerts('root', root, [root], [root]) })
    const { certChainPem } = ca.identityFor(ID)
    folder.verify(certChainPem, ca.rootPem)
    expect(subjects(certChainPem)).toEqual(['', 'O=Acme\nCN=Root'])
  })

  it('an intermediate with an RSA key: leaf, intermediate, root', () => {
    const ca = open({ dir: folder.cacerts('middle', middle, [middle, root], [root]) })
    const { certChainPem } = ca.identityFor(ID)
    folder.verify(certChainPem, ca.rootPem)
    expect(subjects(certChainPem)).toEqual(['', 'O=Acme\nOU=Mesh\nL=cluster 1\nCN=Middle', 'O=Acme\nCN=Root'])
    const leaf = new X509Certificate(certChainPem)
    expect(leaf.issuer).toBe('O=Acme\nOU=Mesh\nL=cluster 1\nCN=Middle')
    expect(warnings).toEqual([])
  })

  it('two intermediates, whose chain file is in the wrong order, are put in order, with a warning', () => {
    const dir = folder.cacerts('low', low, [root, middle, low], [root])
    const ca = open({ dir })
    const { certChainPem } = ca.identityFor(ID)
    folder.verify(certChainPem, ca.rootPem)
    expect(subjects(certChainPem).map((name) => /CN=(.*)/.exec(name)?.[1])).toEqual([
      undefined,
      'Low',
      'Middle',
      'Root',
    ])
    expect(warnings).toEqual([expect.stringContaining(`${dir}/cert-chain.pem: is not the chain`)])
  })

  it('the layout of Secrets of type kubernetes.io/tls', () => {
    const dir = folder.at('tls')
    folder.write('tls/tls.crt', middle.pem)
    folder.write('tls/tls.key', fs.readFileSync(middle.key, 'utf8'))
    folder.write('tls/ca.crt', root.pem)
    const ca = open({ dir })
    folder.verify(ca.identityFor(ID).certChainPem, ca.rootPem)
  })

  it('ROOT_CA_DIR names the folder when no option does', () => {
    const ca = open(undefined, { ROOT_CA_DIR: folder.cacerts('by-env', middle, [middle], [root]) })
    expect(ca.bundle.subject).toBe('O=Acme, OU=Mesh, L=cluster 1, CN=Middle')
  })

  it('roots beyond the one that vouches are trusted too, and one that has expired is told of', () => {
    const other = folder.ca('/CN=Other')
    const gone = folder.ca('/CN=Gone', { notBefore: '20200101000000Z', notAfter: '20210101000000Z' })
    const dir = folder.cacerts('roots', middle, [middle], [other, root, gone])
    const ca = open({ dir })
    expect(subjects(ca.rootPem)).toEqual(['CN=Other', 'O=Acme\nCN=Root', 'CN=Gone'])
    expect(ca.bundle.anchors.map((pem) => new X509Certificate(pem).subject)).toEqual(['O=Acme\nCN=Root'])
    expect(warnings).toEqual([`${dir}/root-cert.pem: the root CN=Gone expired on Jan  1 00:00:00 2021 GMT`])
  })
})

describe('revocation lists', () => {
  it('go out with the roots; one CA of the chain without a list is refused', () => {
    const dir = folder.cacerts('crl', middle, [middle], [root])
    const lists = folder.crl(root) + folder.crl(middle)
    folder.write('crl/ca-crl.pem', lists)
    expect(open({ dir }).crlPem).toBe(lists)
    folder.write('crl/ca-crl.pem', folder.crl(middle))
    expect(refused({ dir })).toBe(
      `${dir}/ca-crl.pem: has no list of O=Acme, CN=Root; peers that are given one list want one of each CA of the chain`,
    )
    folder.write('crl/ca-crl.pem', root.pem)
    expect(refused({ dir })).toBe(`${dir}/ca-crl.pem: holds no revocation list in PEM`)
  })
})

describe('a CA named file by file', () => {
  it('a root that signs itself needs nothing more', () => {
    const ca = open({ cert: root.cert, key: root.key })
    expect(ca.rootPem).toBe(root.pem)
    folder.verify(ca.identityFor(ID).certChainPem, root.pem)
  })

  it('keys in the forms that openssl writes', () => {
    for (const [name, command] of [
      ['sec1', ['ec', '-in', root.key]],
      ['pkcs1', ['rsa', '-traditional', '-in', middle.key]],
    ] as const) {
      const key = folder.write(`${name}.key`, openssl(command))
      const of = name === 'sec1' ? root : middle
      const ca = open({ cert: of.cert, key, root: root.cert, chain: [of.cert] })
      folder.verify(ca.identityFor(ID).certChainPem, ca.rootPem)
    }
  })

  it('a curve decides the hash, as in Go', () => {
    const ca = open({ cert: low.cert, key: low.key, chain: [low.cert, middle.cert], root: root.cert })
    const text = openssl(['x509', '-noout', '-text', '-in', folder.write('leaf.pem', ca.identityFor(ID).certChainPem)])
    expect(text).toContain('Signature Algorithm: ecdsa-with-SHA384')
    expect(warnings).toEqual([expect.stringContaining('is not the chain')].slice(1))
  })

  it('a key that everyone may read is told of', () => {
    const key = folder.write('open.key', fs.readFileSync(root.key, 'utf8'), 0o644)
    open({ cert: root.cert, key })
    expect(warnings).toEqual([
      `${key}: everyone on this machine may read this private key; chmod 600 would keep it private`,
    ])
  })
})

describe('a CA that cannot be used is refused in one message with its file', () => {
  const at = (name: string) => folder.at(name)

  it('files that are not there, or cannot be read as what they are', () => {
    expect(refused({ cert: at('none.pem'), key: root.key })).toBe(`${at('none.pem')}: there is no such file`)
    expect(refused({ cert: root.cert, key: at('none.key') })).toBe(`${at('none.key')}: there is no such file`)
    expect(refused({ cert: root.cert, key: root.key, root: at('none') })).toBe(`${at('none')}: there is no such file`)
    expect(refused({ dir: at('nowhere') })).toMatch(/nowhere: is not a folder/)
    fs.mkdirSync(at('empty'))
    expect(refused({ dir: at('empty') })).toMatch(/empty\/ca-key.pem: there is no such file/)
    expect(refused({ cert: root.key, key: root.key })).toBe(`${root.key}: holds no certificate in PEM`)
    expect(refused({ cert: root.cert, key: root.cert })).toBe(`${root.cert}: holds no private key in PEM`)
    const broken = folder.write('broken.pem', root.pem.replace(/\n.{20}/, '\nAAAAAAAAAAAAAAAAAAAA'))
    expect(refused({ cert: broken, key: root.key })).toMatch(/broken.pem: certificate 1 cannot be read/)
    const key = folder.write('broken.key', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n')
    expect(refused({ cert: root.cert, key })).toBe(`${key}: the private key cannot be read`)
  })

  it('a key of another certificate, an encrypted key, a key that TLS cannot use', () => {
    expect(refused({ cert: root.cert, key: middle.key })).toBe(
      `${middle.key}: is not the key of the certificate in ${root.cert}`,
    )
    const encrypted = at('encrypted.key')
    openssl(['pkey', '-in', root.key, '-aes256', '-passout', 'pass:x', '-out', encrypted])
    expect(refused({ cert: root.cert, key: encrypted })).toMatch(/encrypted.key: the key is encrypted/)
    const traditional = at('traditional.key')
    openssl(['ec', '-in', root.key, '-aes256', '-passout', 'pass:x', '-out', traditional])
    expect(refused({ cert: root.cert, key: traditional })).toMatch(/traditional.key: the key is encrypted/)
    const edwards = folder.ca('/CN=Ed', { curve: 'secp256k1' })
    expect(refused(edwards)).toMatch(/the key is on the curve secp256k1; TLS needs P-256, P-384 or P-521/)
  })

  it('what is no CA, may not sign, has expired, or is not valid yet', () => {
    const extensions = ['basicConstraints=CA:false']
    const leaf = folder.ca('/CN=leaf', { issuer: root, extensions })
    expect(refused({ ...leaf, root: root.cert })).toBe(
      `${leaf.cert}: is not the certificate of a CA (basic constraints)`,
    )
    const mute = folder.ca('/CN=mute', { extensions: ['basicConstraints=critical,CA:true', 'keyUsage=cRLSign'] })
    expect(refused(mute)).toBe(`${mute.cert}: may not sign certificates (key usage)`)
    const expired = folder.ca('/CN=old', { notBefore: '20200101000000Z', notAfter: '20210101000000Z' })
    expect(refused(expired)).toBe(`${expired.cert}: the certificate expired on Jan  1 00:00:00 2021 GMT`)
    const future = folder.ca('/CN=new', { notBefore: '20900101000000Z', notAfter: '20910101000000Z' })
    expect(refused(future)).toBe(`${future.cert}: the certificate is not valid before Jan  1 00:00:00 2090 GMT`)
    const narrow = folder.ca('/CN=n', {
      extensions: ['basicConstraints=critical,CA:true', 'extendedKeyUsage=serverAuth'],
    })
    expect(refused(narrow)).toBe(`${narrow.cert}: its extended key usage does not cover both servers and clients`)
  })

  it('roots that do not vouch for it', () => {
    expect(refused({ cert: middle.cert, key: middle.key })).toBe(
      `${middle.cert}: does not sign itself, so the root that vouches for it has to be given too`,
    )
    const other = folder.ca('/CN=Other')
    expect(refused({ cert: middle.cert, key: middle.key, root: other.cert })).toBe(
      `${other.cert}: does not vouch for ${middle.cert}: O=Acme, CN=Root, which signed O=Acme, OU=Mesh, L=cluster 1, CN=Middle, is not in ${other.cert}`,
    )
    const twin = folder.ca('/O=Acme/CN=Root')
    expect(refused({ cert: middle.cert, key: middle.key, root: twin.cert })).toBe(
      `${twin.cert}: does not vouch for ${middle.cert}: there is a certificate O=Acme, CN=Root, but it is not the one that signed O=Acme, OU=Mesh, L=cluster 1, CN=Middle`,
    )
    expect(refused({ cert: low.cert, key: low.key, chain: [low.cert], root: root.cert })).toBe(
      `${root.cert}: does not vouch for ${low.cert}: O=Acme, OU=Mesh, L=cluster 1, CN=Middle, which signed O=Acme, CN=Low, is not in ${root.cert} and ${low.cert}`,
    )
  })

  it('a path that is longer than a CA above allows, or that has run out above', () => {
    const short = folder.ca('/CN=Short', { extensions: ['basicConstraints=critical,CA:true,pathlen:0'] })
    const below = folder.ca('/CN=Below', { issuer: short })
    expect(refused({ cert: below.cert, key: below.key, root: short.cert })).toBe(
      `${short.cert}: the certificate CN=Short lets 0 CAs follow (path length), and 1 do, down to ${below.cert}`,
    )
    const gone = folder.ca('/CN=Gone', { notBefore: '20200101000000Z', notAfter: '20210101000000Z' })
    const orphan = folder.ca('/CN=Orphan', { issuer: gone })
    expect(refused({ cert: orphan.cert, key: orphan.key, root: gone.cert })).toBe(
      `${gone.cert}: the certificate CN=Gone expired on Jan  1 00:00:00 2021 GMT`,
    )
    // A pathlen of 0 lets leaves follow.
    const last = folder.ca('/CN=Last', {
      issuer: root,
      extensions: ['basicConstraints=critical,CA:true,pathlen:0', 'keyUsage=critical,keyCertSign'],
    })
    const ca = open({ cert: last.cert, key: last.key, root: root.cert })
    folder.verify(ca.identityFor(ID).certChainPem, ca.rootPem)
  })

  it('switches with which no workload could get a certificate', () => {
    expect(() => open(undefined, { SECRET_TTL: '48h', MAX_WORKLOAD_CERT_TTL: '24h' })).toThrow(
      'SECRET_TTL (48h) is more than MAX_WORKLOAD_CERT_TTL (24h): no workload would get a certificate',
    )
    expect(() => open(undefined, { CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE: '512' })).toThrow(/less than 2048/)
  })
})
