import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import type { Runtime } from '../runtime.ts'
import { issue } from './certificate.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

/** Lifetime of a workload certificate in milliseconds (DEFAULT_WORKLOAD_CERT_TTL). */
export const WORKLOAD_TTL = DAY
/** Lifetime of the self-signed root in milliseconds (CITADEL_SELF_SIGNED_CA_CERT_TTL). */
export const ROOT_TTL = 3650 * DAY
// Workload certificates are valid from a little before now on, for peers whose clocks differ (ClockSkewGracePeriod).
const CLOCK_SKEW = 2 * 60_000
// Renewed when half of the lifetime is left (SECRET_GRACE_PERIOD_RATIO).
const GRACE_RATIO = 0.5

/** What one workload presents: its certificate chain (leaf first), its key, and the roots it trusts. */
export interface Identity {
  /** SPIFFE id, `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`. */
  spiffeId: string
  certChainPem: string
  privateKeyPem: string
  rootPem: string
  /** Wall-clock milliseconds. */
  notAfter: number
}

/** How to make a `Ca`. */
export interface CaOptions {
  runtime: Runtime
  /** Where the root is kept between runs, with mode 0600; nothing is kept when absent. */
  dataDir?: string
  /** The trust domain; becomes the root's organisation. Default `cluster.local`. */
  trustDomain?: string
}

/**
 * The mesh's certificate authority: a root made at first start, and workload certificates signed by it.
 *
 * istiod's root is RSA 2048, and the agent asks for RSA 2048 too unless ECC_SIGNATURE_ALGORITHM is set. Here both
 * are P-256: making one costs 0.1 ms instead of 100, and a peer cannot tell apart what it does with either.
 * A CA that is already there is taken as it is, whatever its key: `ca-cert.pem`, `ca-key.pem`, and optionally
 * `cert-chain.pem` and `root-cert.pem`, as in the secret `cacerts`.
 * After security/pkg/pki/ca/ca.go.
 */
export class Ca {
  /** PEM of what peers trust. */
  readonly rootPem: string
  readonly trustDomain: string
  readonly #runtime: Runtime
  readonly #key: KeyObject
  readonly #publicKey: KeyObject
  readonly #issuer: string
  readonly #chainPem: string
  readonly #identities = new Map<string, Identity>()

  /** Throws when a kept root cannot be read, or is not a CA. */
  constructor(options: CaOptions) {
    this.#runtime = options.runtime
    this.trustDomain = options.trustDomain ?? 'cluster.local'
    const root = (options.dataDir && load(options.dataDir)) || makeRoot(options.runtime, this.trustDomain)
    if (options.dataDir && !root.kept) save(options.dataDir, root)
    const certificate = new X509Certificate(root.certPem)
    if (!certificate.ca) throw new Error(`the certificate in ${options.dataDir} is not one of a CA`)
    this.#key = createPrivateKey(root.keyPem)
    this.#publicKey = createPublicKey(this.#key)
    this.#issuer = /(?:^|\n)O=(.*)/.exec(certificate.subject)?.[1] ?? ''
    this.#chainPem = root.chainPem
    this.rootPem = root.rootPem
  }

  /** The identity of a SPIFFE id: made once, made anew when half of its lifetime is over. */
  identityFor(spiffeId: string): Identity {
    const now = this.#runtime.wallNow()
    const known = this.#identities.get(spiffeId)
    if (known && now < renewAt(known)) return known
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const notAfter = Math.floor((now + WORKLOAD_TTL) / 1000) * 1000
    const certificate = issue(
      {
        organization: '',
        issuer: this.#issuer,
        publicKey,
        notBefore: now - CLOCK_SKEW,
        notAfter,
        serial: serial(this.#runtime),
        uris: [spiffeId],
        isCa: false,
      },
      this.#key,
      this.#publicKey,
    )
    const identity: Identity = {
      spiffeId,
      certChainPem: certificate + this.#chainPem,
      privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
      rootPem: this.rootPem,
      notAfter,
    }
    this.#identities.set(spiffeId, identity)
    return identity
  }
}

/** When an identity is due for renewal, in wall-clock milliseconds. */
export function renewAt(identity: Identity): number {
  return identity.notAfter - WORKLOAD_TTL * GRACE_RATIO
}

/** A workload's SPIFFE id, as Istio forms it. */
export function spiffeId(trustDomain: string, namespace: string, serviceAccount: string): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`
}

interface Root {
  certPem: string
  keyPem: string
  /** Intermediates to append after each leaf; '' for a root that signs itself. */
  chainPem: string
  rootPem: string
  kept: boolean
}

function makeRoot(runtime: Runtime, organization: string): Root {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const now = runtime.wallNow()
  const certPem = issue(
    {
      organization,
      issuer: organization,
      publicKey,
      notBefore: now,
      notAfter: now + ROOT_TTL,
      serial: serial(runtime),
      isCa: true,
    },
    privateKey,
    publicKey,
  )
  const keyPem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  return { certPem, keyPem, chainPem: '', rootPem: certPem, kept: false }
}

function load(dir: string): Root | undefined {
  const certFile = path.join(dir, 'ca-cert.pem')
  const keyFile = path.join(dir, 'ca-key.pem')
  if (!fs.existsSync(certFile) && !fs.existsSync(keyFile)) return undefined
  const read = (file: string): string => {
    try {
      return fs.readFileSync(file, 'utf8')
    } catch (error) {
      throw new Error(`the CA in ${dir} cannot be read: ${(error as Error).message}`)
    }
  }
  const certPem = read(certFile)
  const rootFile = path.join(dir, 'root-cert.pem')
  const chainFile = path.join(dir, 'cert-chain.pem')
  const rootPem = fs.existsSync(rootFile) ? read(rootFile) : certPem
  const chainPem = fs.existsSync(chainFile) ? read(chainFile) : rootPem.trim() === certPem.trim() ? '' : certPem
  return { certPem, keyPem: read(keyFile), chainPem, rootPem, kept: true }
}

function save(dir: string, root: Root): void {
  fs.mkdirSync(dir, { recursive: true, mode: 0o700 })
  fs.writeFileSync(path.join(dir, 'ca-key.pem'), root.keyPem, { mode: 0o600 })
  fs.writeFileSync(path.join(dir, 'ca-cert.pem'), root.certPem, { mode: 0o600 })
}

function serial(runtime: Runtime): Uint8Array {
  return Buffer.from(runtime.uuid().replaceAll('-', ''), 'hex')
}
