import type { HTTPHeaderFilter, HTTPRequestMirrorFilter } from '../../api/kinds/gateway-api/common.ts'
import type {
  HTTPCORSFilter,
  HTTPRequestRedirectFilter,
  HTTPURLRewriteFilter,
} from '../../api/kinds/gateway-api/http-route.ts'
import type {
  CorsPolicy,
  HeaderOperations,
  HTTPRedirect,
  HTTPRewrite,
  Percent,
  StringMatch,
} from '../../api/kinds/virtual-service.ts'
import { quoteMeta } from '../quote-meta.ts'
import type { ConfigError } from './conditions.ts'

/** Filters of HTTPRoute and GRPCRoute as a VirtualService has them (conversion.go create…Filter). */

/** Header operations; of several values for one name the first counts. */
export function headerOperations(filter: HTTPHeaderFilter): HeaderOperations | ConfigError {
  for (const { name, value } of [...(filter.set ?? []), ...(filter.add ?? [])]) {
    if (!/[\x00-\x08\x0a-\x1f\x7f]/.test(value)) continue
    return { reason: 'InvalidFilter', message: `header "${name}" value contains invalid characters` }
  }
  const add = byName(filter.add)
  const set = byName(filter.set)
  return {
    ...(add ? { add } : {}),
    ...(filter.remove?.length ? { remove: filter.remove } : {}),
    ...(set ? { set } : {}),
  }
}

function byName(headers: HTTPHeaderFilter['add']): Record<string, string> | undefined {
  if (!headers?.length) return undefined
  const out: Record<string, string> = {}
  for (const { name, value } of headers) out[name.toLowerCase()] ??= value
  return out
}

/** How much is mirrored; undefined for everything. */
export function mirrorPercentage({ fraction, percent }: HTTPRequestMirrorFilter): Percent | undefined {
  if (fraction) return { value: (100 * fraction.numerator) / (fraction.denominator ?? 100) }
  return percent === undefined ? undefined : { value: percent }
}

/** A rewrite of path and host; undefined when it changes nothing. */
export function rewrite({ path, hostname }: HTTPURLRewriteFilter): HTTPRewrite | undefined {
  const out: HTTPRewrite = {}
  if (path?.type === 'ReplacePrefixMatch') out.uri = (path.replacePrefixMatch ?? '').replace(/\/$/, '') || '/'
  if (path?.type === 'ReplaceFullPath') out.uriRegexRewrite = { match: '/.*', rewrite: path.replaceFullPath ?? '' }
  if (hostname) out.authority = hostname
  return Object.keys(out).length > 0 ? out : undefined
}

/** A redirect; the port of the request is kept where nothing else is said. */
export function redirect({ scheme, hostname, path, port, statusCode }: HTTPRequestRedirectFilter): HTTPRedirect {
  const out: HTTPRedirect = {}
  if (statusCode !== undefined) out.redirectCode = statusCode
  if (hostname !== undefined) out.authority = hostname
  if (scheme !== undefined) out.scheme = scheme
  if (port !== undefined) out.port = port
  else out.derivePort = scheme === undefined ? 'FROM_REQUEST_PORT' : 'FROM_PROTOCOL_DEFAULT'
  if (path?.type === 'ReplaceFullPath') out.uri = path.replaceFullPath ?? ''
  if (path?.type === 'ReplacePrefixMatch') out.prefixRewrite = path.replacePrefixMatch ?? ''
  return out
}

/** Any origin, well formed. */
const ANY_ORIGIN = '^[a-zA-Z][a-zA-Z0-9+.-]*://[^/\\s?#]+$'

/** Cross-origin rules; preflights of other origins are answered, not forwarded. */
export function cors(filter: HTTPCORSFilter): CorsPolicy {
  return {
    ...(filter.allowOrigins?.length
      ? { allowOrigins: filter.allowOrigins.filter((origin) => origin !== '').map(originMatch) }
      : {}),
    ...(filter.allowCredentials ? { allowCredentials: true } : {}),
    ...(filter.allowMethods?.length ? { allowMethods: filter.allowMethods } : {}),
    ...(filter.allowHeaders?.length ? { allowHeaders: filter.allowHeaders } : {}),
    ...(filter.exposeHeaders?.length ? { exposeHeaders: filter.exposeHeaders } : {}),
    ...(filter.maxAge !== undefined && filter.maxAge > 0 ? { maxAge: `${filter.maxAge}s` } : {}),
    unmatchedPreflights: 'IGNORE',
  }
}

function originMatch(origin: string): StringMatch {
  if (origin === '*') return { regex: ANY_ORIGIN }
  const stars = origin.split('*').length - 1
  if (stars === 0) return { exact: origin }
  if (stars === 1 && origin.endsWith('*')) return { prefix: origin.slice(0, -1) }
  return { regex: `^${origin.split('*').map(quoteMeta).join('.*')}$` }
}
