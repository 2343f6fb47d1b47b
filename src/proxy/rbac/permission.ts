import type { Permission } from '#gen/envoy/config/rbac/v3/rbac_pb.js'
import type { UriTemplateMatchConfig } from '#gen/envoy/extensions/path/match/uri_template/v3/uri_template_match_pb.js'
import { problemText } from '../../xds/problem.ts'
import { configTypeName, resolveTypedConfig } from '../../xds/typed-config.ts'
import { ConfigError } from '../context.ts'
import { compileStringMatcher } from '../http/router/string-matcher.ts'
import { UriTemplate } from '../http/router/uri-template.ts'
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
  pathOf,
  sourcedMetadata,
  test,
  under,
  urlPath,
} from './matcher.ts'

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
      const any = rule.value.typedConfig
      const type = any === undefined ? '' : configTypeName(any)
      if (any === undefined || type !== URI_TEMPLATE)
        throw new ConfigError([`uri_template: '${type}' is not supported`])
      const { message, problems } = resolveTypedConfig(any)
      if (message === undefined || problems.length > 0) throw new ConfigError(problems.map(problemText))
      const template = new UriTemplate((message as UriTemplateMatchConfig).pathTemplate)
      return test(`path like ${template.text}`, ({ head }) => template.match(pathOf(head)) !== undefined)
    }
    case 'matcher':
      throw new ConfigError([`matcher: '${rule.value.name}' is not supported`])
    default:
      throw new ConfigError(['rule: is required'])
  }
}
