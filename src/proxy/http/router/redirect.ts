import type { RedirectAction } from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { RequestHead } from '../headers.ts'
import { H } from '../names.ts'
import type { PathMatcher } from './path-matcher.ts'
import { RegexRewrite } from './regex.ts'
import { pathEnd, rewritePrefix } from './rewrite.ts'

const CODES = [301, 302, 303, 307, 308]

/** A redirect action (source/common/router/config_impl.cc newUri, source/common/http/utility.cc newUri). */
export class Redirect {
  readonly status: number
  private readonly scheme: string
  private readonly host: string
  private readonly port: number
  private readonly path: string
  private readonly prefix: string
  private readonly regex: RegexRewrite | undefined
  private readonly stripQuery: boolean
  private readonly match: PathMatcher
  private readonly keepPort: boolean

  /** `keepPort`: a default port stays in the location, as when a virtual host requires TLS (config_impl.cc SslRedirector). */
  constructor(config: RedirectAction, match: PathMatcher, keepPort = false) {
    this.match = match
    this.keepPort = keepPort
    this.status = CODES[config.responseCode] ?? 301
    const scheme = config.schemeRewriteSpecifier
    this.scheme = scheme.case === 'httpsRedirect' ? (scheme.value ? 'https' : '') : (scheme.value ?? '')
    this.host = config.hostRedirect
    this.port = config.portRedirect
    this.stripQuery = config.stripQuery
    const path = config.pathRewriteSpecifier
    this.path = path.case === 'pathRedirect' ? path.value : ''
    this.prefix = path.case === 'prefixRewrite' ? path.value : ''
    this.regex = path.case === 'regexRewrite' ? new RegexRewrite(path.value) : undefined
  }

  /** The location for a request. */
  location(head: RequestHead): string {
    const scheme = this.scheme !== '' ? this.scheme : head.scheme
    const proto = head.get(H.xForwardedProto) ?? ''
    let host = this.host !== '' ? this.host : head.authority
    let port = ''
    if (this.port !== 0) port = `:${this.port}`
    if (this.host === '') {
      const at = portAt(host)
      if (at >= 0) {
        const own = host.slice(at + 1)
        const isDefault = (proto === 'http' && own === '80') || (proto === 'https' && own === '443')
        if (this.port !== 0 || (scheme !== proto && isDefault && !this.keepPort)) host = host.slice(0, at)
      }
    }
    return `${scheme}://${host}${port}${this.newPath(head.path)}`
  }

  private newPath(path: string): string {
    const end = pathEnd(path)
    const only = path.slice(0, end)
    let to = only
    if (this.path !== '') {
      to = this.path.startsWith('/') ? this.path : `/${this.path}`
      if (to.includes('?')) return to
    } else if (this.regex !== undefined) to = this.regex.replaceAll(only)
    else if (this.prefix !== '') to = rewritePrefix(only, this.match, this.prefix)
    return this.stripQuery ? withoutQuery(to) : to + path.slice(end)
  }

  toString(): string {
    const host = this.host !== '' ? this.host : 'same host'
    const path = this.path || this.prefix || this.regex?.toString() || 'same path'
    return `redirect ${this.status} to ${this.scheme || 'same scheme'}, ${host}, ${path}`
  }
}

function withoutQuery(path: string): string {
  const question = path.indexOf('?')
  return question < 0 ? path : path.slice(0, question)
}

/** Where the port's colon is in an authority; -1 without one. Knows brackets of IPv6. */
export function portAt(authority: string): number {
  const colon = authority.lastIndexOf(':')
  if (colon < 0) return -1
  if (authority.charCodeAt(0) === 0x5b) return authority.charCodeAt(colon - 1) === 0x5d ? colon : -1
  return authority.indexOf(':') === colon ? colon : -1
}
