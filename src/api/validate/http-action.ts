import type { HTTPMatchRequest, HTTPRedirect, HTTPRetry, HTTPRoute } from '../kinds/virtual-service.ts'
import { checkPort } from './names.ts'
import type { Scope } from './scope.ts'
import { checkDuration, checkRegex, checkStatus } from './values.ts'

/** What a route does, by the rules of pkg/config/validation/validation.go: redirect, answer, rewrite, retry. */

/** A redirect (validateHTTPRedirect). */
export function checkRedirect(scope: Scope, redirect: HTTPRedirect, matches: HTTPMatchRequest[] = []): void {
  const { uri, prefixRewrite, authority, scheme, port, derivePort, redirectCode } = redirect
  if (uri && prefixRewrite) scope.at('prefixRewrite').errorAtKey('excludes uri')
  if (prefixRewrite && matches.some((match) => match.uri && match.uri.prefix === undefined)) {
    scope.at('prefixRewrite').errorAtKey('goes with a match by uri prefix alone')
  }
  if (!(uri || prefixRewrite || authority || scheme || port !== undefined || derivePort !== undefined)) {
    scope.error('one of uri, authority, scheme, port and derivePort is needed')
  }
  if (redirectCode && (redirectCode < 300 || redirectCode > 399)) {
    scope.at('redirectCode').error(`a redirect has a status from 300 to 399, not ${redirectCode}`)
  } else if (redirectCode && ![301, 302, 303, 307, 308].includes(redirectCode)) {
    scope
      .at('redirectCode')
      .warn(`Envoy knows 301, 302, 303, 307 and 308 alone, and refuses the route with ${redirectCode}`)
  }
  if (scheme && scheme !== 'http' && scheme !== 'https')
    scope.at('scheme').error(`a scheme is http or https, not "${scheme}"`)
  if (port) checkPort(scope.at('port'), port)
}

/** A direct response (validateHTTPDirectResponse). */
export function checkDirectResponse(scope: Scope, { directResponse }: HTTPRoute): void {
  if (!directResponse) return
  checkStatus(scope.at('status'), directResponse.status)
  const { string, bytes } = directResponse.body ?? {}
  const size = string === undefined ? Buffer.byteLength(bytes ?? '', 'base64') : Buffer.byteLength(string)
  if (size > 1024 * 1024) scope.at('body').errorAtKey('must be smaller than 1 MB')
  else if (size > 100 * 1024) scope.at('body').warnAtKey('is large, which makes the control plane slow')
}

const RETRY_ON =
  '5xx gateway-error reset reset-before-request connect-failure retriable-4xx refused-stream retriable-status-codes retriable-headers envoy-ratelimited http3-post-connect-failure cancelled deadline-exceeded internal resource-exhausted unavailable'.split(
    ' ',
  )
const STATUS_TEXTS = '100-103 200-208 226 300-305 307 308 400-418 421-426 428 429 431 451 500-508 510 511'
  .split(' ')
  .map((range) => range.split('-').map(Number))

function isKnownStatus(text: string): boolean {
  const code = Number(text)
  return /^\d+$/.test(text) && STATUS_TEXTS.some(([from = 0, to = from]) => code >= from && code <= to)
}

/** A retry policy (agent.ValidateHTTPRetry). */
export function checkRetry(scope: Scope, retries: HTTPRetry | undefined): void {
  if (!retries) return
  const { attempts = 0, perTryTimeout, retryOn, retryRemoteLocalities, backoff } = retries
  if (attempts < 0) scope.at('attempts').error('must not be negative')
  if (attempts === 0 && (perTryTimeout !== undefined || retryOn || retryRemoteLocalities !== undefined)) {
    scope.error(
      'with 0 attempts (the value when it is not set) there are no retries: perTryTimeout, retryOn and retryRemoteLocalities have no place',
    )
  }
  checkDuration(scope.at('perTryTimeout'), perTryTimeout)
  checkDuration(scope.at('backoff'), backoff)
  for (const token of retryOn ? retryOn.split(',') : []) {
    if (RETRY_ON.includes(token) || isKnownStatus(token)) continue
    const hint = token !== token.trim() ? ' (no spaces after commas)' : ''
    scope
      .at('retryOn')
      .error(`"${token}" is no retry condition${hint}: a status code, or one of ${RETRY_ON.join(', ')}`)
  }
}

/** A rewrite (validateHTTPRewrite). */
export function checkRewrite(scope: Scope, { rewrite }: HTTPRoute): void {
  if (!rewrite) return
  const { uri, authority, uriRegexRewrite } = rewrite
  if (uri && uriRegexRewrite) scope.at('uriRegexRewrite').errorAtKey('excludes uri')
  if (!uri && !authority && !uriRegexRewrite) scope.error('one of uri, uriRegexRewrite and authority is needed')
  if (!uriRegexRewrite) return
  const at = scope.at('uriRegexRewrite')
  if (!uriRegexRewrite.match || !uriRegexRewrite.rewrite) at.error('match and rewrite are needed')
  else checkRegex(at.at('match'), uriRegexRewrite.match)
}
