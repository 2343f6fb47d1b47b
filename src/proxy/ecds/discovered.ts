import type { Any } from '@bufbuild/protobuf/wkt'
import type { ExtensionConfigSource } from '#gen/envoy/config/core/v3/config_source_pb.js'
import { typeNameOf } from '../../xds/messages.ts'
import { problemText } from '../../xds/problem.ts'
import { configTypeName, resolveTypedConfig } from '../../xds/typed-config.ts'
import { ConfigError } from '../context.ts'
import type { ExtensionHold, ExtensionKind, ExtensionSource, ExtensionUser, OpenedConfig, Prepared } from './source.ts'

/** How filters of one kind are made for one place of a chain. */
export interface DiscoveredOptions<T> {
  readonly kind: ExtensionKind
  /** The entry's name, and the resource's. */
  readonly name: string
  readonly config: ExtensionConfigSource
  /** Undefined: nobody here gets extension configs. */
  readonly source: ExtensionSource | undefined
  /** Whether there is such a filter. */
  known(typeName: string): boolean
  /** Makes the filter. Throws ConfigError. */
  build(config: OpenedConfig): T
  /** The filter is in force from now on. */
  started?(filter: T): void
  /** `current` has changed. */
  changed?(): void
  /** The filter is not used any more. */
  close(filter: T): void
}

/** How Envoy says what is wrong with a place; it looks at those of network filters less. */
const WORDS: Readonly<Partial<Record<ExtensionKind, { config: string; factory: string }>>> = {
  http_filter: { config: 'filter config', factory: 'factory' },
  tcp_listener_filter: { config: 'listener filter config', factory: 'listener factory' },
}

/**
 * A filter of a chain whose config comes by itself, and may change without the chain
 * (source/common/filter/config_discovery_impl.h, DynamicFilterConfigProviderImpl).
 */
export class Discovered<T> implements ExtensionUser {
  /** The filter in force: of the last config that came, or else the default; undefined while there is neither. */
  current: T | undefined
  /** The chain need not wait for the first config. */
  private readonly immediate: boolean
  private readonly options: DiscoveredOptions<T>
  private readonly types: ReadonlySet<string>
  private readonly fallback: OpenedConfig | undefined
  private readonly hold: ExtensionHold
  private closed = false

  /** Throws ConfigError, with Envoy's words. */
  constructor(options: DiscoveredOptions<T>) {
    const { kind, name, config, source } = options
    this.options = options
    this.immediate = config.applyDefaultConfigWithoutWarming
    this.types = new Set(config.typeUrls.map(typeNameOf))
    const words = WORDS[kind]
    if (words) {
      if (this.immediate && !config.defaultConfig)
        throw new ConfigError([`Error: ${words.config} ${name} applied without warming but has no default config.`])
      const unknown = [...this.types].find((type) => !options.known(type))
      if (unknown !== undefined)
        throw new ConfigError([`Error: no ${words.factory} found for a required type URL ${unknown}.`])
    }
    this.fallback = config.defaultConfig && this.openDefault(config.defaultConfig)
    const at = 'config_discovery.config_source'
    if (!source || !config.configSource) throw new ConfigError([`${at}: there is none`])
    this.hold = source.subscribe(kind, name, config.configSource, at, this)
    try {
      this.begin()
    } catch (error) {
      this.hold.close()
      throw error
    }
  }

  private openDefault(any: Any): OpenedConfig {
    const { name, known } = this.options
    const typeName = configTypeName(any)
    if (!known(typeName)) {
      throw new ConfigError([
        `Error: cannot find filter factory ${name} for default filter configuration with type URL ${any.typeUrl}.`,
      ])
    }
    this.checkType(typeName)
    const { message, problems } = resolveTypedConfig(any)
    if (!message || problems.length > 0) {
      throw new ConfigError(problems.map((problem) => `config_discovery.default_config: ${problemText(problem)}`))
    }
    return { typeName, message }
  }

  /** What has come for others before is in force at once, unless it may not stand here. */
  private begin(): void {
    const { last } = this.hold
    if (last && !this.current) {
      try {
        this.checkType(last.typeName)
        this.prepare(last).commit()
      } catch {
        // It fits whoever asked for it first, and not this filter.
        this.hold.conflict()
      }
    }
    if (!this.current && this.fallback) this.prepare(this.fallback).commit()
  }

  checkType(typeName: string): void {
    if (this.types.has(typeName)) return
    throw new ConfigError([`Error: filter config has type URL ${typeName} but expect ${[...this.types].join(', ')}.`])
  }

  prepare(config: OpenedConfig): Prepared {
    const { options } = this
    if (!options.known(config.typeName)) {
      throw new ConfigError([
        `Didn't find a registered implementation for '${options.name}' with type URL: '${config.typeName}'`,
      ])
    }
    const made = options.build(config)
    return { commit: () => this.replace(made), discard: () => options.close(made) }
  }

  removed(): void {
    if (!this.fallback) this.replace(undefined)
    else this.prepare(this.fallback).commit()
  }

  private replace(next: T | undefined): void {
    const before = this.current
    this.current = next
    this.options.changed?.()
    if (next !== undefined) this.options.started?.(next)
    if (before !== undefined) this.options.close(before)
  }

  /** Calls `ready` once the chain may serve: a first config has come or has been waited for long enough. */
  whenReady(ready: () => void): void {
    if (this.immediate) ready()
    else this.hold.whenReady(ready)
  }

  /** The chain is gone. */
  close(): void {
    if (this.closed) return
    this.closed = true
    this.hold.close()
    if (this.current !== undefined) this.options.close(this.current)
  }
}

/** Calls `ready` once all of them are; at once when there are none. */
export function whenAllReady(all: readonly { whenReady(ready: () => void): void }[], ready: () => void): void {
  let missing = all.length
  if (missing === 0) {
    ready()
    return
  }
  for (const one of all) {
    one.whenReady(() => {
      missing--
      if (missing === 0) ready()
    })
  }
}
