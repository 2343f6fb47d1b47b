import type { Any } from '@bufbuild/protobuf/wkt'
import type { CorsPolicy } from '#gen/envoy/config/route/v3/route_components_pb.js'
import { packed } from '../../../xds/messages.ts'

/** The filter that the older `cors` fields of routes and virtual hosts are for. */
export const CORS_FILTER = 'envoy.filters.http.cors'

/** A `cors` field as the per-filter config that has taken its place. */
export function corsConfig(cors: CorsPolicy): Readonly<Record<string, Any>> {
  const enabled = cors.enabledSpecifier
  return {
    [CORS_FILTER]: packed('envoy.extensions.filters.http.cors.v3.CorsPolicy', {
      allowOriginStringMatch: cors.allowOriginStringMatch,
      allowMethods: cors.allowMethods,
      allowHeaders: cors.allowHeaders,
      exposeHeaders: cors.exposeHeaders,
      maxAge: cors.maxAge,
      allowCredentials: cors.allowCredentials,
      filterEnabled: enabled.case === 'filterEnabled' ? enabled.value : undefined,
      shadowEnabled: cors.shadowEnabled,
      allowPrivateNetworkAccess: cors.allowPrivateNetworkAccess,
      forwardNotMatchingPreflights: cors.forwardNotMatchingPreflights,
    } as never),
  }
}
