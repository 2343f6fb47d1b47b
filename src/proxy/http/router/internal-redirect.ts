import type { Any } from '@bufbuild/protobuf/wkt'
import type {
  InternalRedirectPolicy as PolicyProto,
  RouteAction,
} from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { AllowListedRoutesConfig } from '#gen/envoy/extensions/internal_redirect/allow_listed_routes/v3/allow_listed_routes_config_pb.js'
import { configTypeName, resolveTypedConfig } from '../../../xds/typed-config.ts'
import { ConfigError } from '../../context.ts'
import { type HeaderName, headerName } from '../headers.ts'

/** The redirects of one request so far; goes along from one pass to the next. */
export class RedirectHistory {
  count = 0
  /** By route that redirected: the names of the routes it led to. */
  private readonly led = new Map<string, Set<string>>()

  /** Notes that `from` leads to `to`; false when it has before. */
  enter(from: string, to: string): boolean {
    const targets = this.led.get(from) ?? new Set()
    if (targets.has(to)) return false
    this.led.set(from, targets.add(to))
    return true
  }
}

/** Whether a redirect may lead to the route `target`; both ends' schemes are told. */
type Predicate = (history: RedirectHistory, target: string, fromHttps: boolean, toHttps: boolean) => boolean

const PACKAGE = 'envoy.extensions.internal_redirect'
const VALID_CODES = [301, 302, 303, 307, 308]
const HANDLE = 1

/** Which redirects of upstreams the proxy follows by itself (source/common/router/config_impl.cc InternalRedirectPolicyImpl). */
export class InternalRedirectPolicy {
  readonly maxRedirects: number
  readonly allowCrossScheme: boolean
  readonly headersToCopy: readonly HeaderName[]
  private readonly codes: readonly number[]
  private readonly predicates: readonly Predicate[]

  private constructor(config: Partial<PolicyProto>, routeName: string) {
    const errors: string[] = []
    const codes = config.redirectResponseCodes ?? []
    this.codes = codes.length === 0 ? [302] : codes.filter((code) => VALID_CODES.includes(code))
    this.maxRedirects = config.maxInternalRedirects ?? 1
    this.allowCrossScheme = config.allowCrossSchemeRedirect ?? false
    this.headersToCopy = (config.responseHeadersToCopy ?? []).map((name) => {
      if (name.startsWith(':') || name.toLowerCase() === 'host') {
        errors.push('internal_redirect_policy: :-prefixed headers or Hosts may not be specified here.')
      }
      return headerName(name.toLowerCase())
    })
    this.predicates = (config.predicates ?? []).flatMap((predicate) => {
      const compiled = compilePredicate(predicate.typedConfig, routeName)
      if (compiled === undefined) {
        const type = predicate.typedConfig === undefined ? '' : configTypeName(predicate.typedConfig)
        errors.push(
          `internal_redirect_policy: Didn't find a registered implementation for '${predicate.name}' with type URL: '${type}'`,
        )
      }
      return compiled ?? []
    })
    if (errors.length > 0) throw new ConfigError(errors)
  }

  /** The policy of a route; undefined: redirects go to the client. Throws ConfigError. */
  static of(action: RouteAction, routeName: string): InternalRedirectPolicy | undefined {
    if (action.internalRedirectPolicy !== undefined) {
      return new InternalRedirectPolicy(action.internalRedirectPolicy, routeName)
    }
    if ((action.internalRedirectAction as number) !== HANDLE) return undefined
    const { maxInternalRedirects } = action
    return new InternalRedirectPolicy(maxInternalRedirects === undefined ? {} : { maxInternalRedirects }, routeName)
  }

  /** Whether responses of that status are redirects to follow. */
  covers(status: number): boolean {
    return this.codes.includes(status)
  }

  /** Whether all predicates let the request go on to the route of that name. */
  accepts(history: RedirectHistory, target: string, fromHttps: boolean, toHttps: boolean): boolean {
    return this.predicates.every((predicate) => predicate(history, target, fromHttps, toHttps))
  }

  toString(): string {
    return `follow up to ${this.maxRedirects} redirects (${this.codes.join(', ')})`
  }
}

function compilePredicate(any: Any | undefined, routeName: string): Predicate | undefined {
  switch (any === undefined ? '' : configTypeName(any)) {
    case `${PACKAGE}.previous_routes.v3.PreviousRoutesConfig`:
      return (history, target) => history.enter(routeName, target)
    case `${PACKAGE}.allow_listed_routes.v3.AllowListedRoutesConfig`: {
      const { allowedRouteNames } = resolveTypedConfig(any!).message as AllowListedRoutesConfig
      return (_history, target) => allowedRouteNames.includes(target)
    }
    case `${PACKAGE}.safe_cross_scheme.v3.SafeCrossSchemeConfig`:
      return (_history, _target, fromHttps, toHttps) => fromHttps || !toHttps
    default:
      return undefined
  }
}
