import type { Any } from '@bufbuild/protobuf/wkt'
import type { TypedExtensionConfig } from '#gen/envoy/config/core/v3/extension_pb.js'
import type { Runtime, Timer } from '../../runtime.ts'
import { problemText } from '../../xds/problem.ts'
import { sameMessage } from '../../xds/same-message.ts'
import { configTypeName, resolveTypedConfig } from '../../xds/typed-config.ts'
import { ConfigError } from '../context.ts'
import type { Counter, Gauge, StatsStore } from '../observe/stats.ts'
import type { ExtensionHold, ExtensionKind, ExtensionUser, OpenedConfig, Prepared } from './source.ts'

/** A config that is in force, with the version that brought it. */
interface Held extends OpenedConfig {
  readonly any: Any
  readonly version: string
  /** Wall clock, ms. */
  readonly updated: number
}

/** What a subscription is made with. */
export interface SubscriptionOptions {
  readonly kind: ExtensionKind
  readonly name: string
  readonly runtime: Runtime
  readonly stats: StatsStore
  /** ms to wait for the first config; 0: for ever. */
  readonly initialFetchTimeout: number
  /** Nobody uses it any more. */
  readonly onUnused: () => void
}

/**
 * The subscription to one config (source/common/filter/config_discovery_impl.cc, FilterConfigSubscription): every user of
 * the name gets what comes, all or none of them.
 */
export class ExtensionSubscription {
  readonly kind: ExtensionKind
  readonly name: string
  private readonly options: SubscriptionOptions
  private readonly users = new Set<ExtensionUser>()
  private readonly counters: Readonly<Record<(typeof COUNTERS)[number], Counter>>
  private readonly updateTime: Gauge
  private held: Held | undefined
  private readonly waiting: (() => void)[] = []
  private ready = false
  private timer: Timer | undefined

  constructor(options: SubscriptionOptions) {
    this.options = options
    this.kind = options.kind
    this.name = options.name
    const scope = `extension_config_discovery.${options.kind}.${options.name}`
    const entries = COUNTERS.map((name) => [name, options.stats.counter(`${scope}.${name}`)] as const)
    this.counters = Object.fromEntries(entries) as Record<(typeof COUNTERS)[number], Counter>
    this.updateTime = options.stats.gauge(`${scope}.update_time`)
    if (options.initialFetchTimeout > 0) {
      this.timer = options.runtime.after(options.initialFetchTimeout, () => {
        this.timer = undefined
        this.counters.init_fetch_timeout.inc()
        this.failed()
      })
    }
  }

  /** The config that is in force, for whoever shows it. */
  get current():
    | (OpenedConfig & { readonly any: Any; readonly version: string; readonly updated: number })
    | undefined {
    return this.held
  }

  /** A response was asked for. */
  attempted(): void {
    this.counters.update_attempt.inc()
  }

  hold(user: ExtensionUser): ExtensionHold {
    this.users.add(user)
    const lastOf = () => this.held
    return {
      get last() {
        return lastOf()
      },
      whenReady: (ready) => {
        if (this.ready) ready()
        else this.waiting.push(ready)
      },
      conflict: () => this.counters.config_conflict.inc(),
      close: () => {
        if (!this.users.delete(user) || this.users.size > 0) return
        this.timer?.cancel()
        this.becomeReady()
        this.options.onUnused()
      },
    }
  }

  /**
   * Takes a config. Throws, with Envoy's words, when a user refuses it; all users then go on with what they have. One that
   * says what is there already changes nothing.
   */
  set(config: TypedExtensionConfig, version: string): void {
    this.timer?.cancel()
    if (config.name !== this.name)
      throw new ConfigError([`Unexpected resource name in ExtensionConfigDS response: ${config.name}`])
    const any = config.typedConfig
    if (!any) throw new ConfigError([`${this.name}: typed_config: value is required`])
    if (!(this.held && sameMessage(this.held.any, any))) {
      const opened = this.open(any)
      for (const prepared of this.prepare(opened)) prepared.commit()
      this.held = { ...opened, any, version, updated: this.options.runtime.wallNow() }
      this.counters.config_reload.inc()
    }
    this.accepted()
  }

  private open(any: Any): OpenedConfig {
    const typeName = configTypeName(any)
    for (const user of this.users) user.checkType(typeName)
    const { message, problems } = resolveTypedConfig(any)
    if (!message) {
      throw new ConfigError([`Didn't find a registered implementation for '${this.name}' with type URL: '${typeName}'`])
    }
    if (problems.length > 0) throw new ConfigError(problems.map((problem) => `${this.name}: ${problemText(problem)}`))
    return { typeName, message }
  }

  private prepare(opened: OpenedConfig): Prepared[] {
    const done: Prepared[] = []
    try {
      for (const user of this.users) done.push(user.prepare(opened))
    } catch (error) {
      for (const prepared of done) prepared.discard()
      const why = error instanceof Error ? error.message : String(error)
      throw why.includes(this.name) ? error : new ConfigError([`${this.name}: ${why}`])
    }
    return done
  }

  private accepted(): void {
    this.counters.update_success.inc()
    this.updateTime.set(this.options.runtime.wallNow())
    this.becomeReady()
  }

  /** There is no such config: users go back to their defaults. Whoever waits for one has waited long enough. */
  remove(): void {
    this.timer?.cancel()
    if (this.held) {
      this.held = undefined
      for (const user of [...this.users]) user.removed()
      this.counters.config_reload.inc()
    }
    this.accepted()
  }

  /** A response was refused, or could not be read. */
  rejected(): void {
    this.timer?.cancel()
    this.counters.update_rejected.inc()
    this.failed()
  }

  /** Nothing could be got. */
  unreachable(): void {
    this.counters.update_failure.inc()
  }

  private failed(): void {
    this.counters.config_fail.inc()
    this.becomeReady()
  }

  private becomeReady(): void {
    if (this.ready) return
    this.ready = true
    for (const ready of this.waiting.splice(0)) ready()
  }
}

const COUNTERS = [
  'config_conflict',
  'config_fail',
  'config_reload',
  'init_fetch_timeout',
  'update_attempt',
  'update_failure',
  'update_rejected',
  'update_success',
] as const
