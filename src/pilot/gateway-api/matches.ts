import type { GRPCRouteMatch } from '../../api/kinds/gateway-api/grpc-route.ts'
import type { HTTPRouteMatch } from '../../api/kinds/gateway-api/http-route.ts'
import type { HTTPMatchRequest, HTTPRoute, StringMatch } from '../../api/kinds/virtual-service.ts'

type Named = { type?: 'Exact' | 'RegularExpression' | undefined; name: string; value: string }

/** Conditions of an HTTPRoute as a VirtualService has them (conversion.go createURIMatch and its kin). */
export function httpMatch(match: HTTPRouteMatch): HTTPMatchRequest {
  const headers = named(match.headers)
  const queryParams = named(match.queryParams)
  return {
    uri: pathMatch(match),
    ...(headers ? { headers } : {}),
    ...(queryParams ? { queryParams } : {}),
    ...(match.method ? { method: { exact: match.method } } : {}),
  }
}

function pathMatch({ path }: HTTPRouteMatch): StringMatch {
  const value = path?.value ?? '/'
  switch (path?.type) {
    case 'Exact':
      return { exact: value }
    case 'RegularExpression':
      return { regex: value }
    default:
      // A trailing slash counts for nothing.
      return { prefix: value === '/' ? value : value.replace(/\/$/, '') }
  }
}

function named(items: readonly Named[] | undefined): Record<string, StringMatch> | undefined {
  if (!items?.length) return undefined
  return Object.fromEntries(
    items.map(({ type, name, value }) => [name, type === 'RegularExpression' ? { regex: value } : { exact: value }]),
  )
}

/** Conditions of a GRPCRoute: a method is the path `/service/method` (createGRPCURIMatch). */
export function grpcMatch(match: GRPCRouteMatch): HTTPMatchRequest {
  const headers = named(match.headers)
  const uri = methodPath(match.method)
  return { ...(uri ? { uri } : {}), ...(headers ? { headers } : {}) }
}

function methodPath(match: GRPCRouteMatch['method']): StringMatch | undefined {
  if (!match) return undefined
  const { type, service, method } = match
  if (service === undefined && method === undefined) return undefined
  if (service === undefined) return { regex: `/[^/]+/${method}` }
  if (type === 'RegularExpression') return { regex: `/${service}/${method ?? '.+'}` }
  return method === undefined ? { prefix: `/${service}/` } : { exact: `/${service}/${method}` }
}

/**
 * The order of rules: exact paths, then prefixes, then regular expressions, each longest first; then those with a
 * method, with more headers, with more query parameters. Rules without any condition come last (sortHTTPRoutes).
 */
export function byPrecedence(a: HTTPRoute, b: HTTPRoute): number {
  const [x, y] = [a.match?.[0], b.match?.[0]]
  if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1)
  return (
    rank(y) - rank(x) ||
    pathLength(y) - pathLength(x) ||
    Number(y.method !== undefined) - Number(x.method !== undefined) ||
    count(y.headers) - count(x.headers) ||
    count(y.queryParams) - count(x.queryParams)
  )
}

function rank({ uri }: HTTPMatchRequest): number {
  if (!uri) return -1
  if (uri.exact !== undefined) return 3
  if (uri.prefix !== undefined) return 2
  return uri.regex !== undefined ? 1 : -1
}

function pathLength({ uri }: HTTPMatchRequest): number {
  return uri ? Buffer.byteLength(uri.exact ?? uri.prefix ?? uri.regex ?? '') : 0
}

const count = (items: object | undefined): number => (items ? Object.keys(items).length : 0)
