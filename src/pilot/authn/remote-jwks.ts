import type { JWTRule } from '../../api/kinds/request-authentication.ts'
import type { Init } from '../../xds/messages.ts'
import { outboundCluster } from '../names.ts'
import { millis } from '../proto.ts'
import { lookupProviderCluster } from '../providers.ts'
import type { PushContext } from '../scope/push-context.ts'
import { hostOf } from './mesh-dial.ts'

/** How long Envoy uses keys before it fetches them again. */
const CACHE_SECONDS = 300n

/** Whether the proxies themselves fetch a rule's keys, which PILOT_JWT_ENABLE_REMOTE_JWKS asks for. */
export function isFetchedByProxies(push: PushContext, rule: JWTRule): boolean {
  const mode = push.env.jwksFetchMode
  if (mode === 'istiod' || !rule.jwksUri) return false
  return mode === 'envoy' || clusterOf(push, rule.jwksUri) !== undefined
}

/**
 * The source of such keys: a cluster of the mesh, or one that does not exist, and then every token is refused
 * (pilot/pkg/security/authn/policy_applier.go convertToEnvoyJwtConfig).
 */
export function remoteJwks(
  push: PushContext,
  uri: string,
  timeoutMs: number,
): Init<'envoy.extensions.filters.http.jwt_authn.v3.RemoteJwks'> {
  const { host, port } = endpointOf(uri)
  const cluster = clusterOf(push, uri) ?? outboundCluster(host, port)
  return {
    httpUri: { uri, httpUpstreamType: { case: 'cluster', value: cluster }, timeout: millis(timeoutMs) },
    cacheDuration: { seconds: CACHE_SECONDS, nanos: 0 },
  }
}

function clusterOf(push: PushContext, uri: string): string | undefined {
  const { host, port } = endpointOf(uri)
  return lookupProviderCluster(push, host, port)?.cluster
}

/** Host and port (pkg/config/security ParseJwksURI); what is no URL was refused when it was loaded. */
const endpointOf = (uri: string): { host: string; port: number } => hostOf(URL.canParse(uri) ? uri : 'http://invalid')
