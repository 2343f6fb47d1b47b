import type { Config } from '#gen/envoy/extensions/filters/http/set_metadata/v3/set_metadata_pb.js'
import { ConfigError } from '../context.ts'
import type { FilterSlot } from '../http/filter-slot.ts'
import type { RequestHead } from '../http/headers.ts'
import type { Counter } from '../observe/stats.ts'
import { HeadersStatus, type HttpFilter, type HttpFilterKind } from './filter.ts'

/** What goes into one namespace. */
interface Entry {
  readonly namespace: string
  readonly value: Readonly<Record<string, unknown>>
  readonly overwrites: boolean
}

function compile(config: Config): Entry[] {
  const entries: Entry[] = []
  // The old fields, which always add to what is there.
  if (config.value !== undefined && config.metadataNamespace !== '')
    entries.push({ namespace: config.metadataNamespace, value: config.value, overwrites: true })
  config.metadata.forEach((entry, i) => {
    if (entry.typedValue !== undefined && entry.value === undefined)
      throw new ConfigError([`metadata[${i}].typed_value: not supported`])
    if (entry.value !== undefined)
      entries.push({ namespace: entry.metadataNamespace, value: entry.value, overwrites: entry.allowOverwrite })
  })
  return entries
}

/** Adds values as Envoy's StructUtil::update does: structs key by key, lists by appending, all else by replacing. */
function update(into: Record<string, unknown>, from: Readonly<Record<string, unknown>>): Record<string, unknown> {
  for (const [key, value] of Object.entries(from)) {
    const old = into[key]
    if (isStruct(value) && isStruct(old)) into[key] = update({ ...old }, value)
    else if (Array.isArray(value) && Array.isArray(old)) into[key] = [...old, ...structuredClone(value)]
    else into[key] = structuredClone(value)
  }
  return into
}

const isStruct = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Keeps nothing of an exchange: one for all of them. */
class SetMetadataFilter implements HttpFilter {
  private readonly entries: readonly Entry[]
  private readonly denied: Counter

  constructor(entries: readonly Entry[], denied: Counter) {
    this.entries = entries
    this.denied = denied
  }

  decodeHeaders(_head: RequestHead, _end: boolean, { info }: FilterSlot): HeadersStatus {
    for (const { namespace, value, overwrites } of this.entries) {
      info.dynamicMetadata ??= new Map()
      const old = info.dynamicMetadata.get(namespace)
      if (old === undefined || overwrites) info.dynamicMetadata.set(namespace, update({ ...old }, value))
      else this.denied.inc()
    }
    return HeadersStatus.CONTINUE
  }
}

/**
 * `envoy.filters.http.set_metadata`: puts fixed values into the dynamic metadata
 * (source/extensions/filters/http/set_metadata/set_metadata_filter.cc).
 */
export const setMetadataFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.set_metadata.v3.Config',
  name: 'envoy.filters.http.set_metadata',
  build(message, { proxy, statPrefix }) {
    const denied = proxy.stats.counter(`${statPrefix}set_metadata.overwrite_denied`)
    const filter = new SetMetadataFilter(compile(message as Config), denied)
    return { create: () => filter }
  },
}
