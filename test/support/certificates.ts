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
let serial = 1

/** A certificate authority, self-signed. */
export function makeAuthority(subject: string): Promise<Identity> {
  return make(subject, [], undefined)
}

/** A certificate of that authority with these SANs (`{ type: 'url', value: 'spiffe://…' }`, `dns`, `ip`). */
export function makeIdentity(
  authority: Identity,
  subject: string,
  sans: { type: 'url' | 'dns' | 'ip'; value: string }[],
  { rsa = false }: { rsa?: boolean } = {},
): Promise<Identity> {
  return make(subject, sans, authority, rsa)
}

async function make(
  subject: string,
  sans: { type: 'url' | 'dns' | 'ip'; value: string }[],
  authority: Identity | undefined,
  rsa = false,
): Promise<Identity> {
  x509.cryptoProvider.set(webcrypto as never)
  const kind = rsa ? RSA : algorithm
  const keys = (await webcrypto.subtle.generateKey(kind, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair
  const issuer = authority ?? { cert: undefined, keys }
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: (serial++).toString(16).padStart(4, '1'),
    subject,
    issuer: issuer.cert === undefined ? subject : new x509.X509Certificate(issuer.cert).subject,
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 86_400_000),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey as never,
    signingKey: issuer.keys.privateKey as never,
    extensions: [
      new x509.BasicConstraintsExtension(authority === undefined, undefined, true),
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
