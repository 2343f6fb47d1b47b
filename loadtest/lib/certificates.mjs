// One CA and one leaf for every role, made anew for each run.
import { webcrypto } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import 'reflect-metadata'
import * as x509 from '@peculiar/x509'

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }

async function keyPem(key) {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key)).toString('base64')
  return `-----BEGIN PRIVATE KEY-----\n${der.match(/.{1,64}/g).join('\n')}\n-----END PRIVATE KEY-----\n`
}

/** Writes ca.pem, cert.pem, key.pem and both.pem (key and certificate, as HAProxy wants them) into a folder. */
export async function writeCertificates(dir) {
  x509.cryptoProvider.set(webcrypto)
  const notBefore = new Date(Date.now() - 60_000)
  const notAfter = new Date(Date.now() + 86_400_000)
  const caKeys = await webcrypto.subtle.generateKey(EC, true, ['sign', 'verify'])
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: 'CN=benchmark CA',
    notBefore,
    notAfter,
    signingAlgorithm: EC,
    keys: caKeys,
    extensions: [new x509.BasicConstraintsExtension(true, 1, true)],
  })
  const keys = await webcrypto.subtle.generateKey(EC, true, ['sign', 'verify'])
  const leaf = await x509.X509CertificateGenerator.create({
    serialNumber: '02',
    subject: 'CN=localhost',
    issuer: ca.subject,
    notBefore,
    notAfter,
    signingAlgorithm: EC,
    publicKey: keys.publicKey,
    signingKey: caKeys.privateKey,
    extensions: [
      new x509.SubjectAlternativeNameExtension([
        { type: 'dns', value: 'localhost' },
        { type: 'ip', value: '127.0.0.1' },
        { type: 'url', value: 'spiffe://cluster.local/ns/default/sa/benchmark' },
      ]),
      new x509.ExtendedKeyUsageExtension(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']),
    ],
  })
  const files = {
    ca: path.join(dir, 'ca.pem'),
    cert: path.join(dir, 'cert.pem'),
    key: path.join(dir, 'key.pem'),
    both: path.join(dir, 'both.pem'),
  }
  const key = await keyPem(keys.privateKey)
  const cert = `${leaf.toString('pem')}\n`
  fs.writeFileSync(files.ca, `${ca.toString('pem')}\n`)
  fs.writeFileSync(files.cert, cert)
  fs.writeFileSync(files.key, key)
  fs.writeFileSync(files.both, key + cert)
  return files
}
