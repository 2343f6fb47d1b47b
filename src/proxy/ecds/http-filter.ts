import type { ExtensionConfigSource } from '#gen/envoy/config/core/v3/config_source_pb.js'
import { ConfigError, type ListenerContext, type ProxyContext } from '../context.ts'
import { HeadersStatus, type HttpFilter, type HttpFilterFactory } from '../filters/filter.ts'
import type { LocalReply } from '../http/local-replies.ts'
import { Discovered } from './discovered.ts'
import type { OpenedConfig } from './source.ts'

/** Where an HTTP filter stands. */
export interface FilterPlace {
  readonly proxy: ProxyContext
  readonly listener: ListenerContext
  /** `http.<stat_prefix>.` */
  readonly statPrefix: string
  readonly proxy100Continue: boolean
  /** The entry's name. */
  readonly name: string
  /** It ends the chain. */
  readonly last: boolean
}

/** The HTTP filters there are. */
export interface FoundFilters {
  known(typeName: string): boolean
  /** Throws ConfigError. */
  build(config: OpenedConfig, place: FilterPlace): HttpFilterFactory
}

/**
 * An HTTP filter whose config comes by ECDS: each request gets the one that is in force when it begins; without any it is
 * answered 500 (source/common/http/filter_chain_helper.h). Throws ConfigError.
 */
export function discoveredHttpFilter(
  config: ExtensionConfigSource,
  disabled: boolean,
  place: FilterPlace,
  filters: FoundFilters,
): HttpFilterFactory & { whenReady(ready: () => void): void } {
  const { name, last, proxy } = place
  if (last && disabled) {
    throw new ConfigError([`Error: the last (terminal) filter (${name}) in the chain cannot be disabled by default.`])
  }
  const discovered = new Discovered<HttpFilterFactory>({
    kind: 'http_filter',
    name,
    config,
    source: proxy.extensions,
    known: filters.known,
    build: (opened) => filters.build(opened, place),
    started: (factory) => factory.whenWarm?.(() => {}),
    close: (factory) => factory.close?.(),
  })
  return {
    create: () => discovered.current?.create() ?? missing,
    terminal: last,
    whenReady: (ready) => discovered.whenReady(ready),
    close: () => discovered.close(),
  }
}

const NO_CONFIG: LocalReply = { status: 500, body: '', details: '', flag: 'NFCF' }

/** Stands where a filter has no config. */
const missing: HttpFilter = {
  decodeHeaders(_head, _end, slot) {
    slot.sendLocalReply(NO_CONFIG)
    return HeadersStatus.STOP
  },
}
