import type { Config } from '#gen/envoy/extensions/filters/http/header_to_metadata/v3/header_to_metadata_pb.js'
import { ConfigError, type ProxyContext } from '../../context.ts'
import { Problems } from '../../http/config.ts'
import type { FilterSlot } from '../../http/filter-slot.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../../http/headers.ts'
import { HeadersStatus, type HttpFilter, type HttpFilterKind } from '../filter.ts'
import { type Found, Rule } from './rule.ts'
import { HeaderToMetadataStats } from './stats.ts'

/** A compiled config, of the filter or of a route. */
class Rules {
  readonly request: readonly Rule[]
  readonly response: readonly Rule[]
  private readonly stats: HeaderToMetadataStats | undefined

  constructor(config: Config, proxy: ProxyContext) {
    const problems = new Problems()
    const compile = (rules: Config['requestRules'], field: string): Rule[] =>
      rules.flatMap((rule, i) => problems.collect(`${field}[${i}]`, () => new Rule(rule)) ?? [])
    this.request = compile(config.requestRules, 'request_rules')
    this.response = compile(config.responseRules, 'response_rules')
    problems.throwIfAny()
    this.stats = config.statPrefix === '' ? undefined : new HeaderToMetadataStats(proxy.stats, config.statPrefix)
  }

  applyToRequest(head: HeaderMap, slot: FilterSlot): void {
    const { stats } = this
    this.apply(this.request, head, slot, stats && [stats.requestRules, stats.requestAdded, stats.requestMissing])
  }

  applyToResponse(head: HeaderMap, slot: FilterSlot): void {
    const { stats } = this
    this.apply(this.response, head, slot, stats && [stats.responseRules, stats.responseAdded, stats.responseMissing])
  }

  private apply(
    rules: readonly Rule[],
    head: HeaderMap,
    slot: FilterSlot,
    counted: readonly { inc(): void }[] | undefined,
  ): void {
    if (rules.length === 0) return
    const found: Found = new Map()
    const added = () => counted?.[1]?.inc()
    for (const rule of rules) {
      counted?.[0]?.inc()
      if (!rule.apply(head, found, this.stats, added)) counted?.[2]?.inc()
    }
    for (const [namespace, values] of found) slot.setMetadata(namespace, values)
  }
}

/** Keeps nothing of an exchange: one for all of them. */
class HeaderToMetadataFilter implements HttpFilter {
  private readonly rules: Rules

  constructor(rules: Rules) {
    this.rules = rules
  }

  decodeHeaders(head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    // What is in force for the request is for its response, too.
    const rules = (slot.perRoute()?.config as Rules | undefined) ?? this.rules
    slot.memory = rules
    rules.applyToRequest(head, slot)
    return HeadersStatus.CONTINUE
  }

  encodeHeaders(head: ResponseHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const rules = (slot.memory ?? slot.perRoute()?.config ?? this.rules) as Rules
    rules.applyToResponse(head, slot)
    return HeadersStatus.CONTINUE
  }
}

const TYPE = 'envoy.extensions.filters.http.header_to_metadata.v3.Config'

/** `envoy.filters.http.header_to_metadata`: puts values of headers and cookies into the dynamic metadata. */
export const headerToMetadataFilter: HttpFilterKind = {
  type: TYPE,
  name: 'envoy.filters.http.header_to_metadata',
  build(message, { proxy }) {
    const filter = new HeaderToMetadataFilter(new Rules(message as Config, proxy))
    return { create: () => filter }
  },
  perRouteType: TYPE,
  buildPerRoute(message, _runtime, proxy) {
    const config = message as Config
    if (config.requestRules.length + config.responseRules.length === 0)
      throw new ConfigError([
        'header_to_metadata_filter: Per filter configs must at least specify either request or response rules',
      ])
    return new Rules(config, proxy)
  },
}
