import type { Exchange } from '../exchange.ts'
import type { RequestHead, ResponseHead } from '../headers.ts'
import { H } from '../names.ts'
import { type InternalRedirectPolicy, RedirectHistory } from './internal-redirect.ts'
import type { RouterStats } from './router-stats.ts'

const SEE_OTHER = 303

/** What a redirect made of a request. */
export interface Redirected {
  readonly head: RequestHead
  /** 303 turns everything but GET and HEAD into a GET without body. */
  readonly dropsBody: boolean
}

/**
 * The request that an upstream's redirect asks for, if the policy allows it and a route takes it (source/common/router/router.cc
 * convertRequestHeadersForInternalRedirect). Undefined: the client gets the redirect; a counter says why.
 */
export function followRedirect(
  exchange: Exchange,
  response: ResponseHead,
  policy: InternalRedirectPolicy,
  stats: RouterStats,
): Redirected | undefined {
  const { request } = exchange
  const location = response.get(H.location)
  if (location === undefined) return undefined
  const target = absolute(location)
  if (target === undefined) {
    stats.redirectBadLocation.inc()
    return undefined
  }
  const fromHttp = request.scheme === 'http' || exchange.connection.tls === undefined
  const toHttp = target.scheme.toLowerCase() === 'http'
  if (!policy.allowCrossScheme && fromHttp !== toHttp) {
    stats.redirectUnsafeScheme.inc()
    return undefined
  }
  exchange.redirects ??= new RedirectHistory()
  const history = exchange.redirects
  if (history.count >= policy.maxRedirects) {
    stats.redirectTooMany.inc()
    return undefined
  }
  const head = request.clone()
  for (const name of policy.headersToCopy) {
    head.remove(name)
    for (const value of response.values(name)) head.add(name, value)
  }
  head.scheme = target.scheme
  head.authority = target.authority
  head.path = target.path
  const route = exchange.routing.rerouted(head)
  if (route === undefined) {
    stats.redirectNoRoute.inc()
    return undefined
  }
  if (!policy.accepts(history, route.name, !fromHttp, !toHttp)) {
    stats.redirectPredicate.inc()
    return undefined
  }
  const dropsBody = response.status === SEE_OTHER && head.method !== 'GET' && head.method !== 'HEAD'
  if (dropsBody) {
    head.method = 'GET'
    head.remove(H.contentLength)
  }
  history.count++
  head.set(H.originalUrl, `${fromHttp ? 'http' : 'https'}://${request.authority}${request.path}`)
  return { head, dropsBody }
}

/** The parts of an absolute URL; undefined when it is none. The fragment is left out. */
function absolute(location: string): { scheme: string; authority: string; path: string } | undefined {
  const parts = /^([a-z][a-z0-9+.-]*):\/\/(?:[^/?#@]*@)?(\[[0-9a-f:.]+\]|[^/?#:@[\]\s]+)(:\d{1,5})?([/?#].*)?$/i.exec(
    location,
  )
  if (parts === null || /[\s\x00-\x1f\x7f]/.test(location)) return undefined
  const [, scheme = '', host = '', port = '', rest = ''] = parts
  const hash = rest.indexOf('#')
  const path = hash < 0 ? rest : rest.slice(0, hash)
  return { scheme, authority: host + port, path: rest === '' ? '/' : path }
}
