import type { CorsPolicy } from '#gen/envoy/extensions/filters/http/cors/v3/cors_pb.js'
import { ConfigError } from '../context.ts'
import { Problems } from '../http/config.ts'
import { type HeaderName, headerName, ResponseHead } from '../http/headers.ts'
import { H } from '../http/names.ts'
import { Fraction } from '../http/router/fraction.ts'
import { compileStringMatcher, type StringMatcher } from '../http/router/string-matcher.ts'
import type { Counter } from '../observe/stats.ts'
import { HeadersStatus, type HttpFilter, type HttpFilterKind } from './filter.ts'

const A = {
  allowOrigin: headerName('access-control-allow-origin'),
  allowCredentials: headerName('access-control-allow-credentials'),
  allowMethods: headerName('access-control-allow-methods'),
  allowHeaders: headerName('access-control-allow-headers'),
  allowPrivateNetwork: headerName('access-control-allow-private-network'),
  exposeHeaders: headerName('access-control-expose-headers'),
  maxAge: headerName('access-control-max-age'),
  requestHeaders: headerName('access-control-request-headers'),
  requestPrivateNetwork: headerName('access-control-request-private-network'),
}

/** A compiled policy of one level; empty strings and undefined leave the field to the next level. */
interface Policy {
  readonly origins: readonly StringMatcher[]
  readonly any: boolean
  readonly methods: string
  readonly headers: string
  readonly expose: string
  readonly maxAge: string
  readonly credentials: boolean | undefined
  readonly privateNetwork: boolean | undefined
  readonly forward: boolean | undefined
  readonly enabled: Fraction | undefined
  readonly shadow: Fraction | undefined
}

function compilePolicy(config: CorsPolicy): Policy {
  const problems = new Problems()
  const origins: StringMatcher[] = []
  config.allowOriginStringMatch.forEach((m, i) => {
    const matcher = problems.collect(`allow_origin_string_match[${i}]`, () => compileStringMatcher(m))
    if (matcher) origins.push(matcher)
  })
  if (problems.errors.length > 0) throw new ConfigError(problems.errors)
  return {
    origins,
    any: config.allowOriginStringMatch.some((m) => m.matchPattern.case === 'exact' && m.matchPattern.value === '*'),
    methods: config.allowMethods,
    headers: config.allowHeaders,
    expose: config.exposeHeaders,
    maxAge: config.maxAge,
    credentials: config.allowCredentials,
    privateNetwork: config.allowPrivateNetworkAccess,
    forward: config.forwardNotMatchingPreflights,
    enabled: config.filterEnabled ? Fraction.ofRuntime(config.filterEnabled) : undefined,
    shadow: config.shadowEnabled ? Fraction.ofRuntime(config.shadowEnabled) : undefined,
  }
}

type Text = 'methods' | 'headers' | 'expose' | 'maxAge'

/** The first level that says something. */
function text(levels: readonly Policy[], field: Text): string {
  for (const level of levels) if (level[field] !== '') return level[field]
  return ''
}

function flag(
  levels: readonly Policy[],
  field: 'credentials' | 'privateNetwork' | 'forward',
  absent: boolean,
): boolean {
  for (const level of levels) if (level[field] !== undefined) return level[field]
  return absent
}

function allowed(levels: readonly Policy[], origin: string): boolean {
  const level = levels.find((l) => l.origins.length > 0)
  return level !== undefined && (level.any || level.origins.some((m) => m.matches(origin)))
}

class CorsFilter implements HttpFilter {
  private readonly valid: Counter
  private readonly invalid: Counter
  private levels: readonly Policy[] = []
  private origin: string | undefined = undefined

  constructor(valid: Counter, invalid: Counter) {
    this.valid = valid
    this.invalid = invalid
  }

  decodeHeaders(...[head, , slot]: Parameters<NonNullable<HttpFilter['decodeHeaders']>>): HeadersStatus {
    const origin = head.get(H.origin)
    if (origin === undefined || origin === '' || slot.route()?.forward === undefined) return HeadersStatus.CONTINUE
    const levels = slot.perRouteAll() as Policy[]
    const first = levels[0]
    if (first === undefined) return HeadersStatus.CONTINUE
    const on = first.enabled === undefined || first.enabled.hit(slot.runtime.randomU32())
    const shadow = first.shadow?.hit(slot.runtime.randomU32()) ?? false
    if (!on && !shadow) return HeadersStatus.CONTINUE
    const ok = allowed(levels, origin)
    ;(ok ? this.valid : this.invalid).inc()
    if (!on) return HeadersStatus.CONTINUE
    const method = head.get(H.accessControlRequestMethod)
    const preflight = head.method === 'OPTIONS' && method !== undefined && method !== ''
    this.levels = levels
    if (ok) this.origin = origin
    if (!preflight) return HeadersStatus.CONTINUE
    // A stranger's preflight that may not go on is answered without an allowed origin.
    if (!ok && flag(levels, 'forward', true)) return HeadersStatus.CONTINUE
    const wanted = head.get(A.requestHeaders)
    const network = head.get(A.requestPrivateNetwork) === 'true'
    const reply = ResponseHead.create(200)
    this.preflight(reply, ok ? origin : '', method, wanted, network)
    slot.respond(reply, 'cors_response')
    return HeadersStatus.STOP
  }

  private preflight(
    reply: ResponseHead,
    origin: string,
    method: string,
    wanted: string | undefined,
    network: boolean,
  ): void {
    const { levels } = this
    setIf(reply, A.allowOrigin, origin)
    if (flag(levels, 'credentials', false)) reply.set(A.allowCredentials, 'true')
    const methods = text(levels, 'methods')
    setIf(reply, A.allowMethods, methods === '*' ? method : methods)
    const headers = text(levels, 'headers')
    if (headers === '*') reply.set(A.allowHeaders, wanted ?? '')
    else setIf(reply, A.allowHeaders, headers)
    setIf(reply, A.maxAge, text(levels, 'maxAge'))
    if (network && flag(levels, 'privateNetwork', false)) reply.set(A.allowPrivateNetwork, 'true')
  }

  encodeHeaders(head: ResponseHead): HeadersStatus {
    if (this.origin === undefined) return HeadersStatus.CONTINUE
    head.set(A.allowOrigin, this.origin)
    if (flag(this.levels, 'credentials', false)) head.set(A.allowCredentials, 'true')
    setIf(head, A.exposeHeaders, text(this.levels, 'expose'))
    return HeadersStatus.CONTINUE
  }
}

function setIf(head: ResponseHead, name: HeaderName, value: string): void {
  if (value !== '') head.set(name, value)
}

/** `envoy.filters.http.cors`: answers preflights and adds CORS headers by the route's policies (source/extensions/filters/http/cors). */
export const corsFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.cors.v3.Cors',
  name: 'envoy.filters.http.cors',
  build(_config, context) {
    const { stats } = context.proxy
    const valid = stats.counter(`${context.statPrefix}cors.origin_valid`)
    const invalid = stats.counter(`${context.statPrefix}cors.origin_invalid`)
    return { create: () => new CorsFilter(valid, invalid) }
  },
  perRouteType: 'envoy.extensions.filters.http.cors.v3.CorsPolicy',
  buildPerRoute: (message) => compilePolicy(message as CorsPolicy),
}
