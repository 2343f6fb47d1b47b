import type { Principal } from '#gen/envoy/config/rbac/v3/rbac_pb.js'
import { ConfigError } from '../context.ts'
import { compileStringMatcher, type StringMatcher } from '../http/router/string-matcher.ts'
import type { TlsInfo } from '../listener/connection.ts'
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
  sourcedMetadata,
  test,
  under,
  urlPath,
} from './matcher.ts'

/** Compiles a principal (source/extensions/filters/common/rbac/matchers.cc). Throws ConfigError. */
export function compilePrincipal({ identifier }: Principal): Matcher {
  switch (identifier.case) {
    case 'any':
      return ANY
    case 'andIds':
      return allOf(compileEach(identifier.value.ids, 'and_ids', compilePrincipal))
    case 'orIds':
      return anyOf(compileEach(identifier.value.ids, 'or_ids', compilePrincipal))
    case 'notId':
      return not(under('not_id', () => compilePrincipal(identifier.value)))
    case 'authenticated': {
      const name = identifier.value.principalName
      if (name === undefined) return test('authenticated', ({ connection }) => connection.tls !== undefined)
      const matcher = compileStringMatcher(name)
      return test(`authenticated as ${matcher}`, ({ connection }) => isPeer(connection.tls, matcher))
    }
    case 'sourceIp':
      return address('source IP', identifier.value, ({ connection }) => connection.remote.ip)
    case 'directRemoteIp':
      return address('direct remote IP', identifier.value, ({ connection }) => connection.directRemote.ip)
    case 'remoteIp':
      return address('remote IP', identifier.value, ({ info }) => info.trustedClientIp)
    case 'header':
      return header(identifier.value)
    case 'urlPath':
      return urlPath(identifier.value)
    case 'metadata':
      return metadata(identifier.value)
    case 'sourcedMetadata':
      return sourcedMetadata(identifier.value)
    case 'filterState': {
      const { key, matcher } = identifier.value
      if (matcher.case !== 'stringMatch') throw new ConfigError(['filter_state: string_match is required'])
      const value = compileStringMatcher(matcher.value)
      return test(`filter state ${key} ${value}`, ({ info }) => {
        const state = info.filterState?.get(key)
        return state !== undefined && value.matches(String(state))
      })
    }
    case 'custom':
      throw new ConfigError([`custom: '${identifier.value.name}' is not supported`])
    default:
      throw new ConfigError(['identifier: is required'])
  }
}

/** Any of the certificate's URI SANs, or of its DNS SANs, or its subject. */
function isPeer(tls: TlsInfo | undefined, matcher: StringMatcher): boolean {
  if (tls === undefined) return false
  const peer = tls.peer
  if (peer === undefined) return matcher.matches('')
  for (const san of peer.uriSans) if (matcher.matches(san)) return true
  for (const san of peer.dnsSans) if (matcher.matches(san)) return true
  return matcher.matches(peer.subject)
}
