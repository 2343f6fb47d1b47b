import { toBinary } from '@bufbuild/protobuf'
import type { ConfigSource } from '#gen/envoy/config/core/v3/config_source_pb.js'
import type { CertificateValidationContext } from '#gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import type { SdsSecretConfig, Secret } from '#gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { schemaOf } from '../../xds/messages.ts'
import { ConfigError } from '../context.ts'
import { durationMs } from '../http/config.ts'
import { checkTrustedCa, contentOf, readCertificate, type TlsCertificateMaterial } from './secret-material.ts'
import { foldersOf, onMove } from './watched-files.ts'

/** A secret that may not have arrived yet, and may be rotated. */
export interface SecretHandle<T> {
  readonly name: string
  /** It came by SDS. */
  readonly dynamic: boolean
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

/** Takes what a source brings of one secret. */
export interface SecretSink {
  /** Throws ConfigError when it cannot be used; the one before stays then. */
  set(secret: Secret, version: string): void
  /** There is none, or none that can be used. */
  absent(): void
}

/** Sources of secrets besides the bootstrap and ADS. */
export interface SecretSources {
  /** How secrets of a source come. Throws ConfigError for one that cannot be used. */
  check(source: ConfigSource, path: string): 'ads' | 'own'
  /** Brings a secret, and each later version of it, until the returned function is called. */
  open(name: string, source: ConfigSource, sink: SecretSink): () => void
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
  /** Ends what brings it. */
  stop: (() => void) | undefined
  /** Folders of the files that it refers to, and what these held. */
  folders: readonly string[] = []
  unwatch: (() => void) | undefined
  content = ''
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

  constructor(slot: Slot, released: () => void, read: (slot: Slot) => T | undefined, fetchTimeout = 0) {
    this.fetchTimeout = fetchTimeout
    this.slot = slot
    this.read = read
    this.released = released
  }
  get name(): string {
    return this.slot.name
  }
  get dynamic(): boolean {
    return this.slot.dynamic
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
  /** Those of sources of their own, by source and name. */
  private readonly own = new Map<string, Slot>()
  private readonly wantedListeners = new Set<(names: readonly string[]) => void>()
  private readonly sources: SecretSources
  private readonly log: (line: string) => void

  /** Without `sources` there is ADS alone. `log` hears of files that could not be read again. */
  constructor(wallNow: () => number, sources: SecretSources = ADS_ALONE, log: (line: string) => void = () => {}) {
    this.wallNow = wallNow
    this.sources = sources
    this.log = log
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
    this.bring(this.dynamicSlot(secret.name), secret, version)
  }

  private bring(slot: Slot, secret: Secret, version: string): void {
    this.fill(slot, secret, version, `secret ${secret.name}`)
    this.watch(slot, secret)
    this.tell(slot)
  }

  /** Files that a secret refers to are read again when something in their folders is replaced (sds_api.cc onWatchUpdate). */
  private watch(slot: Slot, secret: Secret): void {
    const folders = foldersOf(secret)
    slot.content = folders.length > 0 ? contentOf(secret) : ''
    if (folders.join('\0') === slot.folders.join('\0')) return
    slot.unwatch?.()
    slot.folders = folders
    const reload = () => {
      if (slot.secret === undefined || contentOf(slot.secret) === slot.content) return
      try {
        this.bring(slot, slot.secret, slot.version)
      } catch (error) {
        this.log(`secret ${slot.name}: its files could not be used, those before stay: ${(error as Error).message}`)
      }
    }
    const stops: (() => void)[] = []
    slot.unwatch = () => {
      for (const stop of stops) stop()
    }
    for (const folder of folders) {
      try {
        stops.push(onMove(folder, undefined, reload))
      } catch {
        this.log(`secret ${slot.name}: ${folder} cannot be watched: its files are not read again`)
      }
    }
  }

  /**
   * The server has no SDS secret of that name (any more). One that is in use stays so
   * (source/common/secret/sds_api.cc onConfigUpdate).
   */
  absent(name: string): void {
    const slot = this.dynamic.get(name)
    if (slot) this.lacks(slot)
  }

  private lacks(slot: Slot): void {
    if (slot.secret !== undefined) return
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
    return [...this.fixed.values(), ...this.dynamic.values(), ...this.own.values()].map(
      ({ name, secret, version, updated, dynamic }) => ({
        name,
        secret,
        version,
        updated,
        dynamic,
      }),
    )
  }

  private handle<T>(
    config: SdsSecretConfig,
    path: string,
    kind: 'tlsCertificate' | 'validationContext',
    read: (slot: Slot) => T | undefined,
  ): SecretHandle<T> {
    const { sdsConfig } = config
    if (sdsConfig !== undefined) {
      const timeout = durationMs(sdsConfig.initialFetchTimeout) ?? DEFAULT_FETCH_TIMEOUT_MS
      const way = this.sources.check(sdsConfig, `${path}.sds_config`)
      if (way === 'own') return new Handle(...this.ownSlot(config.name, sdsConfig), read, timeout)
      const slot = this.dynamicSlot(config.name)
      slot.handles++
      if (slot.handles === 1) this.announce()
      const released = () => {
        slot.handles--
        if (slot.handles > 0) return
        slot.unwatch?.()
        this.dynamic.delete(slot.name)
        this.announce()
      }
      return new Handle(slot, released, read, timeout)
    }
    const slot = this.fixed.get(config.name)
    if (slot === undefined) throw new ConfigError([`${path}: Unknown static secret: ${config.name}`])
    if (slot.secret?.type.case !== kind) throw new ConfigError([`${path}: secret ${config.name} is of another kind`])
    return new Handle(slot, () => {}, read)
  }

  /** The slot of a source of its own: who asks for the same name of the same source shares it. */
  private ownSlot(name: string, source: ConfigSource): [slot: Slot, released: () => void] {
    const key = `${name}\0${Buffer.from(toBinary(schemaOf(source.$typeName), source)).toString('base64')}`
    let slot = this.own.get(key)
    if (slot === undefined) {
      const made = new Slot(name, true)
      slot = made
      this.own.set(key, made)
      made.stop = this.sources.open(name, source, {
        set: (secret, version) => this.bring(made, secret, version),
        absent: () => this.lacks(made),
      })
    }
    const held = slot
    held.handles++
    return [
      held,
      () => {
        if (--held.handles > 0) return
        held.unwatch?.()
        held.stop?.()
        this.own.delete(key)
      },
    ]
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

const ADS_ALONE: SecretSources = {
  check(source, path) {
    if (source.configSourceSpecifier.case !== 'ads') throw new ConfigError([`${path}: only ads is supported`])
    return 'ads'
  },
  open: () => () => {},
}
