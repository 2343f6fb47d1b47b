import type { QueryParameterMatcher as QueryParameterMatcherProto } from '#gen/envoy/config/route/v3/route_components_pb.js'
import { ConfigError } from '../../context.ts'
import { compileStringMatcher, type StringMatcher } from './string-matcher.ts'

/** The first value of a query parameter, undecoded; undefined when absent. `?a` has the value ''. */
export function queryParameter(path: string, name: string): string | undefined {
  let at = path.indexOf('?')
  if (at < 0) return undefined
  const hash = path.indexOf('#', at)
  const end = hash < 0 ? path.length : hash
  at++
  while (at < end) {
    let stop = path.indexOf('&', at)
    if (stop < 0 || stop > end) stop = end
    const eq = path.indexOf('=', at)
    const nameEnd = eq < 0 || eq > stop ? stop : eq
    if (nameEnd - at === name.length && path.startsWith(name, at)) return eq === nameEnd ? path.slice(eq + 1, stop) : ''
    at = stop + 1
  }
  return undefined
}

/** A compiled query parameter matcher (source/common/router/config_utility.cc): looks at the first value only. */
export class QueryMatcher {
  readonly name: string
  private readonly value: StringMatcher | undefined
  private readonly present: boolean

  constructor(config: QueryParameterMatcherProto) {
    if (config.name === '') throw new ConfigError(['name: must not be empty'])
    this.name = config.name
    const spec = config.queryParameterMatchSpecifier
    this.value = spec.case === 'stringMatch' ? compileStringMatcher(spec.value) : undefined
    this.present = spec.case === 'presentMatch' ? spec.value : true
  }

  matches(path: string): boolean {
    return this.matchesValue(queryParameter(path, this.name))
  }

  /** Whether this first value matches; undefined: the parameter is absent. */
  matchesValue(value: string | undefined): boolean {
    if (this.value === undefined) return (value !== undefined) === this.present
    return value !== undefined && this.value.matches(value)
  }

  toString(): string {
    if (this.value === undefined) return `?${this.name} is ${this.present ? 'present' : 'absent'}`
    return `?${this.name} ${this.value}`
  }
}
