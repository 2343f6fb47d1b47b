import type { Message } from '@bufbuild/protobuf'
import type { ConsistentHashing } from '#gen/envoy/extensions/matching/input_matchers/consistent_hashing/v3/consistent_hashing_pb.js'
import type { Ip } from '#gen/envoy/extensions/matching/input_matchers/ip/v3/ip_pb.js'
import type { Metadata } from '#gen/envoy/extensions/matching/input_matchers/metadata/v3/metadata_pb.js'
import type { RuntimeFraction } from '#gen/envoy/extensions/matching/input_matchers/runtime_fraction/v3/runtime_fraction_pb.js'
import type { StringMatcher } from '#gen/envoy/type/matcher/v3/string_pb.js'
import type { TypedExtensionConfig } from '#gen/xds/core/v3/extension_pb.js'
import type { CelMatcher } from '#gen/xds/type/matcher/v3/cel_pb.js'
import type { Matcher_MatcherList_Predicate as Predicate } from '#gen/xds/type/matcher/v3/matcher_pb.js'
import { problemText } from '../../xds/problem.ts'
import { resolveTypedConfig } from '../../xds/typed-config.ts'
import { celMatches, compileCelExpr } from '../cel/expression.ts'
import { ConfigError } from '../context.ts'
import { IpRanges } from '../http/addresses.ts'
import { Fraction } from '../http/router/fraction.ts'
import { compileMetadataValue } from '../http/router/metadata-matcher.ts'
import { compileStringMatcher } from '../http/router/string-matcher.ts'
import { parseIp } from '../listener/cidr.ts'
import type { StatsStore } from '../observe/stats.ts'
import type { StreamInfo } from '../stream-info.ts'
import { xxHash64 } from '../upstream/hash.ts'
import { type Input, inputOf, type Text, UNAVAILABLE } from './inputs.ts'
import type { Subject } from './subject.ts'

/** Whether a predicate holds; undefined: it cannot be told. */
export type Test = (subject: Subject) => boolean | undefined

/** What the compilation of a tree depends on. */
export interface MatchingOptions {
  /** Where matchers count; unset: nowhere. */
  readonly stats: StatsStore | undefined
  /** Why an input of this type is refused here; undefined if it is not. */
  readonly refuseInput: (type: string) => string | undefined
}

/** An extension's message. Throws ConfigError. */
export function extension(config: TypedExtensionConfig | undefined, path: string): Message {
  const any = config?.typedConfig
  if (any === undefined) throw new ConfigError([`${path}: typed_config is required`])
  const { message, problems } = resolveTypedConfig(any)
  if (message === undefined || problems.length > 0) throw new ConfigError([`${path}: ${problems.map(problemText)[0]}`])
  return message
}

/** An input of a tree. Throws ConfigError. */
export function compileInput(config: TypedExtensionConfig | undefined, options: MatchingOptions): Input {
  const message = extension(config, 'input')
  const refused = options.refuseInput(message.$typeName)
  if (refused !== undefined) throw new ConfigError([refused])
  const input = inputOf(message)
  if (input === undefined) throw new ConfigError([`input: '${message.$typeName}' is not supported`])
  return input
}

/** Compiles a predicate (source/common/matcher/field_matcher.h). Throws ConfigError. */
export function compilePredicate(config: Predicate | undefined, options: MatchingOptions): Test {
  const kind = config?.matchType
  switch (kind?.case) {
    case 'singlePredicate': {
      const input = compileInput(kind.value.input, options)
      const { matcher } = kind.value
      if (matcher.case === 'valueMatch') {
        // The xDS type has the fields of Envoy's own.
        const wanted = compileStringMatcher(matcher.value as unknown as StringMatcher)
        return ofText(input, (value) => wanted.matches(value))
      }
      if (matcher.case === 'customMatch') return compileCustom(input, extension(matcher.value, 'custom_match'), options)
      throw new ConfigError(['single_predicate: a matcher is required'])
    }
    case 'orMatcher': {
      const all = kind.value.predicate.map((each) => compilePredicate(each, options))
      return (subject) => {
        let unknown = false
        for (const test of all) {
          const answer = test(subject)
          if (answer) return true
          if (answer === undefined) unknown = true
        }
        return unknown ? undefined : false
      }
    }
    case 'andMatcher': {
      const all = kind.value.predicate.map((each) => compilePredicate(each, options))
      return (subject) => {
        for (const test of all) {
          const answer = test(subject)
          if (!answer) return answer
        }
        return true
      }
    }
    case 'notMatcher': {
      const test = compilePredicate(kind.value, options)
      return (subject) => {
        const answer = test(subject)
        return answer === undefined ? undefined : !answer
      }
    }
    default:
      throw new ConfigError(['predicate: is required'])
  }
}

const wrongInput = (kind: string, wanted: string): ConfigError =>
  new ConfigError([`Unsupported data input type: ${kind}. The matcher supports input type: ${wanted}`])

function ofText(input: Input, test: (value: string) => boolean): Test {
  // Envoy takes metadata for a text here, which it never is.
  if (input.kind === 'metadata') return () => false
  if (input.kind !== 'text') throw wrongInput('cel_data_input', 'string')
  return (subject) => {
    const value: Text = input.get(subject)
    if (value === UNAVAILABLE) return undefined
    return value !== undefined && test(value)
  }
}

function compileCustom(input: Input, config: Message, { stats }: MatchingOptions): Test {
  switch (config.$typeName) {
    case 'envoy.extensions.matching.input_matchers.ip.v3.Ip': {
      const { cidrRanges, statPrefix } = config as Ip
      const ranges = IpRanges.of(cidrRanges)
      const failed = stats?.counter(`${statPrefix.replace(/\.$/, '')}.ip_parsing_failed`)
      return ofText(input, (value) => {
        if (value === '') return false
        if (parseIp(value) === undefined) failed?.inc()
        return ranges.has(value)
      })
    }
    case 'envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing': {
      const { threshold, modulo, seed } = config as ConsistentHashing
      if (threshold > modulo) {
        throw new ConfigError([`threshold cannot be greater than modulo: ${threshold} > ${modulo}`])
      }
      return ofText(input, (value) => xxHash64(value, seed) % BigInt(modulo) >= BigInt(threshold))
    }
    case 'envoy.extensions.matching.input_matchers.runtime_fraction.v3.RuntimeFraction': {
      const { runtimeFraction, seed } = config as RuntimeFraction
      const fraction = Fraction.ofRuntime(runtimeFraction)
      return ofText(input, (value) => xxHash64(value, seed) % BigInt(fraction.denominator) < BigInt(fraction.numerator))
    }
    case 'envoy.extensions.matching.input_matchers.metadata.v3.Metadata': {
      const { value, invert } = config as Metadata
      if (value === undefined) throw new ConfigError(['value: is required'])
      if (input.kind !== 'metadata') throw wrongInput('string', 'metadata')
      const test = compileMetadataValue(value)
      return (subject) => test(input.get(subject)) !== invert
    }
    case 'xds.type.matcher.v3.CelMatcher':
      return compileCelMatcher(input, config as CelMatcher)
    default:
      throw new ConfigError([`custom_match: '${config.$typeName}' is not supported`])
  }
}

function compileCelMatcher(input: Input, { exprMatch }: CelMatcher): Test {
  if (input.kind !== 'cel') throw wrongInput(input.kind, 'cel_data_input')
  const specified = exprMatch?.exprSpecifier.value
  const expr = exprMatch?.celExprChecked?.expr ?? exprMatch?.celExprParsed?.expr ?? specified?.expr
  if (expr === undefined) throw new ConfigError(['failed to create an expression: CEL expression not set.'])
  const expression = compileCelExpr(expr)
  const info: (subject: Subject) => StreamInfo = input.get
  return (subject) => celMatches(expression, info(subject))
}
