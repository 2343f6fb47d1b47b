import { RE2JS } from 're2js'
import type { RegexMatchAndSubstitute } from '#gen/envoy/type/matcher/v3/regex_pb.js'
import { ConfigError } from '../../context.ts'

/** Tests whether a whole string matches. */
export interface FullMatch {
  matches(value: string): boolean
  toString(): string
}

const META = /[\\^$.*+?()[\]{}|]/

class Everything implements FullMatch {
  readonly pattern: string
  constructor(pattern: string) {
    this.pattern = pattern
  }
  matches(value: string): boolean {
    return !value.includes('\n')
  }
  toString(): string {
    return this.pattern
  }
}

class Literal implements FullMatch {
  readonly pattern: string
  constructor(pattern: string) {
    this.pattern = pattern
  }
  matches(value: string): boolean {
    return value === this.pattern
  }
  toString(): string {
    return this.pattern
  }
}

/** `literal.*` and `literal.+`: a prefix and then anything, at least `more` characters of it. */
class LiteralPrefix implements FullMatch {
  readonly pattern: string
  readonly prefix: string
  readonly more: number
  constructor(pattern: string, prefix: string, more: number) {
    this.pattern = pattern
    this.prefix = prefix
    this.more = more
  }
  matches(value: string): boolean {
    return (
      value.length >= this.prefix.length + this.more &&
      value.startsWith(this.prefix) &&
      !value.includes('\n', this.prefix.length)
    )
  }
  toString(): string {
    return this.pattern
  }
}

class Re2 implements FullMatch {
  readonly pattern: string
  readonly re: RE2JS
  constructor(pattern: string, re: RE2JS) {
    this.pattern = pattern
    this.re = re
  }
  matches(value: string): boolean {
    return this.re.testExact(value)
  }
  toString(): string {
    return this.pattern
  }
}

/**
 * Compiles an RE2 expression that must match the whole string. Simple shapes (`.*`, a literal, a literal then
 * `.*`) never reach the engine. Throws ConfigError on a bad expression.
 */
export function compileFullMatch(pattern: string): FullMatch {
  if (pattern === '.*') return new Everything(pattern)
  if (!META.test(pattern)) return new Literal(pattern)
  const head = pattern.slice(0, -2)
  if (pattern.endsWith('.*') && !META.test(head)) return new LiteralPrefix(pattern, head, 0)
  if (pattern.endsWith('.+') && !META.test(head)) return new LiteralPrefix(pattern, head, 1)
  return new Re2(pattern, compileRe2(pattern))
}

function compileRe2(pattern: string): RE2JS {
  try {
    return RE2JS.compile(pattern)
  } catch (e) {
    throw new ConfigError([`invalid regex '${pattern}': ${e instanceof Error ? e.message : String(e)}`])
  }
}

/** A `RegexMatchAndSubstitute`: replaces every match, `\0`-`\9` standing for groups (RE2::GlobalReplace). */
export class RegexRewrite {
  readonly pattern: string
  readonly substitution: string
  private readonly re: RE2JS
  /** Literals and group numbers, alternately as they come. */
  private readonly parts: readonly (string | number)[]
  /** The substitution names a group that the pattern lacks: RE2 then replaces nothing. */
  private readonly inert: boolean

  constructor(config: RegexMatchAndSubstitute) {
    this.pattern = config.pattern?.regex ?? ''
    this.substitution = config.substitution
    this.re = compileRe2(this.pattern)
    this.parts = parseSubstitution(config.substitution)
    const groups = this.re.groupCount()
    this.inert = this.parts.some((part) => typeof part === 'number' && part > groups)
  }

  /** The string with all matches replaced; the same string when there is none. */
  replaceAll(value: string): string {
    if (this.inert) return value
    const matcher = this.re.matcher(value)
    let out = ''
    let at = 0
    while (matcher.find()) {
      const start = matcher.start()
      out += value.slice(at, start)
      for (const part of this.parts) out += typeof part === 'string' ? part : (matcher.group(part) ?? '')
      at = matcher.end()
    }
    return at === 0 && out === '' ? value : out + value.slice(at)
  }

  toString(): string {
    return `${this.pattern} => ${this.substitution}`
  }
}

/** A backslash before anything else than a digit or a backslash ends the substitution, as in RE2::Rewrite. */
function parseSubstitution(text: string): (string | number)[] {
  const parts: (string | number)[] = []
  let literal = ''
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!
    if (c !== '\\') {
      literal += c
      continue
    }
    const next = text[++i]
    if (next === '\\') literal += '\\'
    else if (next !== undefined && next >= '0' && next <= '9') {
      if (literal !== '') parts.push(literal)
      literal = ''
      parts.push(Number(next))
    } else break
  }
  if (literal !== '') parts.push(literal)
  return parts
}
