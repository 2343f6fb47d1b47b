import type { Permission } from '#gen/envoy/config/rbac/v3/rbac_pb.js'
import type { UriTemplateMatchConfig } from '#gen/envoy/extensions/path/match/uri_template/v3/uri_template_match_pb.js'
import type { UpstreamIpPortMatcher } from '#gen/envoy/extensions/rbac/matchers/upstream_ip_port/v3/upstream_ip_port_matcher_pb.js'
import { ConfigError } from '../context.ts'
import { IpRanges } from '../http/addresses.ts'
import { compileStringMatcher } from '../http/router/string-matcher.ts'
import { UriTemplate } from '../http/router/uri-template.ts'
import { parseAddress } from '../listener/connection.ts'
import {
  ANY,
  address,
  allOf,
  anyOf,
  compileEach,
  header,
  type Matcher,
  metadata,
  not,
  opened,
  pathOf,
  sourcedMetadata,
  test,
  under,
  urlPath,
} from './matcher.ts'

const UPSTREAM_IP_PORT = 'envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher'
const UPSTREAM_ADDRESS = 'envoy.stream.upstream_address'
const URI_TEMPLATE = 'envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig'

/** Compiles a permission (source/extensions/filters/common/rbac/matchers.cc). Throws ConfigError. */
export function compilePermission({ rule }: Permission): Matcher {
  switch (rule.case) {
    case 'any':
      return ANY
    case 'andRules':
      return allOf(compileEach(rule.value.rules, 'and_rules', compilePermission))
    case 'orRules':
      return anyOf(compileEach(rule.value.rules, 'or_rules', compilePermission))
    case 'notRule':
      return not(under('not_rule', () => compilePermission(rule.value)))
    case 'header':
      return header(rule.value)
    case 'urlPath':
      return urlPath(rule.value)
    case 'destinationIp':
      return address('destination IP', rule.value, ({ connection }) => connection.local.ip)
    case 'destinationPort': {
      const port = rule.value
      return test(`destination port ${port}`, ({ connection }) => connection.local.port === port)
    }
    case 'destinationPortRange': {
      const { start, end } = rule.value
      checkRange(start, end)
      return test(`destination port in [${start}, ${end})`, ({ connection: { local } }) =>
        local.port >= start && local.port < end)
    }
    case 'metadata':
      return metadata(rule.value)
    case 'sourcedMetadata':
      return sourcedMetadata(rule.value)
    case 'requestedServerName': {
      const matcher = compileStringMatcher(rule.value)
      return test(`SNI ${matcher}`, ({ connection }) => matcher.matches(connection.sni))
    }
    case 'uriTemplate': {
      const config = opened(rule.value, 'uri_template', URI_TEMPLATE) as UriTemplateMatchConfig
      const template = new UriTemplate(config.pathTemplate)
      return test(`path like ${template.text}`, ({ head }) => template.match(pathOf(head)) !== undefined)
    }
    case 'matcher':
      return upstreamAddress(opened(rule.value, 'matcher', UPSTREAM_IP_PORT) as UpstreamIpPortMatcher)
    default:
      throw new ConfigError(['rule: is required'])
  }
}

function checkRange(start: number, end: number): void {
  if (start < 0 || start > 65_536)
    throw new ConfigError([`destination_port_range: range start ${start} is out of bounds`])
  if (end < 0 || end > 65_536) throw new ConfigError([`destination_port_range: range end ${end} is out of bounds`])
  if (start >= end)
    throw new ConfigError([
      `destination_port_range: range start ${start} cannot be greater or equal than range end ${end}`,
    ])
}

/** The address that a filter before has chosen for the request, such as one that resolved its host. */
function upstreamAddress({ upstreamIp, upstreamPortRange }: UpstreamIpPortMatcher): Matcher {
  if (!upstreamIp && !upstreamPortRange) {
    throw new ConfigError([
      'Invalid UpstreamIpPortMatcher configuration - missing `upstream_ip` and/or `upstream_port_range`',
    ])
  }
  const ranges = upstreamIp && IpRanges.of([upstreamIp])
  return test('upstream address', ({ info }) => {
    const address = parseAddress(String(info.filterState?.get(UPSTREAM_ADDRESS) ?? ''))
    if (address === undefined || (ranges && !ranges.has(address.ip))) return false
    const { start, end } = upstreamPortRange ?? { start: 0n, end: 65_535n }
    return address.port >= start && address.port <= end
  })
}
