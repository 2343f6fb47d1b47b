import type { StringMatcher as StringMatcherProto } from '#gen/envoy/type/matcher/v3/string_pb.js'
import { ConfigError } from '../../context.ts'
import { compileFullMatch } from './regex.ts'

/** A compiled `envoy.type.matcher.v3.StringMatcher` (source/common/common/matchers.h). Prints itself for `explain`. */
export interface StringMatcher {
  matches(value: string): boolean
  toString(): string
}

type Kind = 'exact' | 'prefix' | 'suffix' | 'contains'

class PlainMatcher implements StringMatcher {
  readonly kind: Kind
  readonly text: string
  readonly ignoreCase: boolean
  private readonly wanted: string
  constructor(kind: Kind, text: string, ignoreCase: boolean) {
    this.kind = kind
    this.text = text
    this.ignoreCase = ignoreCase
    this.wanted = ignoreCase ? text.toLowerCase() : text
  }
  matches(value: string): boolean {
    const v = this.ignoreCase ? value.toLowerCase() : value
    switch (this.kind) {
      case 'exact':
        return v === this.wanted
      case 'prefix':
        return v.startsWith(this.wanted)
      case 'suffix':
        return v.endsWith(this.wanted)
      default:
        return v.includes(this.wanted)
    }
  }
  toString(): string {
    return `${this.kind} "${this.text}"${this.ignoreCase ? ' (any case)' : ''}`
  }
}

class RegexMatcher implements StringMatcher {
  private readonly regex: StringMatcher
  constructor(pattern: string) {
    this.regex = compileFullMatch(pattern)
  }
  matches(value: string): boolean {
    return this.regex.matches(value)
  }
  toString(): string {
    return `regex "${this.regex}"`
  }
}

/** A matcher by kind and text. */
export function plainMatcher(kind: Kind, text: string, ignoreCase = false): StringMatcher {
  return new PlainMatcher(kind, text, ignoreCase)
}

/** A full-match RE2 matcher. Throws ConfigError. */
export function regexMatcher(pattern: string): StringMatcher {
  return new RegexMatcher(pattern)
}

/** Compiles the message. Throws ConfigError on a bad regex, an empty prefix and the like, or an unsupported kind. */
export function compileStringMatcher(config: StringMatcherProto): StringMatcher {
  const pattern = config.matchPattern
  switch (pattern.case) {
    case 'exact':
      return new PlainMatcher('exact', pattern.value, config.ignoreCase)
    case 'prefix':
    case 'suffix':
    case 'contains':
      if (pattern.value === '') throw new ConfigError([`${pattern.case}: must not be empty`])
      return new PlainMatcher(pattern.case, pattern.value, config.ignoreCase)
    case 'safeRegex':
      if (config.ignoreCase) throw new ConfigError(['ignore_case has no effect for safe_regex'])
      return new RegexMatcher(pattern.value.regex)
    case 'custom':
      throw new ConfigError(['custom: not supported'])
    default:
      throw new ConfigError(['match_pattern: is required'])
  }
}
