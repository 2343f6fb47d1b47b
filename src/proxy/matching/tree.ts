import type { Message } from '@bufbuild/protobuf'
import type { ServerNameMatcher } from '#gen/xds/type/matcher/v3/domain_pb.js'
import type { IPMatcher } from '#gen/xds/type/matcher/v3/ip_pb.js'
import type {
  Matcher_MatcherTree as MatcherTree,
  Matcher_OnMatch as OnMatch,
  Matcher as TreeConfig,
} from '#gen/xds/type/matcher/v3/matcher_pb.js'
import { ConfigError } from '../context.ts'
import { type Cidr, inBlock, parseCidr, parseIp } from '../listener/cidr.ts'
import { type Input, UNAVAILABLE } from './inputs.ts'
import { compileInput, compilePredicate, extension, type MatchingOptions } from './predicate.ts'
import type { Subject } from './subject.ts'

/** The tree cannot come to an answer for this subject. */
export const UNDECIDED = Symbol('undecided')

/** A compiled tree: the action for a subject, undefined for none. */
export type MatchTree<A> = (subject: Subject) => A | undefined | typeof UNDECIDED

/** What a tree of actions of one kind is compiled with. */
export interface TreeOptions<A> extends MatchingOptions {
  /** Compiles what is done in the end. Throws ConfigError. */
  readonly action: (config: Message) => A
}

/** Compiles `xds.type.matcher.v3.Matcher` (source/common/matcher). Throws ConfigError. */
export function compileTree<A>(config: TreeConfig, options: TreeOptions<A>): MatchTree<A> {
  const otherwise = config.onNoMatch ? compileOnMatch(config.onNoMatch, options) : nothing
  const kind = config.matcherType
  switch (kind.case) {
    case 'matcherList': {
      const all = kind.value.matchers.map(({ predicate, onMatch }) => ({
        test: compilePredicate(predicate, options),
        next: compileOnMatch(onMatch, options),
      }))
      return (subject) => {
        for (const { test, next } of all) {
          const answer = test(subject)
          if (answer === undefined) return UNDECIDED
          const result = answer ? next(subject) : undefined
          if (result !== undefined) return result
        }
        return otherwise(subject)
      }
    }
    case 'matcherTree':
      return compileMap(kind.value, otherwise, options)
    default:
      return otherwise
  }
}

const nothing = (): undefined => undefined

function compileOnMatch<A>(config: OnMatch | undefined, options: TreeOptions<A>): MatchTree<A> {
  if (config?.keepMatching) throw new ConfigError(['keep_matching is not supported in this context'])
  const kind = config?.onMatch
  if (kind?.case === 'matcher') return compileTree(kind.value, options)
  if (kind?.case !== 'action') throw new ConfigError(['on_match: is required'])
  const action = options.action(extension(kind.value, 'action'))
  return () => action
}

/** What may follow from an input's value, the most specific first. */
type Candidates<A> = (value: string) => Iterable<MatchTree<A>>

function compileMap<A>(
  { input, treeType }: MatcherTree,
  otherwise: MatchTree<A>,
  options: TreeOptions<A>,
): MatchTree<A> {
  const from = compileInput(input, options)
  switch (treeType.case) {
    case 'exactMatchMap': {
      const children = compileAll(treeType.value.map, options)
      return follow(from, 'map', otherwise, (value) => present(children.get(value)))
    }
    case 'prefixMatchMap': {
      const children = compileAll(treeType.value.map, options)
      const prefixes = [...children].sort(([a], [b]) => b.length - a.length)
      return follow(from, 'map', otherwise, (value) =>
        prefixes.filter(([prefix]) => value.startsWith(prefix)).map(([, child]) => child),
      )
    }
    case 'customMatch': {
      const custom = extension(treeType.value, 'custom_match')
      if (custom.$typeName === 'xds.type.matcher.v3.IPMatcher') {
        return follow(from, 'IP range', otherwise, compileRanges(custom as IPMatcher, options))
      }
      if (custom.$typeName === 'xds.type.matcher.v3.ServerNameMatcher') {
        return follow(from, 'domain', otherwise, compileDomains(custom as ServerNameMatcher, options))
      }
      throw new ConfigError([`custom_match: '${custom.$typeName}' is not supported`])
    }
    default:
      throw new ConfigError(['matcher_tree: a map is required'])
  }
}

const present = <T>(value: T | undefined): T[] => (value === undefined ? [] : [value])

function compileAll<A>(map: Readonly<Record<string, OnMatch>>, options: TreeOptions<A>): Map<string, MatchTree<A>> {
  return new Map(Object.entries(map).map(([key, onMatch]) => [key, compileOnMatch(onMatch, options)]))
}

function follow<A>(input: Input, kind: string, otherwise: MatchTree<A>, candidates: Candidates<A>): MatchTree<A> {
  if (input.kind !== 'text') {
    throw new ConfigError([
      `Unsupported data input type: ${input.kind}, currently only string type is supported in ${kind} matcher`,
    ])
  }
  return (subject) => {
    const value = input.get(subject)
    if (value === UNAVAILABLE) return UNDECIDED
    if (value !== undefined) {
      for (const child of candidates(value)) {
        const result = child(subject)
        if (result !== undefined) return result
      }
    }
    return otherwise(subject)
  }
}

interface Range<A> {
  readonly block: Cidr
  /** Counts only where no longer prefix matches. */
  readonly exclusive: boolean
  readonly next: MatchTree<A>
}

/** The longest prefix first, then the order of the config (source/extensions/common/matcher/ip_range_matcher.h). */
function compileRanges<A>({ rangeMatchers }: IPMatcher, options: TreeOptions<A>): Candidates<A> {
  const ranges: Range<A>[] = rangeMatchers.flatMap(({ ranges, onMatch, exclusive }) => {
    const next = compileOnMatch(onMatch, options)
    return ranges.map(({ addressPrefix, prefixLen }) => {
      const block = parseCidr(addressPrefix, prefixLen ?? 0)
      if (block === undefined) throw new ConfigError([`malformed IP address: ${addressPrefix}`])
      return { block, exclusive, next }
    })
  })
  ranges.sort((a, b) => b.block.bits - a.block.bits)
  return (value) => {
    const ip = parseIp(value)
    if (ip === undefined) return []
    return ranges
      .filter(({ block }) => inBlock(block, ip))
      .filter(({ exclusive }, index) => index === 0 || !exclusive)
      .map(({ next }) => next)
  }
}

/** The name itself, then wildcards from the longest, then `*` (source/extensions/common/matcher/domain_matcher.h). */
function compileDomains<A>({ domainMatchers }: ServerNameMatcher, options: TreeOptions<A>): Candidates<A> {
  const byDomain = new Map<string, MatchTree<A>>()
  for (const { domains, onMatch } of domainMatchers) {
    const next = compileOnMatch(onMatch, options)
    for (const domain of domains) {
      checkDomain(domain)
      if (byDomain.has(domain)) throw new ConfigError([`Duplicate domain in ServerNameMatcher: ${domain}`])
      byDomain.set(domain, next)
    }
  }
  return (value) => {
    if (value === '') return []
    const keys = [value]
    for (let dot = value.indexOf('.'); dot >= 0; dot = value.indexOf('.', dot + 1)) keys.push(`*${value.slice(dot)}`)
    keys.push('*')
    return keys.flatMap((key) => present(byDomain.get(key)))
  }
}

function checkDomain(domain: string): void {
  if (domain === '') throw new ConfigError(['Empty domain in ServerNameMatcher'])
  const star = domain.indexOf('*')
  if (domain === '*' || star < 0) return
  if (star !== 0 || domain.length < 3 || domain[1] !== '.') {
    throw new ConfigError([`Invalid wildcard domain format: ${domain}. Only '*' and '*.domain' patterns are supported`])
  }
  if (domain.includes('*', 1)) {
    throw new ConfigError([`Invalid wildcard domain format: ${domain}. Multiple wildcards are not supported`])
  }
}
