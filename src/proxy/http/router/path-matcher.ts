import type { RouteMatch } from '#gen/envoy/config/route/v3/route_components_pb.js'
import { unpack } from '../../../xds/messages.ts'
import { ConfigError } from '../../context.ts'
import { compileFullMatch, type FullMatch } from './regex.ts'
import { UriTemplate } from './uri-template.ts'

/** How the matched part of a path is found again by `prefix_rewrite`. */
export type PathKind = 'prefix' | 'path' | 'regex' | 'separated-prefix' | 'connect' | 'template'

/** The path condition of a route. `path` comes without query and fragment. */
export interface PathMatcher {
  readonly kind: PathKind
  /** The prefix, the path or the pattern as configured. */
  readonly text: string
  matches(path: string, method: string): boolean
  toString(): string
}

class Prefix implements PathMatcher {
  readonly kind = 'prefix'
  readonly text: string
  private readonly lower: string | undefined
  private readonly all: boolean
  constructor(text: string, caseSensitive: boolean) {
    this.text = text
    this.lower = caseSensitive ? undefined : text.toLowerCase()
    this.all = text === '/' || text === ''
  }
  matches(path: string): boolean {
    if (this.all) return this.text === '' || path.charCodeAt(0) === 0x2f
    return this.lower === undefined ? path.startsWith(this.text) : path.toLowerCase().startsWith(this.lower)
  }
  toString(): string {
    return `path prefix "${this.text}"${this.lower === undefined ? '' : ' (any case)'}`
  }
}

class Exact implements PathMatcher {
  readonly kind = 'path'
  readonly text: string
  private readonly lower: string | undefined
  constructor(text: string, caseSensitive: boolean) {
    this.text = text
    this.lower = caseSensitive ? undefined : text.toLowerCase()
  }
  matches(path: string): boolean {
    return this.lower === undefined ? path === this.text : path.toLowerCase() === this.lower
  }
  toString(): string {
    return `path "${this.text}"${this.lower === undefined ? '' : ' (any case)'}`
  }
}

class SeparatedPrefix implements PathMatcher {
  readonly kind = 'separated-prefix'
  readonly text: string
  private readonly wanted: string
  private readonly caseSensitive: boolean
  constructor(text: string, caseSensitive: boolean) {
    this.text = text
    this.caseSensitive = caseSensitive
    this.wanted = caseSensitive ? text : text.toLowerCase()
  }
  matches(path: string): boolean {
    const p = this.caseSensitive ? path : path.toLowerCase()
    return p.startsWith(this.wanted) && (p.length === this.wanted.length || p[this.wanted.length] === '/')
  }
  toString(): string {
    return `path below "${this.text}"${this.caseSensitive ? '' : ' (any case)'}`
  }
}

class Regex implements PathMatcher {
  readonly kind = 'regex'
  readonly text: string
  private readonly regex: FullMatch
  constructor(pattern: string) {
    this.text = pattern
    this.regex = compileFullMatch(pattern)
  }
  matches(path: string): boolean {
    return this.regex.matches(path)
  }
  toString(): string {
    return `path regex "${this.text}"`
  }
}

class Connect implements PathMatcher {
  readonly kind = 'connect'
  readonly text = ''
  matches(_path: string, method: string): boolean {
    return method === 'CONNECT'
  }
  toString(): string {
    return 'CONNECT'
  }
}

class Template implements PathMatcher {
  readonly kind = 'template'
  readonly text: string
  readonly template: UriTemplate
  constructor(text: string) {
    this.text = text
    this.template = new UriTemplate(text)
  }
  matches(path: string): boolean {
    return this.template.match(path) !== undefined
  }
  toString(): string {
    return `path template "${this.text}"`
  }
}

/** Compiles the path specifier of a route match. Throws ConfigError. */
export function compilePathMatcher(match: RouteMatch): PathMatcher {
  const caseSensitive = match.caseSensitive ?? true
  const spec = match.pathSpecifier
  switch (spec.case) {
    case 'prefix':
      return new Prefix(spec.value, caseSensitive)
    case 'path':
      return new Exact(spec.value, caseSensitive)
    case 'safeRegex':
      return new Regex(spec.value.regex)
    case 'connectMatcher':
      return new Connect()
    case 'pathSeparatedPrefix':
      if (!/^[^?#]+[^?#/]$/.test(spec.value)) {
        throw new ConfigError([
          `path_separated_prefix: "${spec.value}" must not end in a slash nor hold a query or fragment`,
        ])
      }
      return new SeparatedPrefix(spec.value, caseSensitive)
    case 'pathMatchPolicy': {
      const any = spec.value.typedConfig
      const template = any && unpack(any, 'envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig')
      if (!template) throw new ConfigError([`path_match_policy: ${any?.typeUrl ?? spec.value.name} is not supported`])
      return new Template(template.pathTemplate)
    }
    default:
      throw new ConfigError(['path_specifier: is required'])
  }
}
