import type { HeaderMatcher as HeaderMatcherProto } from '#gen/envoy/config/route/v3/route_components_pb.js'
import { ConfigError } from '../../context.ts'
import { type HeaderMap, type HeaderName, headerName, RequestHead, ResponseHead } from '../headers.ts'
import { compileStringMatcher, plainMatcher, regexMatcher, type StringMatcher } from './string-matcher.ts'

/** Reads the values of one header, pseudo headers and `host` included. */
export class HeaderReader {
  readonly name: string
  private readonly pseudo: ':method' | ':path' | ':authority' | ':scheme' | ':status' | undefined
  private readonly key: HeaderName

  constructor(name: string) {
    const lower = name.toLowerCase()
    this.name = lower
    this.key = headerName(lower)
    if (lower === 'host' || lower === ':authority') this.pseudo = ':authority'
    else if (lower === ':method' || lower === ':path' || lower === ':scheme' || lower === ':status') this.pseudo = lower
    else this.pseudo = undefined
  }

  /** The first value, or undefined. */
  first(head: HeaderMap): string | undefined {
    if (this.pseudo === undefined) return head.get(this.key)
    if (head instanceof RequestHead) {
      switch (this.pseudo) {
        case ':method':
          return head.method
        case ':path':
          return head.path
        case ':authority':
          return head.authority
        case ':scheme':
          return head.scheme
        default:
          return undefined
      }
    }
    return this.pseudo === ':status' && head instanceof ResponseHead ? String(head.status) : undefined
  }

  /** Every value. */
  all(head: HeaderMap): string[] {
    if (this.pseudo === undefined) return head.values(this.key)
    const value = this.first(head)
    return value === undefined ? [] : [value]
  }
}

class RangeMatcher implements StringMatcher {
  private readonly start: bigint
  private readonly end: bigint
  constructor(start: bigint, end: bigint) {
    this.start = start
    this.end = end
  }
  matches(value: string): boolean {
    if (!/^\s*[+-]?\d+$/.test(value)) return false
    const n = BigInt(value.trim().replace(/^\+/, ''))
    return n >= this.start && n < this.end
  }
  toString(): string {
    return `in [${this.start}, ${this.end})`
  }
}

/**
 * A compiled header matcher (source/common/http/header_utility.cc). Values of a repeated header are tried one by
 * one. A missing header never matches a value matcher, inverted or not, unless `treat_missing_header_as_empty`.
 */
export class HeaderMatcher {
  private readonly reader: HeaderReader
  /** Undefined: a presence test. */
  private readonly value: StringMatcher | undefined
  private readonly present: boolean
  private readonly invert: boolean
  private readonly missingAsEmpty: boolean

  constructor(config: HeaderMatcherProto) {
    if (config.name === '') throw new ConfigError(['name: must not be empty'])
    this.reader = new HeaderReader(config.name)
    this.invert = config.invertMatch
    this.missingAsEmpty = config.treatMissingHeaderAsEmpty
    const spec = config.headerMatchSpecifier
    this.present = spec.case === 'presentMatch' ? spec.value : true
    this.value = valueMatcher(config)
  }

  matches(head: HeaderMap): boolean {
    const first = this.reader.first(head)
    if (this.value === undefined) {
      return first === undefined ? this.invert === this.present : this.present !== this.invert
    }
    if (first === undefined) return this.missingAsEmpty ? this.value.matches('') !== this.invert : false
    if (this.value.matches(first)) return !this.invert
    const all = this.reader.all(head)
    for (let i = 1; i < all.length; i++) if (this.value.matches(all[i]!)) return !this.invert
    return this.invert
  }

  toString(): string {
    if (this.value === undefined) return `${this.reader.name} is ${this.present !== this.invert ? 'present' : 'absent'}`
    return `${this.reader.name} ${this.invert ? 'not ' : ''}${this.value}`
  }
}

function valueMatcher(config: HeaderMatcherProto): StringMatcher | undefined {
  const spec = config.headerMatchSpecifier
  switch (spec.case) {
    case 'exactMatch':
      return plainMatcher(spec.value === '' ? 'prefix' : 'exact', spec.value) // an empty one takes any value
    case 'prefixMatch':
      return plainMatcher('prefix', spec.value)
    case 'suffixMatch':
      return plainMatcher('suffix', spec.value)
    case 'containsMatch':
      return plainMatcher('contains', spec.value)
    case 'safeRegexMatch':
      return regexMatcher(spec.value.regex)
    case 'rangeMatch':
      return new RangeMatcher(spec.value.start, spec.value.end)
    case 'stringMatch':
      return compileStringMatcher(spec.value)
    default:
      return undefined // present_match, or nothing at all: present
  }
}

/** Compiles a list of header matchers; errors name the index. */
export function compileHeaderMatchers(configs: readonly HeaderMatcherProto[], path: string): HeaderMatcher[] {
  const errors: string[] = []
  const out: HeaderMatcher[] = []
  configs.forEach((config, i) => {
    try {
      out.push(new HeaderMatcher(config))
    } catch (e) {
      if (!(e instanceof ConfigError)) throw e
      for (const error of e.errors) errors.push(`${path}[${i}]: ${error}`)
    }
  })
  if (errors.length > 0) throw new ConfigError(errors)
  return out
}

/** Whether every matcher matches. */
export function matchAll(matchers: readonly HeaderMatcher[], head: HeaderMap): boolean {
  for (let i = 0; i < matchers.length; i++) if (!matchers[i]!.matches(head)) return false
  return true
}
