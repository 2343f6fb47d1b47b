import type { Message } from '@bufbuild/protobuf'
import type { ConfigSource } from '#gen/envoy/config/core/v3/config_source_pb.js'

/** What filters whose configs come by ECDS are of: the words are those of the names of their counters. */
export type ExtensionKind = 'http_filter' | 'network_filter' | 'tcp_listener_filter'

/** A config that has come, opened. */
export interface OpenedConfig {
  /** Full name of the type. */
  readonly typeName: string
  readonly message: Message
}

/** A config that a user of it has made a filter of, which is not in force yet. */
export interface Prepared {
  commit(): void
  /** Another user has refused the config. */
  discard(): void
}

/** A place in a filter chain that takes its config from a subscription. */
export interface ExtensionUser {
  /** Throws, with Envoy's words, when configs of a type may not stand here. */
  checkType(typeName: string): void
  /** Makes a filter of a config. Throws ConfigError, with Envoy's words, when it cannot be used here. */
  prepare(config: OpenedConfig): Prepared
  /** There is no such config any more. */
  removed(): void
}

/** A user's hold of a subscription. */
export interface ExtensionHold {
  /** The config that is in force, if one has come. */
  readonly last: OpenedConfig | undefined
  /** Calls `ready` once: when a first config has come, or was refused, or has been waited for long enough. */
  whenReady(ready: () => void): void
  /** The config that is there does not fit a user that came later. */
  conflict(): void
  close(): void
}

/** Configs of extensions by name, as they come by ECDS. */
export interface ExtensionSource {
  /**
   * Subscribes a user to a config, and shares the subscription with all that name the same source. Throws ConfigError for
   * a source that there is none of here; `at` is the path of the field.
   */
  subscribe(kind: ExtensionKind, name: string, source: ConfigSource, at: string, user: ExtensionUser): ExtensionHold
}
