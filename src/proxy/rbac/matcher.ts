import type { Message } from '@bufbuild/protobuf'
import type { CidrRange } from '#gen/envoy/config/core/v3/address_pb.js'
import type { TypedExtensionConfig } from '#gen/envoy/config/core/v3/extension_pb.js'
import type { SourcedMetadata } from '#gen/envoy/config/rbac/v3/rbac_pb.js'
import type { HeaderMatcher as HeaderMatcherProto } from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { MetadataMatcher as MetadataMatcherProto } from '#gen/envoy/type/matcher/v3/metadata_pb.js'
import type { PathMatcher as PathMatcherProto } from '#gen/envoy/type/matcher/v3/path_pb.js'
import { problemText } from '../../xds/problem.ts'
import { configTypeName, resolveTypedConfig } from '../../xds/typed-config.ts'
import { ConfigError } from '../context.ts'
import { IpRanges } from '../http/addresses.ts'
import type { RequestHead } from '../http/headers.ts'
import { HeaderMatcher } from '../http/router/header-matcher.ts'
import { MetadataMatcher } from '../http/router/metadata-matcher.ts'
import { pathEnd } from '../http/router/rewrite.ts'
import { compileStringMatcher } from '../http/router/string-matcher.ts'
import { parseCidr } from '../listener/cidr.ts'
import type { Subject } from '../matching/subject.ts'

/** A compiled permission or principal. Prints itself for `explain`. */
export interface Matcher {
  matches(subject: Subject): boolean
  toString(): string
}

class Test implements Matcher {
  private readonly test: (subject: Subject) => boolean
  private readonly text: string
  constructor(text: string, test: (subject: Subject) => boolean) {
    this.text = text
    this.test = test
  }
  matches(subject: Subject): boolean {
    return this.test(subject)
  }
  toString(): string {
    return this.text
  }
}

class Joined implements Matcher {
  private readonly matchers: readonly Matcher[]
  private readonly all: boolean
  constructor(matchers: readonly Matcher[], all: boolean) {
    this.matchers = matchers
    this.all = all
  }
  matches(subject: Subject): boolean {
    for (const matcher of this.matchers) if (matcher.matches(subject) !== this.all) return !this.all
    return this.all
  }
  toString(): string {
    return this.matchers.length === 1
      ? this.matchers[0]!.toString()
      : `(${this.matchers.join(this.all ? ' and ' : ' or ')})`
  }
}

/** A matcher that is one predicate. */
export const test = (text: string, matches: (subject: Subject) => boolean): Matcher => new Test(text, matches)
/** True for everything. */
export const ANY: Matcher = test('any', () => true)
/** All of them. */
export const allOf = (matchers: readonly Matcher[]): Matcher => new Joined(matchers, true)
/** At least one of them. */
export const anyOf = (matchers: readonly Matcher[]): Matcher => new Joined(matchers, false)
/** Whatever the other does not match. */
export const not = (matcher: Matcher): Matcher => test(`not ${matcher}`, (subject) => !matcher.matches(subject))

/** The path without query and fragment; empty without a request. */
export function pathOf(head: RequestHead | undefined): string {
  const path = head?.path ?? ''
  return path.slice(0, pathEnd(path))
}

/** A header of the request; there is none without a request. */
export function header(config: HeaderMatcherProto): Matcher {
  const matcher = new HeaderMatcher(config)
  return test(`${matcher}`, ({ head }) => head !== undefined && matcher.matches(head))
}

/** The path without its query. */
export function urlPath(config: PathMatcherProto): Matcher {
  if (config.rule.case !== 'path') throw new ConfigError(['url_path: a path is required'])
  const matcher = compileStringMatcher(config.rule.value)
  return test(`path ${matcher}`, ({ head }) => head !== undefined && head.path !== '' && matcher.matches(pathOf(head)))
}

/** Dynamic metadata of the request or connection. */
export function metadata(config: MetadataMatcherProto): Matcher {
  const matcher = new MetadataMatcher(config)
  return test(`${matcher}`, ({ info }) => matcher.matches(info.dynamicMetadata))
}

const FROM_ROUTE = 1

/** Metadata of the route, or the dynamic one. Throws ConfigError. */
export function sourcedMetadata({ metadataMatcher, metadataSource }: SourcedMetadata): Matcher {
  if (!metadataMatcher) throw new ConfigError(['sourced_metadata: metadata_matcher is required'])
  if (metadataSource !== FROM_ROUTE) return metadata(metadataMatcher)
  const matcher = new MetadataMatcher(metadataMatcher)
  // Without a route nothing matches, not even what is to be absent.
  return test(`route ${matcher}`, ({ info }) =>
    info.virtualHostName !== undefined && matcher.matches(info.routeMetadata))
}

/** An address in a block; `text` says which address. Throws ConfigError when the block is none. */
export function address(text: string, config: CidrRange, ip: (subject: Subject) => string): Matcher {
  const block = parseCidr(config.addressPrefix, config.prefixLen ?? 0)
  if (!block) throw new ConfigError([`${text}: "${config.addressPrefix}" is no IP address`])
  const ranges = new IpRanges([block])
  return test(`${text} in ${config.addressPrefix}/${block.bits}`, (subject) => ranges.has(ip(subject)))
}

/** Compiles each with its index in the path of the errors. */
export function compileEach<T>(configs: readonly T[], path: string, compile: (config: T) => Matcher): Matcher[] {
  return configs.map((config, index) => under(`${path}[${index}]`, () => compile(config)))
}

/** Runs a compilation; its errors get a path in front. */
export function under<T>(path: string, compile: () => T): T {
  try {
    return compile()
  } catch (e) {
    if (!(e instanceof ConfigError)) throw e
    throw new ConfigError(e.errors.map((error) => `${path}.${error}`))
  }
}

/** The message of an extension that has to be of one type. Throws ConfigError. */
export function opened({ name, typedConfig: any }: TypedExtensionConfig, field: string, wanted: string): Message {
  const type = any === undefined ? name : configTypeName(any)
  if (any === undefined || type !== wanted) throw new ConfigError([`${field}: '${type}' is not supported`])
  const { message, problems } = resolveTypedConfig(any)
  if (message === undefined || problems.length > 0) throw new ConfigError(problems.map(problemText))
  return message
}
