import fs from 'node:fs'
import path from 'node:path'
import type { Runtime } from '../runtime.ts'
import { type SigningBundle, verifiedBundle } from './bundle.ts'
import { issueRoot, validFrom } from './certificate.ts'
import { CaConfigError } from './errors.ts'
import type { CaSettings, KeyPair } from './settings.ts'
import { filesIn, materialOfFiles } from './sources.ts'

const CERT_FILE = 'ca-cert.pem'
const KEY_FILE = 'ca-key.pem'

/** A root that signs itself, with its key. */
export interface SelfSigned {
  readonly bundle: SigningBundle
  readonly keyPem: string
}

/**
 * Makes a root that signs itself. `from` makes it anew with the same key and organisation, as istiod does when a root is
 * about to expire (security/pkg/pki/ca/selfsignedcarootcertrotator.go).
 */
export function makeRoot(
  runtime: Runtime,
  settings: CaSettings,
  organization: string,
  pair: KeyPair = settings.rootKeys(),
): SelfSigned {
  const now = runtime.wallNow()
  const { publicKey, privateKey } = pair
  const certPem = issueRoot(
    { publicKey, notBefore: validFrom(now), notAfter: now + settings.rootTtl, serial: serialNumber(runtime) },
    organization,
    privateKey,
  )
  const keyPem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  const where = 'the self-signed root'
  const material = {
    cert: { name: where, pem: certPem },
    key: { name: where, pem: keyPem },
    chain: undefined,
    root: undefined,
  }
  return { bundle: verifiedBundle(material, now, () => {}), keyPem }
}

/**
 * The CA that is kept in a folder; undefined when there is none yet. Throws CaConfigError for one that cannot be used.
 */
export function loadKept(dir: string, now: number, warn: (line: string) => void): SigningBundle | undefined {
  if (!fs.existsSync(path.join(dir, CERT_FILE)) && !fs.existsSync(path.join(dir, KEY_FILE))) return undefined
  return verifiedBundle(materialOfFiles(filesIn(dir), warn), now, warn)
}

/**
 * Keeps a root in a folder, which is made with mode 0700 when it is not there; files have 0600. Throws CaConfigError.
 */
export function keep(dir: string, { bundle, keyPem }: SelfSigned): void {
  try {
    fs.mkdirSync(dir, { recursive: true, mode: 0o700 })
    write(path.join(dir, KEY_FILE), keyPem)
    write(path.join(dir, CERT_FILE), bundle.certPem)
  } catch (error) {
    throw new CaConfigError(`the root certificate cannot be kept in ${dir}: ${(error as Error).message}`)
  }
}

/** A crash leaves the file as it was, or as it is to be. */
function write(file: string, text: string): void {
  const temporary = `${file}.${process.pid}.new`
  fs.rmSync(temporary, { force: true })
  fs.writeFileSync(temporary, text, { mode: 0o600, flag: 'wx' })
  fs.renameSync(temporary, file)
}

/** 16 random bytes. */
export function serialNumber(runtime: Runtime): Uint8Array {
  return Buffer.from(runtime.uuid().replaceAll('-', ''), 'hex')
}
