import type { MetadataMatcher as MetadataMatcherProto } from '#gen/envoy/type/matcher/v3/metadata_pb.js'
import type { ValueMatcher } from '#gen/envoy/type/matcher/v3/value_pb.js'
import { ConfigError } from '../../context.ts'
import { compileStringMatcher } from './string-matcher.ts'

type Test = (value: unknown) => boolean

/** A compiled metadata matcher (source/common/common/matchers.cc): filter namespace, key path, value. */
export class MetadataMatcher {
  private readonly filter: string
  private readonly path: readonly string[]
  private readonly test: Test
  private readonly invert: boolean
  private readonly text: string

  constructor(config: MetadataMatcherProto) {
    if (config.filter === '') throw new ConfigError(['filter: must not be empty'])
    if (config.value === undefined) throw new ConfigError(['value: is required'])
    this.filter = config.filter
    this.path = config.path.map((segment) => segment.segment.value ?? '')
    const compiled = compileValue(config.value)
    this.test = compiled.test
    this.invert = config.invert
    this.text = compiled.text
  }

  /** `metadata` is plain objects by filter namespace. */
  matches(metadata: ReadonlyMap<string, Readonly<Record<string, unknown>>> | undefined): boolean {
    let value: unknown = metadata?.get(this.filter)
    for (const key of this.path) {
      const found = typeof value === 'object' && value !== null && Object.hasOwn(value, key)
      value = found ? (value as Record<string, unknown>)[key] : undefined
    }
    return this.test(value) !== this.invert
  }

  toString(): string {
    return `metadata ${this.filter} ${this.path.join('.')} ${this.invert ? 'not ' : ''}${this.text}`
  }
}

/** The test of one value of metadata. Throws ConfigError. */
export const compileMetadataValue = (config: ValueMatcher): Test => compileValue(config).test

function compileValue(config: ValueMatcher): { test: Test; text: string } {
  const pattern = config.matchPattern
  switch (pattern.case) {
    case 'nullMatch':
      return { test: (v) => v === null, text: 'null' }
    case 'boolMatch': {
      const wanted = pattern.value
      return { test: (v) => v === wanted, text: String(wanted) }
    }
    case 'presentMatch': {
      const wanted = pattern.value
      return { test: (v) => v !== undefined && v !== null && wanted, text: wanted ? 'present' : 'never' }
    }
    case 'stringMatch': {
      const matcher = compileStringMatcher(pattern.value)
      return { test: (v) => typeof v === 'string' && matcher.matches(v), text: matcher.toString() }
    }
    case 'doubleMatch': {
      const spec = pattern.value.matchPattern
      if (spec.case === 'range') {
        const { start, end } = spec.value
        return { test: (v) => typeof v === 'number' && v >= start && v < end, text: `in [${start}, ${end})` }
      }
      if (spec.case !== 'exact') throw new ConfigError(['double_match: is empty'])
      const exact = spec.value
      return { test: (v) => v === exact, text: `= ${exact}` }
    }
    case 'listMatch': {
      const spec = pattern.value.matchPattern
      if (spec.case !== 'oneOf') throw new ConfigError(['list_match: one_of is required'])
      const inner = compileValue(spec.value)
      return { test: (v) => Array.isArray(v) && v.some(inner.test), text: `has one ${inner.text}` }
    }
    case 'orMatch': {
      const inner = pattern.value.valueMatchers.map(compileValue)
      return { test: (v) => inner.some((i) => i.test(v)), text: inner.map((i) => i.text).join(' or ') }
    }
    default:
      throw new ConfigError(['match_pattern: is required'])
  }
}
