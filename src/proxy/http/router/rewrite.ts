import type { RouteAction } from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { unpack } from '../../../xds/messages.ts'
import { ConfigError } from '../../context.ts'
import { compileFormat, compileHeaderFormat, type Formatter } from '../../observe/formatter.ts'
import type { StreamInfo } from '../../stream-info.ts'
import type { RequestHead } from '../headers.ts'
import { H } from '../names.ts'
import { HeaderReader } from './header-matcher.ts'
import type { PathMatcher } from './path-matcher.ts'
import { RegexRewrite } from './regex.ts'
import { UriTemplate, UriTemplateRewrite } from './uri-template.ts'

/** The index where query or fragment start, or the length. */
export function pathEnd(path: string): number {
  const query = path.indexOf('?')
  const hash = path.indexOf('#')
  if (query < 0) return hash < 0 ? path.length : hash
  return hash < 0 || query < hash ? query : hash
}

/**
 * A prefix_rewrite: what the match covered is replaced, query kept. A regex or template match covers the whole
 * path, as an exact one does.
 */
export function rewritePrefix(path: string, match: PathMatcher, replacement: string): string {
  const covered = match.kind === 'prefix' || match.kind === 'separated-prefix' ? match.text.length : pathEnd(path)
  return replacement + path.slice(covered)
}

/** How a route changes the path on its way upstream. */
export class PathRewrite {
  private readonly prefix: string
  private readonly regex: RegexRewrite | undefined
  private readonly template: UriTemplateRewrite | undefined
  private readonly format: Formatter | undefined
  private readonly match: PathMatcher

  private constructor(
    match: PathMatcher,
    prefix: string,
    regex: RegexRewrite | undefined,
    template: UriTemplateRewrite | undefined,
    format: Formatter | undefined,
  ) {
    this.match = match
    this.prefix = prefix
    this.regex = regex
    this.template = template
    this.format = format
  }

  /** Undefined when the action rewrites nothing. Throws ConfigError. */
  static of(action: RouteAction, match: PathMatcher, runtime: Runtime): PathRewrite | undefined {
    let template: UriTemplateRewrite | undefined
    const policy = action.pathRewritePolicy
    if (policy !== undefined) {
      const any = policy.typedConfig
      const config = any && unpack(any, 'envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig')
      if (!config) throw new ConfigError([`path_rewrite_policy: ${any?.typeUrl ?? policy.name} is not supported`])
      if (match.kind !== 'template') throw new ConfigError(['path_rewrite_policy: the route has no path template'])
      template = new UriTemplateRewrite(config.pathTemplateRewrite, new UriTemplate(match.text))
    }
    const regex = action.regexRewrite ? new RegexRewrite(action.regexRewrite) : undefined
    const format = action.pathRewrite === '' ? undefined : compileHeaderFormat(action.pathRewrite, runtime)
    const ways = [action.prefixRewrite !== '', regex !== undefined, template !== undefined, format !== undefined]
    const count = ways.filter(Boolean).length
    if (count === 0) return undefined
    if (count > 1) {
      throw new ConfigError([
        'only one of prefix_rewrite, regex_rewrite, path_rewrite_policy and path_rewrite may be set',
      ])
    }
    return new PathRewrite(match, action.prefixRewrite, regex, template, format)
  }

  /** Whether a format makes the path: what comes out empty then leaves it alone. */
  get formatted(): boolean {
    return this.format !== undefined
  }

  /** The new path; the same string when nothing changes. */
  rewrite(path: string, info: StreamInfo): string {
    if (this.prefix !== '') return rewritePrefix(path, this.match, this.prefix)
    const end = pathEnd(path)
    const only = path.slice(0, end)
    if (this.format !== undefined) {
      const made = this.format.format(info)
      return made === '' ? path : made + path.slice(end)
    }
    const rewritten = this.regex !== undefined ? this.regex.replaceAll(only) : this.template!.rewrite(only)
    return rewritten + path.slice(end)
  }

  toString(): string {
    return this.prefix !== '' ? this.prefix : String(this.regex ?? this.template)
  }
}

/** How a route changes the authority on its way upstream; `auto` waits for the host. */
export class HostRewrite {
  readonly auto: boolean
  readonly literal: string
  /** Of a weighted cluster entry: changes the authority without leaving a trace of the old one. */
  readonly ofEntry: boolean
  private readonly header: HeaderReader | undefined
  private readonly pathRegex: RegexRewrite | undefined
  private readonly format: Formatter | undefined

  /** Throws ConfigError. */
  constructor(action: Pick<RouteAction, 'hostRewriteSpecifier'>, runtime: Runtime, ofEntry = false) {
    const spec = action.hostRewriteSpecifier
    this.ofEntry = ofEntry
    this.auto = spec.case === 'autoHostRewrite' && spec.value.value
    this.literal = spec.case === 'hostRewriteLiteral' ? spec.value : ''
    this.header = spec.case === 'hostRewriteHeader' ? new HeaderReader(spec.value) : undefined
    this.pathRegex = spec.case === 'hostRewritePathRegex' ? new RegexRewrite(spec.value) : undefined
    this.format = spec.case === 'hostRewrite' ? compileFormat(spec.value, runtime) : undefined
  }

  /** The new authority, or '' for none. `path` is the original one. */
  authority(head: RequestHead, path: string, info: StreamInfo): string {
    if (this.format !== undefined) return this.format.format(info)
    if (this.literal !== '') return this.literal
    if (this.header !== undefined) return this.header.first(head) ?? ''
    if (this.pathRegex !== undefined) return this.pathRegex.replaceAll(path.slice(0, pathEnd(path)))
    return ''
  }
}

/**
 * Sets the authority, remembering the old one (source/common/http/utility.cc updateAuthority): x-envoy-original-host
 * always unless suppressed, x-forwarded-host when asked for.
 */
export function updateAuthority(
  head: RequestHead,
  authority: string,
  appendForwardedHost: boolean,
  keepOriginal: boolean,
): void {
  const before = head.authority
  if (appendForwardedHost && before !== '') {
    const list = head.get(H.xForwardedHost)
    const last = list?.slice(list.lastIndexOf(',') + 1).trim()
    if (list === undefined || list === '') head.set(H.xForwardedHost, before)
    else if (last !== before) head.set(H.xForwardedHost, `${list},${before}`)
  }
  if (keepOriginal && before !== '') head.set(H.originalHost, before)
  head.authority = authority
}
