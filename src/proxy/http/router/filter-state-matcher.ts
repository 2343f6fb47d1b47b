import type { FilterStateMatcher as FilterStateMatcherProto } from '#gen/envoy/type/matcher/v3/filter_state_pb.js'
import { ConfigError } from '../../context.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { compileStringMatcher, type StringMatcher } from './string-matcher.ts'

/** A compiled matcher of an object in the filter state, by the text that stands for it. */
export class FilterStateMatcher {
  private readonly key: string
  private readonly value: StringMatcher

  /** Throws ConfigError. */
  constructor(config: FilterStateMatcherProto) {
    const { matcher } = config
    if (matcher.case !== 'stringMatch') throw new ConfigError([`${matcher.case ?? 'matcher'}: not supported`])
    this.key = config.key
    this.value = compileStringMatcher(matcher.value)
  }

  matches(info: StreamInfo): boolean {
    const value = info.filterState?.get(this.key)
    return value !== undefined && this.value.matches(String(value))
  }

  toString(): string {
    return `filter state ${this.key} ${this.value}`
  }
}
