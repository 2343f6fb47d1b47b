import tls from 'node:tls'
import type {
  CertificateValidationContext,
  TlsCertificate,
} from '#gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import type { SdsSecretConfig, Secret } from '#gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { ConfigError } from '../context.ts'
import { durationMs } from '../http/config.ts'
import { readDataSource } from './data-source.ts'

/** A certificate with its key, ready for `tls.createSecureContext`. */
export interface TlsCertificateMaterial {
  /** Leaf first, then intermediates; PEM. Undefined with `pfx`. */
  readonly cert: string | undefined
  readonly key: string | undefined
  readonly pfx: Buffer | undefined
  readonly passphrase: string | undefined
}

/** A secret that may not have arrived yet, and may be rotated. */
export interface SecretHandle<T> {
  readonly name: string
  readonly current: T | undefined
  /**
   * The server has said that there is no such secret, or sent one that cannot be used: who waits for it goes on without,
   * unless told to wait for ever.
   */
  readonly absent: boolean
  /** ms to wait for the first version; 0 = for ever. */
  readonly fetchTimeout: number
  /** Calls `fn` after each change, and when it is known to be absent. */
  onChange(fn: () => void): void
  /** Drops all of this handle's callbacks. */
  close(): void
}

/** Where TLS contexts get their secrets from: static ones of the bootstrap, and SDS. */
export interface SecretProvider {
  /** Throws ConfigError when `config` names a static secret that does not exist, or another kind of secret. */
  certificate(config: SdsSecretConfig, path: string): SecretHandle<TlsCertificateMaterial>
  validation(config: SdsSecretConfig, path: string): SecretHandle<CertificateValidationContext>
}

/** One secret as the admin interface shows it. */
export interface SecretEntry {
  readonly name: string
  readonly secret: Secret | undefined
  readonly version: string
  /** Wall clock, ms. */
  readonly updated: number
  readonly dynamic: boolean
}

/** initial_fetch_timeout when a source states none (source/common/config/utility.cc). */
const DEFAULT_FETCH_TIMEOUT_MS = 15_000

class Slot {
  readonly name: string
  readonly dynamic: boolean
  secret: Secret | undefined
  certificate: TlsCertificateMaterial | undefined
  absent = false
  version = ''
  updated = 0
  handles = 0
  readonly listeners = new Set<() => void>()
  constructor(name: string, dynamic: boolean) {
    this.name = name
    this.dynamic = dynamic
  }
}

class Handle<T> implements SecretHandle<T> {
  private readonly slot: Slot
  private readonly read: (slot: Slot) => T | undefined
  private readonly released: () => void
  readonly fetchTimeout: number
  private readonly mine: (() => void)[] = []
  private open = true

  constructor(slot: Slot, read: (slot: Slot) => T | undefined, released: () => void, fetchTimeout = 0) {
    this.fetchTimeout = fetchTimeout
    this.slot = slot
    this.read = read
    this.released = released
  }
  get name(): string {
    return this.slot.name
  }
  get current(): T | undefined {
    return this.read(this.slot)
  }
  get absent(): boolean {
    return this.slot.absent && this.fetchTimeout > 0
  }
  onChange(fn: () => void): void {
    // Wrapped: two callbacks that are the same function are still two.
    const own = () => fn()
    this.mine.push(own)
    this.slot.listeners.add(own)
  }
  close(): void {
    if (!this.open) return
    this.open = false
    for (const fn of this.mine) this.slot.listeners.delete(fn)
    this.released()
  }
}

/**
 * The secrets of one proxy (source/common/secret/secret_manager_impl.cc). SDS secrets are asked for by name:
 * whoever speaks xDS follows `wanted` and brings them with `set`.
 */
export class SecretStore implements SecretProvider {
  private readonly wallNow: () => number
  private readonly fixed = new Map<string, Slot>()
  private readonly dynamic = new Map<string, Slot>()
  private readonly wantedListeners = new Set<(names: readonly string[]) => void>()

  constructor(wallNow: () => number) {
    this.wallNow = wallNow
  }

  /** Adds a secret of the bootstrap. Throws ConfigError when it is broken or there twice. */
  addStatic(secret: Secret, path: string): void {
    if (this.fixed.has(secret.name)) throw new ConfigError([`${path}: duplicate static secret ${secret.name}`])
    const slot = new Slot(secret.name, false)
    this.fill(slot, secret, '', path)
    this.fixed.set(secret.name, slot)
  }

  certificate(config: SdsSecretConfig, path: string): SecretHandle<TlsCertificateMaterial> {
    return this.handle(config, path, 'tlsCertificate', (slot) => slot.certificate)
  }

  validation(config: SdsSecretConfig, path: string): SecretHandle<CertificateValidationContext> {
    return this.handle(config, path, 'validationContext', (slot) =>
      slot.secret?.type.case === 'validationContext' ? slot.secret.type.value : undefined,
    )
  }

  /** Names of the SDS secrets in use, sorted. */
  get wanted(): readonly string[] {
    return [...this.dynamic.values()]
      .filter((s) => s.handles > 0)
      .map((s) => s.name)
      .sort()
  }

  /** Calls `fn` whenever `wanted` changes. */
  onWanted(fn: (names: readonly string[]) => void): void {
    this.wantedListeners.add(fn)
  }

  /** Takes an SDS secret. Throws ConfigError when it is broken; the one before stays then. */
  set(secret: Secret, version: string): void {
    const slot = this.dynamicSlot(secret.name)
    this.fill(slot, secret, version, `secret ${secret.name}`)
    this.tell(slot)
  }

  /**
   * The server has no SDS secret of that name (any more). One that is in use stays so
   * (source/common/secret/sds_api.cc onConfigUpdate).
   */
  absent(name: string): void {
    const slot = this.dynamic.get(name)
    if (!slot || slot.secret !== undefined) return
    slot.absent = true
    this.tell(slot)
  }

  private tell(slot: Slot): void {
    const errors: string[] = []
    for (const fn of [...slot.listeners]) {
      try {
        fn()
      } catch (error) {
        // One user that cannot take it must not keep it from the others.
        if (!(error instanceof ConfigError)) throw error
        errors.push(...error.errors)
      }
    }
    if (errors.length > 0) throw new ConfigError(errors)
  }

  /** Every secret, for admin. */
  entries(): SecretEntry[] {
    return [...this.fixed.values(), ...this.dynamic.values()].map(({ name, secret, version, updated, dynamic }) => ({
      name,
      secret,
      version,
      updated,
      dynamic,
    }))
  }

  private handle<T>(
    config: SdsSecretConfig,
    path: string,
    kind: 'tlsCertificate' | 'validationContext',
    read: (slot: Slot) => T | undefined,
  ): SecretHandle<T> {
    const source = config.sdsConfig?.configSourceSpecifier.case
    if (source === 'path' || source === 'pathConfigSource')
      throw new ConfigError([`${path}.sds_config.path_config_source: secrets from files are not supported`])
    if (config.sdsConfig !== undefined) {
      const slot = this.dynamicSlot(config.name)
      slot.handles++
      if (slot.handles === 1) this.announce()
      const released = () => {
        slot.handles--
        if (slot.handles > 0) return
        this.dynamic.delete(slot.name)
        this.announce()
      }
      const timeout = durationMs(config.sdsConfig.initialFetchTimeout) ?? DEFAULT_FETCH_TIMEOUT_MS
      return new Handle(slot, read, released, timeout)
    }
    const slot = this.fixed.get(config.name)
    if (slot === undefined) throw new ConfigError([`${path}: Unknown static secret: ${config.name}`])
    if (slot.secret?.type.case !== kind) throw new ConfigError([`${path}: secret ${config.name} is of another kind`])
    return new Handle(slot, read, () => {})
  }

  private announce(): void {
    const names = this.wanted
    for (const fn of this.wantedListeners) fn(names)
  }

  private dynamicSlot(name: string): Slot {
    let slot = this.dynamic.get(name)
    if (slot === undefined) {
      slot = new Slot(name, true)
      this.dynamic.set(name, slot)
    }
    return slot
  }

  private fill(slot: Slot, secret: Secret, version: string, path: string): void {
    const certificate =
      secret.type.case === 'tlsCertificate' ? readCertificate(secret.type.value, `${path}.tls_certificate`) : undefined
    if (secret.type.case === 'validationContext') checkTrustedCa(secret.type.value, `${path}.validation_context`)
    if (secret.type.case === 'sessionTicketKeys') throw new ConfigError([`${path}.session_ticket_keys: not supported`])
    slot.secret = secret
    slot.absent = false
    slot.certificate = certificate
    slot.version = version
    slot.updated = this.wallNow()
  }
}

/** Reads and checks a certificate and its key. Throws ConfigError (source/common/tls/context_impl.cc texts). */
export function readCertificate(config: TlsCertificate, path: string): TlsCertificateMaterial {
  const errors: string[] = []
  if (config.privateKeyProvider) errors.push(`${path}.private_key_provider: not supported`)
  if (config.watchedDirectory) errors.push(`${path}.watched_directory: not supported`)
  if (config.ocspStaple) errors.push(`${path}.ocsp_staple: not supported`)
  const pfx = readDataSource(config.pkcs12, `${path}.pkcs12`, errors)
  const cert = readDataSource(config.certificateChain, `${path}.certificate_chain`, errors)?.toString('utf8')
  const key = readDataSource(config.privateKey, `${path}.private_key`, errors)?.toString('utf8')
  const passphrase = readDataSource(config.password, `${path}.password`, errors)?.toString('utf8')
  if (pfx === undefined && errors.length === 0) {
    if (cert === undefined) errors.push(`${path}: No certificate chain specified`)
    if (key === undefined) errors.push(`${path}: No private key specified`)
  }
  if (errors.length > 0) throw new ConfigError(errors)
  const material = { cert, key, pfx, passphrase }
  try {
    tls.createSecureContext(material)
  } catch (error) {
    throw new ConfigError([`${path}: Failed to load certificate or private key: ${(error as Error).message}`])
  }
  return material
}

function checkTrustedCa(config: CertificateValidationContext, path: string): void {
  const errors: string[] = []
  const ca = readDataSource(config.trustedCa, `${path}.trusted_ca`, errors)
  if (ca !== undefined) {
    try {
      tls.createSecureContext({ ca: ca.toString('utf8') })
    } catch {
      errors.push(`${path}.trusted_ca: Failed to load trusted CA certificates`)
    }
  }
  if (errors.length > 0) throw new ConfigError(errors)
}
