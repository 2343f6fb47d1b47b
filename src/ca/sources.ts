import fs from 'node:fs'
import path from 'node:path'
import type { ApiObject } from '../api/objects.ts'
import type { CaMaterial, Named } from './bundle.ts'
import { CaConfigError } from './errors.ts'

/** A CA in files, as options name them. */
export interface CaFiles {
  readonly cert: string
  readonly key: string
  readonly root?: string | undefined
  /** Several are read one after the other. */
  readonly chain?: readonly string[] | undefined
  readonly crl?: string | undefined
}

type Warn = (line: string) => void

/** Where the parts of a CA are found, in a folder or a Secret (pilot/pkg/bootstrap/istio_ca.go). */
const ISTIO = { cert: 'ca-cert.pem', key: 'ca-key.pem', root: 'root-cert.pem', chain: 'cert-chain.pem' } as const
const TLS = { cert: 'tls.crt', key: 'tls.key', root: 'ca.crt' } as const
const CRL = 'ca-crl.pem'

/**
 * The files of a folder: those of a Secret of type kubernetes.io/tls when `tls.crt` is there, else Istio's own. Throws
 * CaConfigError when there is no folder, or no CA in it.
 */
export function filesIn(dir: string): CaFiles {
  const at = (name: string): string => path.join(dir, name)
  const there = (name: string): string | undefined => (fs.existsSync(at(name)) ? at(name) : undefined)
  if (!fs.statSync(dir, { throwIfNoEntry: false })?.isDirectory())
    throw new CaConfigError(`${dir}: is not a folder; a CA is expected there (${ISTIO.cert}, ${ISTIO.key}, …)`)
  if (there(TLS.cert)) {
    const root = there(TLS.root)
    return { cert: at(TLS.cert), key: at(TLS.key), root, chain: root ? [at(TLS.cert), root] : undefined }
  }
  const chain = there(ISTIO.chain)
  return {
    cert: at(ISTIO.cert),
    key: at(ISTIO.key),
    root: there(ISTIO.root),
    chain: chain ? [chain] : undefined,
    crl: there(CRL),
  }
}

/** Reads the files. Throws CaConfigError that names the one that cannot be read. */
export function materialOfFiles(files: CaFiles, warn: Warn): CaMaterial {
  const key = read(files.key)
  // It may be gone again: files are replaced while they are read.
  const mode = fs.statSync(files.key, { throwIfNoEntry: false })?.mode ?? 0
  if (process.platform !== 'win32' && mode & 0o004)
    warn(`${files.key}: everyone on this machine may read this private key; chmod 600 would keep it private`)
  const chains = files.chain?.map(read)
  return {
    cert: read(files.cert),
    key,
    root: files.root === undefined ? undefined : read(files.root),
    chain: chains?.[0] && { name: chains[0].name, pem: chains.map(({ pem }) => pem).join('\n') },
    crl: files.crl === undefined ? undefined : read(files.crl),
  }
}

/**
 * A CA from a Secret, in either layout. Throws CaConfigError when it lacks the certificate or its key.
 */
export function materialOfSecret(secret: ApiObject & { kind: 'Secret' }): CaMaterial {
  const where = `Secret ${secret.metadata.namespace}/${secret.metadata.name}`
  const find = (key: string): Named | undefined => {
    const pem = secret.stringData?.[key] ?? Buffer.from(secret.data?.[key] ?? '', 'base64').toString('utf8')
    return pem === '' ? undefined : { name: `${where}, ${key}`, pem }
  }
  const names = find(TLS.cert) ? TLS : ISTIO
  const [cert, key] = [find(names.cert), find(names.key)]
  if (!cert || !key) throw new CaConfigError(`${where}: has no ${cert ? names.key : names.cert}`)
  const root = find(names.root)
  if (names === TLS) return { cert, key, root, chain: root && { ...cert, pem: `${cert.pem}\n${root.pem}` } }
  return { cert, key, root, chain: find(ISTIO.chain), crl: find(CRL) }
}

function read(file: string): Named {
  try {
    return { name: file, pem: fs.readFileSync(file, 'utf8') }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why =
      code === 'ENOENT' ? 'there is no such file' : code === 'EACCES' ? 'may not be read' : message.split(', ')[0]
    throw new CaConfigError(`${file}: ${why}`)
  }
}
