import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'

/** A key and a certificate in PEM. */
export interface Identity {
  readonly key: string
  readonly cert: string
  readonly keys: webcrypto.CryptoKeyPair
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const RSA = {
  name: 'RSASSA-PKCS1-v1_5',
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
  hash: 'SHA-256',
}
const HOUR = 3_600_000
let serial = 1

/** What is not as usual about a certificate. */
export interface IdentityOptions {
  /** An RSA key instead of P-256. */
  readonly rsa?: boolean
  /** When it begins and ends to be valid, in ms from now. Default: an hour ago, and in a day. */
  readonly from?: number
  readonly until?: number
}

/** A certificate authority, self-signed. */
export function makeAuthority(subject: string): Promise<Identity> {
  return make(subject, [], undefined)
}

/** A certificate of that authority with these SANs (`{ type: 'url', value: 'spiffe://…' }`, `dns`, `ip`). */
export function makeIdentity(
  authority: Identity,
  subject: string,
  sans: { type: 'url' | 'dns' | 'ip'; value: string }[],
  options: IdentityOptions = {},
): Promise<Identity> {
  return make(subject, sans, authority, options)
}

/** A certificate that nobody but its own key vouches for. */
export function makeSelfSigned(
  subject: string,
  sans: { type: 'url' | 'dns' | 'ip'; value: string }[],
): Promise<Identity> {
  return make(subject, sans, undefined, { ca: false })
}

async function make(
  subject: string,
  sans: { type: 'url' | 'dns' | 'ip'; value: string }[],
  authority: Identity | undefined,
  {
    rsa = false,
    from = -HOUR,
    until = 24 * HOUR,
    ca = authority === undefined,
  }: IdentityOptions & { ca?: boolean } = {},
): Promise<Identity> {
  x509.cryptoProvider.set(webcrypto as never)
  const kind = rsa ? RSA : algorithm
  const keys = (await webcrypto.subtle.generateKey(kind, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair
  const issuer = authority ?? { cert: undefined, keys }
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: (serial++).toString(16).padStart(4, '1'),
    subject,
    issuer: issuer.cert === undefined ? subject : new x509.X509Certificate(issuer.cert).subject,
    notBefore: new Date(Date.now() + from),
    notAfter: new Date(Date.now() + until),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey as never,
    signingKey: issuer.keys.privateKey as never,
    extensions: [
      new x509.BasicConstraintsExtension(ca, undefined, true),
      ...(sans.length > 0 ? [new x509.SubjectAlternativeNameExtension(sans)] : []),
    ],
  })
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey))
  const body = pkcs8.toString('base64').replace(/(.{64})/g, '$1\n')
  return {
    key: `-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----\n`,
    cert: certificate.toString('pem'),
    keys,
  }
}
