import type { Principal } from '#gen/envoy/config/rbac/v3/rbac_pb.js'
import type { Config as MtlsAuthenticated } from '#gen/envoy/extensions/rbac/principals/mtls_authenticated/v3/mtls_authenticated_pb.js'
import type { CertificateValidationContext } from '#gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import type { FilterStateMatcher } from '#gen/envoy/type/matcher/v3/filter_state_pb.js'
import { make } from '../../xds/messages.ts'
import { ConfigError } from '../context.ts'
import { IpRanges } from '../http/addresses.ts'
import { compileStringMatcher, type StringMatcher } from '../http/router/string-matcher.ts'
import { parseAddress, type TlsInfo } from '../listener/connection.ts'
import { compilePeerVerifier } from '../tls/san-match.ts'
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
  sourcedMetadata,
  test,
  under,
  urlPath,
} from './matcher.ts'

const MTLS_AUTHENTICATED = 'envoy.extensions.rbac.principals.mtls_authenticated.v3.Config'

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
    case 'filterState':
      return filterState(identifier.value)
    case 'custom':
      return mtlsAuthenticated(opened(identifier.value, 'custom', MTLS_AUTHENTICATED) as MtlsAuthenticated)
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

function filterState({ key, matcher }: FilterStateMatcher): Matcher {
  switch (matcher.case) {
    case 'stringMatch': {
      const value = compileStringMatcher(matcher.value)
      return test(`filter state ${key} ${value}`, ({ info }) => {
        const state = info.filterState?.get(key)
        return state !== undefined && value.matches(String(state))
      })
    }
    case 'addressMatch': {
      const { ranges, invertMatch } = matcher.value
      const blocks = IpRanges.of(ranges)
      return test(`filter state ${key} is an address`, ({ info }) => {
        const state = info.filterState?.get(key)
        if (state === undefined) return false
        const text = String(state)
        return blocks.has(parseAddress(text)?.ip ?? text) !== invertMatch
      })
    }
    default:
      throw new ConfigError(['filter_state: a matcher is required'])
  }
}

/** A client whose certificate was verified (source/extensions/filters/common/rbac/principals/mtls_authenticated). */
function mtlsAuthenticated({ sanMatcher, anyValidatedClientCertificate }: MtlsAuthenticated): Matcher {
  if (!sanMatcher && !anyValidatedClientCertificate) {
    throw new ConfigError([
      'envoy.rbac.principals.mtls_authenticated did not have any configured validation. ' +
        'At least one configuration field must be set.',
    ])
  }
  const errors: string[] = []
  const context: CertificateValidationContext = make(
    'envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext',
    { matchTypedSubjectAltNames: sanMatcher ? [sanMatcher] : [] },
  )
  const verifier = compilePeerVerifier(context, 'san_matcher', errors)
  if (errors.length > 0) throw new ConfigError(errors)
  return test('client with a verified certificate', ({ connection: { tls } }) => {
    if (tls?.peer === undefined || !tls.peerValidated) return false
    return verifier === undefined || verifier.verify(tls.peer, () => {}) === undefined
  })
}
