import { type Init, packed } from '../../xds/messages.ts'
import type { HttpFilter } from '../listener/http-filters.ts'
import type { ProxyNode } from '../proxy.ts'
import type { PushContext } from '../scope/push-context.ts'
import type { BoundRule } from '../scope/request-authentications.ts'
import { jwksId } from './jwks-keys.ts'
import { timeoutOf } from './jwks-source.ts'
import { isFetchedByProxies, remoteJwks } from './remote-jwks.ts'

type Provider = Init<'envoy.extensions.filters.http.jwt_authn.v3.JwtProvider'>
type Requirement = Init<'envoy.extensions.filters.http.jwt_authn.v3.JwtRequirement'>

const FILTER = 'envoy.filters.http.jwt_authn'
const PAYLOAD = 'payload'

/**
 * A public key whose private one nobody has: in the place of keys that cannot be fetched, so that no token of that issuer
 * passes.
 */
const NOBODYS_KEYS = `{
  "keys": [
    {
      "kty": "RSA",
      "e": "AQAB",
      "n": "0xObjM0UvS_oaazjpEYlAbwctEJ4L8pH3OuTb7qth7gUwqet-EzQB4dgFdvSdMgrLnSncQGRjpEYz3F3viIbH-3EN3TxSlPNviHxeOdyiBVfumN8dMxbLvVJUpfNOnvmMxJcl-8NNjAwcOjk4otSALaYgYYyOPyvKtgVdrQr-FoubWX4yrjxW-MJ2-7OBeepUUNOsVwGV23YX03sVkkyvY3otRflkBcY3_HKpBxJl9wk2GyOShN4_PNUF9-vwfnvOXMbCDX-w4PTef4geeb_GiT40YCKHTKMSPVanGRn5GExIWmki-mmqh94-mPTJyBR74ShspL3BxPZitDL574T1w"
    }
  ]
}`

/**
 * The filter that enforces the RequestAuthentications of a workload: a token must be good, but none is needed. Undefined
 * where no policy has rules (pilot/pkg/security/authn/policy_applier.go JwtFilter).
 */
export function jwtFilter(push: PushContext, proxy: ProxyNode): HttpFilter | undefined {
  const rules = push.requestAuthentications.forProxy(proxy)
  if (rules.length === 0) return undefined
  // Routes may hang on claims at gateways alone.
  const clearRouteCache = proxy.type !== 'sidecar'
  const providers: Record<string, Provider> = {}
  const names = rules.map((bound, i) => {
    const name = `origins-${i}`
    providers[name] = provider(push, bound, clearRouteCache)
    return name
  })
  return {
    name: FILTER,
    configType: {
      case: 'typedConfig',
      value: packed('envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication', {
        providers,
        rules: [
          {
            match: { pathSpecifier: { case: 'prefix', value: '/' } },
            requirementType: { case: 'requires', value: requirement(names) },
          },
        ],
        bypassCorsPreflight: true,
      }),
    },
  }
}

/**
 * That a request's tokens are good: each of them, or (where several providers look in one place, and all but one must
 * refuse what they find there) one of them.
 */
function requirement(names: readonly string[]): Requirement {
  const each = names.map((name) => anyOf([required(name), { requiresType: { case: 'allowMissing', value: {} } }]))
  const [only] = each
  if (only && each.length === 1) return only
  return anyOf([...names.map(required), { requiresType: { case: 'requiresAll', value: { requirements: each } } }])
}

const required = (name: string): Requirement => ({ requiresType: { case: 'providerName', value: name } })

const anyOf = (requirements: Requirement[]): Requirement => ({
  requiresType: { case: 'requiresAny', value: { requirements } },
})

function provider(push: PushContext, bound: BoundRule, clearRouteCache: boolean): Provider {
  const { rule } = bound
  return {
    issuer: rule.issuer ?? '',
    audiences: rule.audiences ?? [],
    jwksSourceSpecifier: isFetchedByProxies(push, rule)
      ? { case: 'remoteJwks', value: remoteJwks(push, rule.jwksUri ?? '', timeoutOf(rule)) }
      : { case: 'localJwks', value: { specifier: { case: 'inlineString', value: keysOf(push, bound) } } },
    forward: rule.forwardOriginalToken ?? false,
    forwardPayloadHeader: rule.outputPayloadToHeader ?? '',
    fromHeaders: (rule.fromHeaders ?? []).map(({ name, prefix = '' }) => ({ name, valuePrefix: prefix })),
    fromParams: rule.fromParams ?? [],
    fromCookies: rule.fromCookies ?? [],
    payloadInMetadata: PAYLOAD,
    normalizePayloadInMetadata: { spaceDelimitedClaims: spaceDelimited(rule.spaceDelimitedClaims) },
    claimToHeaders: (rule.outputClaimToHeaders ?? []).map(({ header, claim }) => ({
      headerName: header,
      claimName: claim,
    })),
    clearRouteCache,
  }
}

/** `scope` and `permission` are always read as lists. */
const spaceDelimited = (claims: readonly string[] = []): string[] =>
  [...new Set([...claims, 'permission', 'scope'])].sort()

function keysOf(push: PushContext, { rule }: BoundRule): string {
  return rule.jwks || push.jwks.get(jwksId(rule.issuer ?? '', rule.jwksUri ?? '')) || NOBODYS_KEYS
}
