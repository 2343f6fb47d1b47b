import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openAuthority } from '../src/ca/authority.ts'
import { type Ca, CaConfigError, spiffeId } from '../src/ca/ca.ts'
import { SystemRuntime } from '../src/runtime-system.ts'
import { createStore } from '../src/store/store.ts'
import { type OpensslCa, OpensslFolder, openssl } from './support/openssl.ts'

// A given CA whose way up to the root is not what it says to be.

let folder: OpensslFolder
let root: OpensslCa
beforeAll(() => {
  folder = new OpensslFolder()
  root = folder.ca('/CN=Root')
})
afterAll(() => folder.remove())

function open(given: Parameters<typeof openAuthority>[0]['given']): Ca {
  const runtime = new SystemRuntime()
  const authority = openAuthority({
    store: createStore(runtime),
    runtime,
    given,
    trustDomain: 'cluster.local',
    rootNamespace: 'istio-system',
    env: {},
    watch: false,
    warn: () => {},
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

/** A CA below an intermediate, given with both in its chain. */
const below = (middle: OpensslCa, chain = middle) => {
  const low = folder.ca('/CN=Low', { issuer: middle })
  return { cert: low.cert, key: low.key, chain: [low.cert, chain.cert], root: root.cert }
}

describe('an intermediate', () => {
  it('that is a CA is taken', () => {
    const ca = open(below(folder.ca('/CN=Middle', { issuer: root })))
    folder.verify(ca.identityFor(spiffeId('cluster.local', 'default', 'x')).certChainPem, root.pem)
  })

  it.each([
    ['says that it is none', ['basicConstraints=critical,CA:false', 'keyUsage=critical,keyCertSign']],
    ['does not say that it is one', ['keyUsage=critical,keyCertSign']],
    ['is a leaf without key usage', ['basicConstraints=CA:false']],
  ])('that is no CA is refused: it %s', (_, extensions) => {
    const given = below(folder.ca('/CN=Middle', { issuer: root, extensions }))
    expect(refused(given)).toMatch(/the certificate CN=Middle is not the certificate of a CA$/)
  })

  it('that may not sign certificates is refused', () => {
    const extensions = ['basicConstraints=critical,CA:true', 'keyUsage=critical,cRLSign']
    expect(refused(below(folder.ca('/CN=Middle', { issuer: root, extensions })))).toContain('CN=Middle')
  })
})

describe('a signature counts, not a name', () => {
  it('an intermediate of the same name and another key does not vouch', () => {
    const [real, twin] = [1, 2].map(() => folder.ca('/CN=Middle', { issuer: root }))
    expect(refused(below(twin!, real))).toContain('there is a certificate CN=Middle, but it is not the one that signed')
  })

  it('also where no key identifier tells the signers apart', () => {
    const extensions = [
      'basicConstraints=critical,CA:true',
      'keyUsage=critical,keyCertSign',
      'authorityKeyIdentifier=none',
    ]
    const other = folder.ca('/CN=Root')
    const forged = folder.ca('/CN=Middle', { issuer: other, extensions })
    expect(refused({ cert: forged.cert, key: forged.key, root: root.cert })).toContain('it is not the one that signed')
  })

  it('an intermediate that a root of the same name signed is refused', () => {
    const other = folder.ca('/CN=Root')
    expect(refused(below(folder.ca('/CN=Middle', { issuer: other })))).toContain(
      'there is a certificate CN=Root, but it is not the one that signed CN=Middle',
    )
  })

  it('and a name counts too: a root of the same key under another name does not vouch', () => {
    const cert = folder.at('renamed.crt')
    openssl(['req', '-new', '-x509', '-key', root.key, '-subj', '/CN=Renamed', '-days', '30', '-out', cert])
    const middle = folder.ca('/CN=Middle', { issuer: root })
    expect(refused({ cert: middle.cert, key: middle.key, root: cert })).toContain('CN=Root, which signed CN=Middle')
  })
})
