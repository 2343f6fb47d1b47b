import type { RouteMatch } from '#gen/envoy/config/route/v3/route_components_pb.js'
import { Problems } from '../../http/config.ts'
import type { RequestHead } from '../../http/headers.ts'
import { compileHeaderMatchers, type HeaderMatcher, matchAll } from '../../http/router/header-matcher.ts'
import { compilePathMatcher, type PathMatcher } from '../../http/router/path-matcher.ts'
import { QueryMatcher } from '../../http/router/query-matcher.ts'

/** Conditions of a route that rules of this filter may state, but that Envoy does not look at. */
const WITHOUT_EFFECT = {
  runtimeFraction: 'runtime_fraction',
  grpc: 'grpc',
  tlsContext: 'tls_context',
  dynamicMetadata: 'dynamic_metadata',
  cookies: 'cookies',
  filterState: 'filter_state',
} as const

/**
 * Which requests a rule is for (source/extensions/filters/http/jwt_authn/matcher.cc): path, headers and query, and no other
 * condition that a route has.
 */
export class RuleMatch {
  private readonly path: PathMatcher
  private readonly headers: readonly HeaderMatcher[]
  private readonly query: readonly QueryMatcher[]

  /** `noEffect` is told of what has none. Throws ConfigError. */
  constructor(config: RouteMatch, noEffect: (field: string) => void) {
    const problems = new Problems()
    const path = problems.collect('match', () => compilePathMatcher(config))
    this.headers = problems.collect('match', () => compileHeaderMatchers(config.headers, 'headers')) ?? []
    this.query = config.queryParameters.flatMap(
      (q, i) => problems.collect(`match.query_parameters[${i}]`, () => new QueryMatcher(q)) ?? [],
    )
    problems.throwIfAny()
    this.path = path!
    for (const [field, name] of Object.entries(WITHOUT_EFFECT)) {
      const value = config[field as keyof typeof WITHOUT_EFFECT]
      if (Array.isArray(value) ? value.length > 0 : value !== undefined) noEffect(name)
    }
  }

  /** `path` without query and fragment. */
  matches(head: RequestHead, path: string): boolean {
    if (!this.path.matches(path, head.method) || !matchAll(this.headers, head)) return false
    for (const q of this.query) if (!q.matches(head.path)) return false
    return true
  }
}
