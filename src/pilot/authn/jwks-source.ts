import { parseDuration } from '../../api/duration.ts'
import type { Position } from '../../api/objects.ts'
import type { ProxyNode } from '../proxy.ts'
import type { PushContext } from '../scope/push-context.ts'
import { type BoundRule, placeOf } from '../scope/request-authentications.ts'
import { isFetchedByProxies } from './remote-jwks.ts'

/** How long a rule without `timeout` gives a key server to answer, ms. */
export const DEFAULT_TIMEOUT = 5000

/** Keys that pilot has to fetch. */
export interface JwksSource {
  readonly issuer: string
  /** '' where the issuer is asked for it (OpenID Connect Discovery). */
  readonly jwksUri: string
  /** For each request, ms. */
  readonly timeout: number
  /** The rule that needs them. */
  readonly place: () => Position
}

/** What has to be fetched before a workload's listeners can be made. */
export function jwksSources(push: PushContext, proxy: ProxyNode): JwksSource[] {
  if (push.requestAuthentications.isEmpty || proxy.proxyless) return []
  return push.requestAuthentications
    .forProxy(proxy)
    .filter(({ rule }) => !isInline(rule) && !isFetchedByProxies(push, rule) && canBeAsked(rule))
    .map((bound) => ({
      issuer: bound.rule.issuer ?? '',
      jwksUri: bound.rule.jwksUri ?? '',
      timeout: timeoutOf(bound.rule),
      place: () => placeOf(bound),
    }))
}

/** What a rule gives a key server, ms. */
export const timeoutOf = ({ timeout }: BoundRule['rule']): number =>
  timeout === undefined ? DEFAULT_TIMEOUT : parseDuration(timeout)

/** An issuer that is no URL cannot be asked for its keys, of which validation has told. */
const canBeAsked = ({ jwksUri, issuer = '' }: BoundRule['rule']): boolean =>
  Boolean(jwksUri) || /^https?:\/\/[^/]/i.test(issuer)

const isInline = ({ jwks }: BoundRule['rule']): boolean => jwks !== undefined && jwks !== ''
