import type { CookieMatcher as CookieMatcherProto } from '#gen/envoy/config/route/v3/route_components_pb.js'
import { ConfigError } from '../../context.ts'
import type { RequestHead } from '../headers.ts'
import { cookieValue } from './hash-policy.ts'
import { compileStringMatcher, type StringMatcher } from './string-matcher.ts'

/** A compiled cookie matcher: looks at the first value of a cookie; a missing one matches only when inverted. */
export class CookieMatcher {
  private readonly name: string
  private readonly value: StringMatcher
  private readonly invert: boolean

  /** Throws ConfigError. */
  constructor(config: CookieMatcherProto) {
    if (config.stringMatch === undefined) throw new ConfigError(['string_match: is required'])
    this.name = config.name
    this.value = compileStringMatcher(config.stringMatch)
    this.invert = config.invertMatch
  }

  matches(head: RequestHead): boolean {
    const value = cookieValue(head, this.name)
    return (value !== undefined && this.value.matches(value)) !== this.invert
  }

  toString(): string {
    return `cookie ${this.name} ${this.invert ? 'not ' : ''}${this.value}`
  }
}
