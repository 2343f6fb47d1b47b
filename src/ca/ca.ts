import type { KeyObject } from 'node:crypto'
import type { Runtime, Timer } from '../runtime.ts'
import type { SigningBundle } from './bundle.ts'
import { issueServer, issueWorkload, type ServerNames, validFrom } from './certificate.ts'
import { CaError } from './errors.ts'
import { Identity } from './identity.ts'
import { keep, loadKept, makeRoot, serialNumber } from './self-signed.ts'
import { type CaSettings, caSettings } from './settings.ts'
import { Trust } from './trust.ts'

export { CaConfigError, CaError } from './errors.ts'
export { Identity, spiffeId } from './identity.ts'
export { ROOT_TTL, WORKLOAD_TTL } from './settings.ts'

// Workload certificates are valid from a little before now on, for peers whose clocks differ (ClockSkewGracePeriod).
const CLOCK_SKEW = 2 * 60_000
/**
 * Handshakes that began with what was there before have ended, one way or the other, after this time: Istio gives
 * connections 10 s.
 */
const HANDSHAKE_MS = 12_000
/** How long it is waited for proxies that do not answer. */
const DELIVERY_MS = 30_000
/** Holders of certificates renew them when half of the lifetime is over, or a little later. */
const RENEWAL_SLACK = 0.05

/** What is asked of `Ca.sign`. */
export interface SignRequest {
  /** Public key of the CSR, whose signature the caller has checked. */
  readonly publicKey: KeyObject
  /** Become the URI subject alternative names, in this order. */
  readonly spiffeIds: readonly string[]
  /** Asked lifetime in milliseconds; absent or not positive for the default. */
  readonly ttlMs?: number
}

/** What `Ca.sign` gives: PEM blocks as IstioCertificateResponse has them. */
export interface SignedChain {
  /** Leaf, each intermediate, and last all trusted roots in one string. */
  readonly certChain: string[]
}

/** How to make a `Ca`. */
export interface CaOptions {
  runtime: Runtime
  /** A given CA; else the one that is kept, or a root that is made. */
  bundle?: SigningBundle | undefined
  /** The given one is a root that istiod made, which is renewed before it expires. */
  generated?: boolean
  /** Where a root that is made is kept between runs, with mode 0600; nothing is kept when absent. */
  dataDir?: string | undefined
  /** The trust domain; becomes the organisation of a root that is made. Default `cluster.local`. */
  trustDomain?: string
  /** Default: those of an empty environment. */
  settings?: CaSettings
  /** Told of what works, but is likely not meant. */
  warn?: (line: string) => void
  /** Told of rotations. */
  log?: (line: string) => void
}

/** Resolves when everyone that its owner serves has answered for the latest roots and certificates. */
export type Delivery = () => Promise<unknown>

/**
 * The mesh's certificate authority: signs workload certificates with a CA that it was given, or with a root that it
 * makes, and changes from one CA to the next without a handshake that fails: first all trust the roots of both, then
 * certificates are of the new one, and the old roots are dropped when nobody holds a certificate of theirs any more.
 *
 * istiod's root is RSA 2048, and the agent asks for RSA 2048 too unless ECC_SIGNATURE_ALGORITHM is set. Here both
 * are P-256 unless asked otherwise: making one costs 0.1 ms instead of 100, and a peer cannot tell apart what it does
 * with either. After security/pkg/pki/ca/ca.go.
 */
export class Ca {
  readonly trustDomain: string
  readonly settings: CaSettings
  readonly #runtime: Runtime
  /** A stream of its own: what traffic draws under a seed does not depend on certificates. */
  readonly #chance: Runtime
  readonly #log: (line: string) => void
  readonly #trust: Trust
  readonly #identities = new Map<string, Identity>()
  readonly #rootListeners = new Set<() => void>()
  readonly #identityListeners = new Set<() => void>()
  readonly #deliveries = new Set<Delivery>()
  readonly #timers = new Set<Timer>()
  #bundle: SigningBundle
  /** Whether the CA is a root that was made here, or kept for one: the rotator renews that. */
  readonly selfMade: boolean
  /** Set while new roots spread: certificates that lead to them wait for it. */
  #spreading: Promise<void> | undefined
  /** When all that were signed for others have been renewed, in wall-clock milliseconds. */
  #renewedBy = 0
  #changes = 0
  #closed = false

  /** Throws CaConfigError when a kept root cannot be used. */
  constructor(options: CaOptions) {
    const { runtime, dataDir, warn = () => {} } = options
    this.#runtime = runtime
    this.#chance = runtime.fork('ca')
    this.#log = options.log ?? (() => {})
    this.settings = options.settings ?? caSettings({})
    this.trustDomain = options.trustDomain ?? 'cluster.local'
    const kept = options.bundle ?? (dataDir ? loadKept(dataDir, runtime.wallNow(), warn) : undefined)
    if (kept) this.#bundle = kept
    else {
      const made = makeRoot(runtime, this.settings, this.trustDomain)
      if (dataDir) keep(dataDir, made)
      this.#bundle = made.bundle
    }
    this.selfMade = (options.bundle === undefined || options.generated === true) && this.#bundle.selfSigned
    this.#trust = new Trust(this.#bundle.roots)
  }

  /** PEM of all roots that peers have to trust. */
  get rootPem(): string {
    return this.#trust.pem
  }

  /** Revocation lists that came with the CA; '' for none. */
  get crlPem(): string {
    return this.#bundle.crlPem
  }

  /** What signs now. */
  get bundle(): SigningBundle {
    return this.#bundle
  }

  /**
   * The identity of a SPIFFE id: made once, made anew when half of its lifetime is over. Throws `CaError` when the
   * signer has expired.
   */
  identityFor(spiffeId: string): Identity {
    const now = this.#runtime.wallNow()
    const known = this.#identities.get(spiffeId)
    if (known && now < known.renewAt) return known
    const { publicKey, privateKey } = this.settings.workloadKeys()
    const ttl = this.settings.secretTtl > 0 ? this.settings.secretTtl : this.settings.workloadTtl
    const { leaf, notAfter } = this.#issue(publicKey, [spiffeId], ttl, now)
    const identity = new Identity({
      spiffeId,
      certChainPem: [leaf, ...this.#bundle.chain, this.rootPem].join(''),
      privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
      rootPem: this.rootPem,
      notAfter,
      renewAt: notAfter - this.#grace() * (notAfter - now),
    })
    this.#identities.set(spiffeId, identity)
    return identity
  }

  /**
   * Signs a key that stays with its owner, as for IstioCertificateService; the certificate never outlives the signer.
   * Throws `CaError` for a lifetime above MAX_WORKLOAD_CERT_TTL, without ids, and when the signer has expired.
   */
  sign(request: SignRequest): SignedChain {
    const { maxWorkloadTtl, workloadTtl } = this.settings
    const now = this.#runtime.wallNow()
    const { publicKey, spiffeIds, ttlMs = 0 } = request
    if (ttlMs > maxWorkloadTtl)
      throw new CaError(
        'TTL_ERROR',
        `requested TTL ${goDuration(ttlMs)} is greater than the max allowed TTL ${goDuration(maxWorkloadTtl)}`,
      )
    if (spiffeIds.length === 0) throw new CaError('CSR_ERROR', 'no identity to sign for')
    const { leaf, notAfter } = this.#issue(publicKey, spiffeIds, ttlMs > 0 ? ttlMs : workloadTtl, now)
    this.#trust.vouched(this.#bundle.anchors, notAfter)
    const renewal = now + (notAfter - now) * (1 - this.settings.graceRatio + RENEWAL_SLACK)
    this.#renewedBy = Math.max(this.#renewedBy, Math.min(notAfter, renewal))
    return { certChain: [leaf, ...this.#bundle.chain, this.rootPem] }
  }

  /** A certificate of a server of the control plane, for a key of its own. Throws `CaError` when the signer has expired. */
  signServer(publicKey: KeyObject, names: ServerNames): { certChainPem: string; notAfter: number } {
    const now = this.#runtime.wallNow()
    const { leaf, notAfter } = this.#issue(publicKey, names, this.settings.workloadTtl, now)
    return { certChainPem: [leaf, ...this.#bundle.chain].join(''), notAfter }
  }

  /** Calls `fn` after each change of `rootPem`; returns the way to stop that. */
  onRootChange(fn: () => void): () => void {
    this.#rootListeners.add(fn)
    return () => this.#rootListeners.delete(fn)
  }

  /** Calls `fn` when identities are made anew before their time; returns the way to stop that. */
  onIdentityChange(fn: () => void): () => void {
    this.#identityListeners.add(fn)
    return () => this.#identityListeners.delete(fn)
  }

  /**
   * Who serves `rootPem` and identities to others says here how to find out that these have them: a change of CA waits
   * for it. Returns the way to stop that.
   */
  onDelivery(delivery: Delivery): () => void {
    this.#deliveries.add(delivery)
    return () => this.#deliveries.delete(delivery)
  }

  /** Makes all identities anew, now; resolves when everyone has the new ones. */
  rotate(): Promise<void> {
    this.#identities.clear()
    for (const fn of [...this.#identityListeners]) fn()
    return this.#delivered()
  }

  /**
   * Goes over to another CA, or to other roots; resolves when that is done, up to the dropping of roots that are still
   * needed. A later call takes the place of one that has not come to certificates of its own yet.
   */
  async adopt(bundle: SigningBundle): Promise<void> {
    const change = ++this.#changes
    if (this.#trust.add(bundle.roots)) {
      this.#log(`CA: ${count(this.#trust.roots.length, 'root')} trusted, among them those of ${bundle.subject}`)
      this.#tellRoots()
      const spreading = this.#spread().then(() => {
        if (this.#spreading === spreading) this.#spreading = undefined
      })
      this.#spreading = spreading
    }
    if (bundle.certPem !== this.#bundle.certPem) {
      while (this.#spreading) await this.#spreading
      if (change !== this.#changes || this.#closed) return
    }
    const before = this.#bundle
    this.#bundle = bundle
    if (bundle.crlPem !== before.crlPem) this.#tellRoots()
    if (bundle.certPem !== before.certPem) {
      this.#log(`CA: certificates are signed by ${bundle.subject} from now on`)
      await this.rotate()
    }
    if (this.#trust.roots.every((root) => bundle.roots.includes(root))) return
    await this.#wait(HANDSHAKE_MS)
    if (change !== this.#changes || this.#closed) return
    for (const root of this.#trust.roots) if (!bundle.roots.includes(root)) this.#drop(root)
  }

  /** Ends what waits. */
  close(): void {
    this.#closed = true
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
    this.#rootListeners.clear()
    this.#identityListeners.clear()
    this.#deliveries.clear()
  }

  #issue(
    publicKey: KeyObject,
    names: readonly string[] | ServerNames,
    ttl: number,
    now: number,
  ): { leaf: string; notAfter: number } {
    const { signer, notAfter: end, subject } = this.#bundle
    if (now >= end)
      throw new CaError('CERT_GEN_ERROR', `the CA certificate ${subject} expired on ${new Date(end).toISOString()}`)
    const notAfter = Math.floor(Math.min(now + ttl, end) / 1000) * 1000
    const request = { publicKey, notBefore: validFrom(now) - CLOCK_SKEW, notAfter, serial: serialNumber(this.#chance) }
    const leaf = 'dnsNames' in names ? issueServer(request, names, signer) : issueWorkload(request, names, signer)
    return { leaf, notAfter }
  }

  /** The part of a lifetime that is left at renewal (security/pkg/nodeagent/cache/secretcache.go rotateTime). */
  #grace(): number {
    const { graceRatio, graceRatioJitter } = this.settings
    const jitter = graceRatioJitter * (2 * this.#chance.random() - 1)
    return Math.min(1, Math.max(0, graceRatio + jitter))
  }

  /** Everyone has the roots, whoever is served over a stream and whoever asks again at renewal. */
  async #spread(): Promise<void> {
    const renewedBy = this.#renewedBy
    await this.#delivered()
    const wait = Math.max(HANDSHAKE_MS, renewedBy - this.#runtime.wallNow())
    if (wait > HANDSHAKE_MS)
      this.#log(`CA: proxies outside renew their certificates by ${at(renewedBy)}, and get to know the new roots then`)
    await this.#wait(wait)
  }

  #drop(root: string): void {
    const until = this.#trust.neededUntil(root)
    const wait = until - this.#runtime.wallNow()
    if (wait > 0) {
      this.#log(`CA: a root that is no longer given is trusted until ${at(until)}, when its last certificate runs out`)
      this.#after(wait, () => {
        if (!this.#bundle.roots.includes(root)) this.#drop(root)
      })
      return
    }
    this.#trust.drop(root)
    this.#log(`CA: ${count(this.#trust.roots.length, 'root')} trusted, after one was dropped`)
    this.#tellRoots()
  }

  #tellRoots(): void {
    for (const fn of [...this.#rootListeners]) fn()
  }

  async #delivered(): Promise<void> {
    await new Promise<void>((resolve) => {
      const late = this.#after(DELIVERY_MS, () => {
        this.#log('CA: some proxies have not answered; going on without them')
        resolve()
      })
      Promise.allSettled([...this.#deliveries].map((delivery) => delivery())).then(() => {
        late.cancel()
        this.#timers.delete(late)
        resolve()
      })
    })
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#after(ms, resolve)
    })
  }

  #after(ms: number, fn: () => void): Timer {
    const timer = this.#runtime.after(ms, () => {
      this.#timers.delete(timer)
      fn()
    })
    this.#timers.add(timer)
    return timer
  }
}

/** When an identity is due for renewal, in wall-clock milliseconds. */
export function renewAt(identity: Identity): number {
  return identity.renewAt
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`
}

function at(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')
}

/** As Go prints one of whole seconds: `2160h0m0s`. */
function goDuration(ms: number): string {
  const s = Math.round(ms / 1000)
  const [h, m] = [Math.floor(s / 3600), Math.floor(s / 60) % 60]
  return h > 0 ? `${h}h${m}m${s % 60}s` : m > 0 ? `${m}m${s % 60}s` : `${s}s`
}
