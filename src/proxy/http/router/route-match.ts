import type { RouteMatch as RouteMatchProto } from '#gen/envoy/config/route/v3/route_components_pb.js'
import { ConfigError } from '../../context.ts'
import { Problems } from '../config.ts'
import { H } from '../names.ts'
import { CookieMatcher } from './cookie-matcher.ts'
import { FilterStateMatcher } from './filter-state-matcher.ts'
import { Fraction } from './fraction.ts'
import { compileHeaderMatchers, type HeaderMatcher, matchAll } from './header-matcher.ts'
import { MetadataMatcher } from './metadata-matcher.ts'
import { compilePathMatcher, type PathMatcher } from './path-matcher.ts'
import { QueryMatcher } from './query-matcher.ts'
import type { RouteInput } from './route.ts'

const KNOWN = new Set([
  'prefix',
  'path',
  'safeRegex',
  'connectMatcher',
  'pathSeparatedPrefix',
  'pathMatchPolicy',
  'caseSensitive',
  'runtimeFraction',
  'headers',
  'queryParameters',
  'grpc',
  'tlsContext',
  'dynamicMetadata',
  'cookies',
  'filterState',
])

/** The conditions of a route, tried in Envoy's order with the path last (RC RouteEntryImplBase::matchRoute). */
export class RouteMatch {
  readonly path: PathMatcher
  /** No condition but the path's. */
  private readonly pathOnly: boolean
  private readonly fraction: Fraction | undefined
  private readonly grpc: boolean
  private readonly headers: readonly HeaderMatcher[]
  private readonly query: readonly QueryMatcher[]
  private readonly tlsPresented: boolean | undefined
  private readonly tlsValidated: boolean | undefined
  private readonly metadata: readonly MetadataMatcher[]
  private readonly cookies: readonly CookieMatcher[]
  private readonly states: readonly FilterStateMatcher[]

  /** Throws ConfigError with a path relative to the match. */
  constructor(config: RouteMatchProto) {
    const problems = new Problems()
    problems.refuseUnknown(config, KNOWN, 'match')
    const path = problems.collect('match', () => compilePathMatcher(config))
    this.headers = problems.collect('match', () => compileHeaderMatchers(config.headers, 'headers')) ?? []
    const query: QueryMatcher[] = []
    config.queryParameters.forEach((q, i) => {
      const matcher = problems.collect(`match.query_parameters[${i}]`, () => new QueryMatcher(q))
      if (matcher) query.push(matcher)
    })
    const metadata: MetadataMatcher[] = []
    config.dynamicMetadata.forEach((m, i) => {
      const matcher = problems.collect(`match.dynamic_metadata[${i}]`, () => new MetadataMatcher(m))
      if (matcher) metadata.push(matcher)
    })
    this.cookies = config.cookies.flatMap(
      (c, i) => problems.collect(`match.cookies[${i}]`, () => new CookieMatcher(c)) ?? [],
    )
    this.states = config.filterState.flatMap(
      (s, i) => problems.collect(`match.filter_state[${i}]`, () => new FilterStateMatcher(s)) ?? [],
    )
    this.query = query
    this.metadata = metadata
    this.fraction = config.runtimeFraction ? Fraction.ofRuntime(config.runtimeFraction) : undefined
    this.grpc = config.grpc !== undefined
    this.tlsPresented = config.tlsContext?.presented
    this.tlsValidated = config.tlsContext?.validated
    problems.throwIfAny()
    if (path === undefined) throw new ConfigError(['match: has no path'])
    this.path = path
    this.pathOnly =
      this.fraction === undefined &&
      !this.grpc &&
      this.headers.length === 0 &&
      query.length === 0 &&
      config.tlsContext === undefined &&
      metadata.length === 0 &&
      this.cookies.length === 0 &&
      this.states.length === 0
  }

  /** `path` without query and fragment. */
  matches(input: RouteInput, path: string): boolean {
    if (!this.pathOnly && !this.conditions(input)) return false
    return this.path.matches(path, input.request.method)
  }

  private conditions(input: RouteInput): boolean {
    if (this.fraction !== undefined && !this.fraction.hit(input.random())) return false
    if (this.grpc && !isGrpcContentType(input.request.get(H.contentType))) return false
    if (!matchAll(this.headers, input.request)) return false
    for (const q of this.query) if (!q.matches(input.request.path)) return false
    for (const c of this.cookies) if (!c.matches(input.request)) return false
    if (this.tlsPresented !== undefined || this.tlsValidated !== undefined) {
      const presented = input.connection.tls?.peer !== undefined
      if (this.tlsPresented !== undefined && presented !== this.tlsPresented) return false
      // A certificate that was presented and did not verify never gets as far as a request.
      if (this.tlsValidated !== undefined && presented !== this.tlsValidated) return false
    }
    for (const m of this.metadata) if (!m.matches(input.info.dynamicMetadata)) return false
    for (const s of this.states) if (!s.matches(input.info)) return false
    return true
  }

  toString(): string {
    const parts: string[] = [this.path.toString()]
    if (this.fraction !== undefined) parts.push(`${this.fraction} of requests`)
    if (this.grpc) parts.push('gRPC')
    for (const h of this.headers) parts.push(`header ${h}`)
    for (const q of this.query) parts.push(String(q))
    if (this.tlsPresented !== undefined) parts.push(`client certificate ${this.tlsPresented ? '' : 'not '}presented`)
    if (this.tlsValidated !== undefined) parts.push(`client certificate ${this.tlsValidated ? '' : 'not '}validated`)
    for (const m of [...this.metadata, ...this.cookies, ...this.states]) parts.push(String(m))
    return parts.join(' and ')
  }
}

/** `application/grpc`, alone or with `+subtype` (source/common/grpc/common.cc hasGrpcContentType). */
export function isGrpcContentType(contentType: string | undefined): boolean {
  return (
    contentType?.startsWith('application/grpc') === true &&
    (contentType.length === 16 || contentType.charCodeAt(16) === 0x2b)
  )
}
