import type {
  RateLimit_Action as ActionProto,
  RateLimit_Action_HeaderValueMatch as HeaderValueMatch,
  RateLimit_Action_MetaData as MetaData,
  RateLimit_Action_QueryParameterValueMatch as QueryParameterValueMatch,
  RateLimit_Action_RemoteAddressMatch as RemoteAddressMatch,
} from '#gen/envoy/config/route/v3/route_components_pb.js'
import { ConfigError } from '../../context.ts'
import { decodedQuery } from '../../filters/header-mutation-query.ts'
import { isPipe } from '../../listener/connection.ts'
import { toByteString } from '../../observe/format/bytes.ts'
import { metadataValue } from '../../observe/format/metadata.ts'
import { IpRanges } from '../addresses.ts'
import { compileHeaderMatchers, HeaderReader, matchAll } from '../router/header-matcher.ts'
import { QueryMatcher } from '../router/query-matcher.ts'
import type { RateLimitContext } from './context.ts'
import type { DescriptorEntry, DescriptorSubject } from './descriptor.ts'
import { compileDescriptorValue } from './descriptor-value.ts'
import { compileExtension } from './extension.ts'
import { canonicalIp, maskedIp } from './ip-text.ts'

/**
 * One action: appends its entry, or none where it has nothing to say and may be skipped; false: there is no
 * descriptor (source/common/router/router_ratelimit.cc, DescriptorProducer).
 */
export type DescriptorAction = (entries: DescriptorEntry[], subject: DescriptorSubject) => boolean

/** Compiles an action. Throws ConfigError. */
export function compileAction({ actionSpecifier: spec }: ActionProto, context: RateLimitContext): DescriptorAction {
  switch (spec.case) {
    case 'sourceCluster':
      return (entries, { localCluster }) => push(entries, 'source_cluster', toByteString(localCluster))
    case 'destinationCluster':
      return (entries, { routeCluster }) =>
        routeCluster !== undefined && push(entries, 'destination_cluster', toByteString(routeCluster))
    case 'requestHeaders': {
      const { headerName, descriptorKey, skipIfAbsent } = spec.value
      const reader = new HeaderReader(headerName)
      const key = toByteString(descriptorKey)
      return (entries, { request }) => pushOr(entries, key, reader.first(request), skipIfAbsent)
    }
    case 'queryParameters': {
      const { queryParameterName, descriptorKey, skipIfAbsent } = spec.value
      const name = toByteString(queryParameterName)
      const key = toByteString(descriptorKey)
      return (entries, { request }) => pushOr(entries, key, decodedQuery(request.path).get(name)?.[0], skipIfAbsent)
    }
    case 'remoteAddress':
      return (entries, subject) => {
        const ip = remoteIp(subject)
        return ip !== undefined && push(entries, 'remote_address', canonicalIp(ip))
      }
    case 'maskedRemoteAddress': {
      const { v4PrefixMaskLen = 32, v6PrefixMaskLen = 128 } = spec.value
      return (entries, subject) => {
        const ip = remoteIp(subject)
        const block = ip === undefined ? undefined : maskedIp(ip, v4PrefixMaskLen, v6PrefixMaskLen)
        return block !== undefined && push(entries, 'masked_remote_address', block)
      }
    }
    case 'genericKey': {
      const { descriptorKey, descriptorValue, defaultValue } = spec.value
      const key = toByteString(descriptorKey || 'generic_key')
      const value = compileDescriptorValue(descriptorValue, defaultValue, context)
      return (entries, { info }) => pushOr(entries, key, value(info), false)
    }
    case 'headerValueMatch':
      return headerValueMatch(spec.value, context)
    case 'queryParameterValueMatch':
      return queryParameterValueMatch(spec.value, context)
    case 'remoteAddressMatch':
      return remoteAddressMatch(spec.value, context)
    case 'metadata':
      return metadata(spec.value)
    case 'dynamicMetadata':
      throw new ConfigError([
        "Using deprecated option 'envoy.config.route.v3.RateLimit.Action.dynamic_metadata'. It will be removed from Envoy soon; use metadata",
      ])
    case 'extension':
      return compileExtension(spec.value)
    default:
      throw new ConfigError(['action_specifier: is required'])
  }
}

function push(entries: DescriptorEntry[], key: string, value: string): true {
  entries.push({ key, value })
  return true
}

function pushOr(entries: DescriptorEntry[], key: string, value: string | undefined, skip: boolean): boolean {
  return value === undefined ? skip : push(entries, key, value)
}

/** The client's address as far as it is trusted; undefined for a unix-domain peer. */
function remoteIp({ info, connection }: DescriptorSubject): string | undefined {
  if (info.trustedClientIp !== '') return info.trustedClientIp
  return isPipe(connection.remote) ? undefined : connection.remote.ip
}

function headerValueMatch(config: HeaderValueMatch, context: RateLimitContext): DescriptorAction {
  const key = toByteString(config.descriptorKey || 'header_match')
  const value = compileDescriptorValue(config.descriptorValue, config.defaultValue, context)
  const matchers = compileHeaderMatchers(config.headers, 'header_value_match.headers')
  const expected = config.expectMatch ?? true
  return (entries, { request, info }) =>
    matchAll(matchers, request) === expected && pushOr(entries, key, value(info), false)
}

function queryParameterValueMatch(config: QueryParameterValueMatch, context: RateLimitContext): DescriptorAction {
  const key = toByteString(config.descriptorKey || 'query_match')
  const value = compileDescriptorValue(config.descriptorValue, config.defaultValue, context)
  const matchers = config.queryParameters.map((matcher) => new QueryMatcher(matcher))
  const expected = config.expectMatch ?? true
  return (entries, { request, info }) => {
    // Unlike those of routes, these matchers see the query decoded.
    const query = decodedQuery(request.path)
    const matched = matchers.every((matcher) => matcher.matchesValue(query.get(matcher.name)?.[0]))
    return matched === expected && pushOr(entries, key, value(info), false)
  }
}

function remoteAddressMatch(config: RemoteAddressMatch, context: RateLimitContext): DescriptorAction {
  const key = toByteString(config.descriptorKey || 'remote_address_match')
  const value = compileDescriptorValue(config.descriptorValue, config.defaultValue, context, true)
  const { addressMatcher } = config
  if (addressMatcher === undefined) throw new ConfigError(['remote_address_match.address_matcher: value is required'])
  const ranges = IpRanges.of(addressMatcher.ranges)
  return (entries, subject) => {
    const ip = remoteIp(subject)
    if (ip === undefined || ranges.has(ip) === addressMatcher.invertMatch) return false
    return pushOr(entries, key, value(subject.info), false)
  }
}

/** MetaData.Source */
const ROUTE_ENTRY = 1
const CLUSTER_ENTRY = 2
const CLUSTER_LOCALITY_ENTRY = 3

function metadata(config: MetaData): DescriptorAction {
  const key = toByteString(config.descriptorKey)
  const place = config.metadataKey
  if (place === undefined) throw new ConfigError(['metadata.metadata_key: value is required'])
  const path = place.path.map(({ segment }) => segment.value ?? '')
  const source = sourceOf(config.source as number)
  const preset = config.defaultValue === '' ? undefined : toByteString(config.defaultValue)
  return (entries, subject) => {
    const found = metadataValue(source(subject), place.key, path)
    const text = typeof found === 'string' && found !== '' ? toByteString(found) : preset
    return pushOr(entries, key, text, config.skipIfAbsent)
  }
}

type Namespaces = Parameters<typeof metadataValue>[0]

function sourceOf(source: number): (subject: DescriptorSubject) => Namespaces {
  switch (source) {
    case ROUTE_ENTRY:
      return ({ routeMetadata }) => routeMetadata
    case CLUSTER_ENTRY:
      return ({ clusterMetadata }) => clusterMetadata
    case CLUSTER_LOCALITY_ENTRY:
      return ({ info }) => info.upstreamHost?.localityMetadata
    default:
      return ({ info }) => info.dynamicMetadata
  }
}
