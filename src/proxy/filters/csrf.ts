import type { CsrfPolicy as CsrfPolicyProto } from '#gen/envoy/extensions/filters/http/csrf/v3/csrf_pb.js'
import type { ProxyContext } from '../context.ts'
import { Problems } from '../http/config.ts'
import type { FilterSlot } from '../http/filter-slot.ts'
import { headerName, type RequestHead } from '../http/headers.ts'
import { H } from '../http/names.ts'
import type { Fraction } from '../http/router/fraction.ts'
import { compileStringMatcher, type StringMatcher } from '../http/router/string-matcher.ts'
import type { Counter, StatsStore } from '../observe/stats.ts'
import { runtimeFraction } from '../runtime-values.ts'
import { HeadersStatus, type HttpFilter, type HttpFilterKind } from './filter.ts'

const REFERER = headerName('referer')

/** Methods that change something. */
const MODIFYING: ReadonlySet<string> = new Set(['POST', 'PUT', 'DELETE', 'PATCH'])

const INVALID_ORIGIN = { status: 403, body: 'Invalid origin', details: 'csrf_origin_mismatch', flag: undefined }

/** A compiled `CsrfPolicy`, of the filter or of a route. */
interface CsrfPolicy {
  readonly enabled: Fraction
  readonly shadow: Fraction
  readonly additional: readonly StringMatcher[]
}

function compilePolicy(config: CsrfPolicyProto, proxy: ProxyContext): CsrfPolicy {
  const problems = new Problems()
  const additional = config.additionalOrigins.flatMap(
    (origin, i) => problems.collect(`additional_origins[${i}]`, () => compileStringMatcher(origin)) ?? [],
  )
  problems.throwIfAny()
  return {
    enabled: runtimeFraction(config.filterEnabled, 0, proxy.runtimeValues),
    shadow: runtimeFraction(config.shadowEnabled, 0, proxy.runtimeValues),
    additional,
  }
}

/**
 * Host and port of an absolute URL, as they stand in it; what is no such URL counts as a whole
 * (source/common/http/utility.cc Url::initialize).
 */
function hostAndPort(url: string): string {
  const authority = /^[a-z]+:\/\/([^/?#]*)/i.exec(url)?.[1] ?? ''
  const host = authority.slice(authority.lastIndexOf('@') + 1)
  return /^(?:\[[0-9a-f:.]+\]|[\w.~!$&'()*+,;=%-]+)(?::\d{1,5})?$/i.test(host) ? host : url
}

function sourceOrigin(head: RequestHead): string {
  const origin = head.get(H.origin) ?? ''
  if (origin === 'null') return ''
  return hostAndPort(origin) || hostAndPort(head.get(REFERER) ?? '')
}

/** Keeps nothing of an exchange: one for all of them. */
class CsrfFilter implements HttpFilter {
  private readonly policy: CsrfPolicy
  private readonly missing: Counter
  private readonly invalid: Counter
  private readonly valid: Counter

  constructor(policy: CsrfPolicy, stats: StatsStore, prefix: string) {
    this.policy = policy
    this.missing = stats.counter(`${prefix}csrf.missing_source_origin`)
    this.invalid = stats.counter(`${prefix}csrf.request_invalid`)
    this.valid = stats.counter(`${prefix}csrf.request_valid`)
  }

  decodeHeaders(head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const policy = (slot.perRoute()?.config as CsrfPolicy | undefined) ?? this.policy
    const enabled = policy.enabled.hit(slot.runtime.randomU32())
    if (!enabled && !policy.shadow.hit(slot.runtime.randomU32())) return HeadersStatus.CONTINUE
    if (!MODIFYING.has(head.method) || this.accepts(head, policy) || !enabled) return HeadersStatus.CONTINUE
    slot.sendLocalReply(INVALID_ORIGIN)
    return HeadersStatus.STOP
  }

  /** Judges where a request comes from, and counts the verdict. */
  private accepts(head: RequestHead, policy: CsrfPolicy): boolean {
    const source = sourceOrigin(head)
    if (source === '') {
      this.missing.inc()
      return false
    }
    const target = head.authority === '' ? '' : hostAndPort(`${head.scheme || 'http'}://${head.authority}`)
    const ok = source === target || policy.additional.some((matcher) => matcher.matches(source))
    ;(ok ? this.valid : this.invalid).inc()
    return ok
  }
}

const TYPE = 'envoy.extensions.filters.http.csrf.v3.CsrfPolicy'

/**
 * `envoy.filters.http.csrf`: requests that change something must come from the site they go to, by their Origin or
 * Referer (source/extensions/filters/http/csrf/csrf_filter.cc).
 */
export const csrfFilter: HttpFilterKind = {
  type: TYPE,
  name: 'envoy.filters.http.csrf',
  build(message, { proxy, statPrefix }) {
    const filter = new CsrfFilter(compilePolicy(message as CsrfPolicyProto, proxy), proxy.stats, statPrefix)
    return { create: () => filter }
  },
  perRouteType: TYPE,
  buildPerRoute: (message, _runtime, proxy) => compilePolicy(message as CsrfPolicyProto, proxy),
}
