import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import type { Signer } from './certificate.ts'
import { certificateFacts, listIssuer } from './der-read.ts'
import { CaConfigError } from './errors.ts'
import { blocksOf, certificatesOf, privateKeyBlock } from './pem.ts'
import { chainsTo, type Link, validity } from './verify.ts'

/** A signing certificate with all that goes with it, as texts, and where each came from, for messages. */
export interface CaMaterial {
  readonly cert: Named
  readonly key: Named
  /** Certificates between the signer and the roots. */
  readonly chain: Named | undefined
  /** Absent for a signer that signs itself. */
  readonly root: Named | undefined
  /** Revocation lists for all that are signed by these CAs. */
  readonly crl?: Named | undefined
}

/** A text in PEM, and its file (or Secret and key). */
export interface Named {
  readonly name: string
  readonly pem: string
}

/** A CA that has been found good: what signs, and what its peers have to trust. */
export interface SigningBundle {
  readonly certPem: string
  /** Subject, for messages. */
  readonly subject: string
  readonly signer: Signer
  /** PEM of what goes after each leaf: the signer and those above it, without the root. */
  readonly chain: readonly string[]
  /** PEM of all trusted roots. */
  readonly roots: readonly string[]
  /** Those of `roots` that vouch for the signer. */
  readonly anchors: readonly string[]
  /** When the first of the chain runs out, in wall-clock milliseconds. */
  readonly notAfter: number
  readonly notBefore: number
  readonly selfSigned: boolean
  /** Revocation lists, '' for none. */
  readonly crlPem: string
}

const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
const ANY_USAGE = '2.5.29.37.0'
const CURVES = ['prime256v1', 'secp384r1', 'secp521r1']

/**
 * Checks a CA before it is used; `warn` is told of what works but is likely not meant. Throws CaConfigError. After
 * security/pkg/pki/util/keycertbundle.go Verify, which asks for the same but says less about what is wrong.
 */
export function verifiedBundle(material: CaMaterial, now: number, warn: (line: string) => void): SigningBundle {
  const { cert, root, chain } = material
  const [own, ...extra] = certificates(cert)
  const link = own!
  const key = privateKey(material.key)
  const { certificate, facts } = link
  if (!certificate.checkPrivateKey(key))
    throw new CaConfigError(`${material.key.name}: is not the key of the certificate in ${cert.name}`)
  if (!facts.isCa) throw new CaConfigError(`${cert.name}: is not the certificate of a CA (basic constraints)`)
  if (!facts.maySign) throw new CaConfigError(`${cert.name}: may not sign certificates (key usage)`)
  const problem = validity(certificate, now)
  if (problem) throw new CaConfigError(`${cert.name}: the certificate ${problem}`)
  const usage = facts.extendedUsage
  if (usage && !usage.includes(ANY_USAGE) && !(usage.includes(SERVER_AUTH) && usage.includes(CLIENT_AUTH)))
    throw new CaConfigError(`${cert.name}: its extended key usage does not cover both servers and clients`)
  const roots = root ? certificates(root) : rootsOf(link, extra, cert.name)
  const between = chain ? certificates(chain) : extra
  const { path, anchors } = chainsTo(link, between, roots, {
    now,
    cert: cert.name,
    roots: root?.name ?? cert.name,
    chain: chain?.name,
  })
  const selfSigned = path.length === 1
  for (const { certificate: other } of roots) {
    const wrong = validity(other, now)
    if (wrong) warn(`${root?.name ?? cert.name}: the root ${subjectOf(other)} ${wrong}`)
  }
  const above = path.slice(0, -1)
  if (chain) checkOrder(chain.name, between, above, warn)
  if (material.crl) checkRevocationLists(material.crl, path)
  return {
    certPem: link.pem,
    subject: subjectOf(certificate),
    signer: { subject: facts.subject, subjectKeyId: facts.subjectKeyId, key },
    chain: above.map(({ pem }) => pem),
    roots: [...new Set(roots.map(({ pem }) => pem))],
    anchors: anchors.map(({ pem }) => pem),
    notAfter: Math.min(...path.map(({ certificate: one }) => Date.parse(one.validTo))),
    notBefore: Date.parse(certificate.validFrom),
    selfSigned,
    crlPem: material.crl?.pem ?? '',
  }
}

/** The subject of a certificate in one line. */
export function subjectOf(certificate: X509Certificate): string {
  return (certificate.subject ?? '').replaceAll('\n', ', ') || '(without a name)'
}

function certificates({ name, pem }: Named): Link[] {
  const blocks = certificatesOf(pem)
  if (blocks.length === 0) throw new CaConfigError(`${name}: holds no certificate in PEM`)
  return blocks.map((block, i) => {
    try {
      const certificate = new X509Certificate(block)
      return { pem: block, certificate, facts: certificateFacts(certificate.raw) }
    } catch (error) {
      throw new CaConfigError(`${name}: certificate ${i + 1} cannot be read: ${(error as Error).message}`)
    }
  })
}

function privateKey({ name, pem }: Named): KeyObject {
  const block = privateKeyBlock(pem)
  if (!block) throw new CaConfigError(`${name}: holds no private key in PEM`)
  if (block.encrypted)
    throw new CaConfigError(
      `${name}: the key is encrypted, and nothing here takes a passphrase (nor does istiod); openssl pkey -in FILE -out NEW writes it in plain`,
    )
  let key: KeyObject
  try {
    key = createPrivateKey(pem)
  } catch {
    // The reasons that OpenSSL gives are of no help here.
    throw new CaConfigError(`${name}: the private key cannot be read`)
  }
  const type = key.asymmetricKeyType ?? ''
  const curve = key.asymmetricKeyDetails?.namedCurve
  if (type === 'ec' && !CURVES.includes(curve ?? ''))
    throw new CaConfigError(`${name}: the key is on the curve ${curve}; TLS needs P-256, P-384 or P-521`)
  if (type !== 'rsa' && type !== 'ec')
    throw new CaConfigError(`${name}: the key is of type ${type}; certificates of a mesh need RSA or EC`)
  return key
}

function rootsOf(own: Link, extra: readonly Link[], name: string): Link[] {
  const issued = [own, ...extra].filter(({ certificate }) => certificate.checkIssued(certificate))
  if (issued.length > 0) return issued
  throw new CaConfigError(`${name}: does not sign itself, so the root that vouches for it has to be given too`)
}

/** Where there is a list for one CA, peers ask for one of each. */
function checkRevocationLists({ name, pem }: Named, path: readonly Link[]): void {
  const lists = blocksOf(pem, 'X509 CRL')
  if (lists.length === 0) throw new CaConfigError(`${name}: holds no revocation list in PEM`)
  let issuers: Buffer[]
  try {
    issuers = lists.map((der) => Buffer.from(listIssuer(der)))
  } catch {
    throw new CaConfigError(`${name}: a revocation list cannot be read`)
  }
  for (const { facts, certificate } of path) {
    if (issuers.some((issuer) => issuer.equals(facts.subject))) continue
    throw new CaConfigError(
      `${name}: has no list of ${subjectOf(certificate)}; peers that are given one list want one of each CA of the chain`,
    )
  }
}

/** istiod sends the chain as it is written; here it is put in order. */
function checkOrder(name: string, given: readonly Link[], needed: readonly Link[], warn: (line: string) => void): void {
  if (needed.every(({ pem }, i) => given[i]?.pem === pem)) return
  warn(
    `${name}: is not the chain from the signing certificate up, which istiod would send as it is; it is put in order`,
  )
}
