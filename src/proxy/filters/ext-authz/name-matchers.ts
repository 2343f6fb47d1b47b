import type { ListStringMatcher } from '#gen/envoy/type/matcher/v3/string_pb.js'
import { ConfigError } from '../../context.ts'
import { compileStringMatcher, plainMatcher, type StringMatcher } from '../../http/router/string-matcher.ts'

/** Which header names a list means. */
export class NameMatchers {
  private readonly matchers: readonly StringMatcher[]
  private readonly inverted: boolean

  private constructor(matchers: readonly StringMatcher[], inverted = false) {
    this.matchers = matchers
    this.inverted = inverted
  }

  /** `always`: names that it means in any case. Throws ConfigError. */
  static of(list: ListStringMatcher | undefined, ...always: string[]): NameMatchers {
    const matchers = (list?.patterns ?? []).map((pattern, i) => {
      try {
        return compileStringMatcher(pattern)
      } catch (e) {
        if (!(e instanceof ConfigError)) throw e
        throw new ConfigError(e.errors.map((error) => `patterns[${i}].${error}`))
      }
    })
    return new NameMatchers([...matchers, ...always.map((name) => plainMatcher('exact', name))])
  }

  /** All names but this one. */
  static allBut(name: string): NameMatchers {
    return new NameMatchers([plainMatcher('exact', name)], true)
  }

  matches(name: string): boolean {
    for (const matcher of this.matchers) if (matcher.matches(name)) return !this.inverted
    return this.inverted
  }
}
