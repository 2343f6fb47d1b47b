import type { z } from 'zod'
import { bool, int32, list, message, oneOf, text } from '../../schema.ts'
import {
  BackendObjectReference,
  GatewayDuration,
  HeaderName,
  HeaderValue,
  Hostname,
  HTTPHeaderFilter,
  HTTPRequestMirrorFilter,
  LocalObjectReference,
  PortNumber,
  PreciseHostname,
  patterned,
  routeFields,
  SectionName,
  SessionPersistence,
  sized,
  sizedList,
  weightedBackend,
} from './common.ts'

const HTTPPathMatch = message({
  type: oneOf('Exact', 'PathPrefix', 'RegularExpression').default('PathPrefix'),
  value: sized(1024).default('/'),
})

const HTTPHeaderMatch = message(
  { type: oneOf('Exact', 'RegularExpression').default('Exact'), name: HeaderName, value: HeaderValue },
  ['name', 'value'],
)

const HTTPQueryParamMatch = message(
  { type: oneOf('Exact', 'RegularExpression').default('Exact'), name: HeaderName, value: sized(1024, 1) },
  ['name', 'value'],
)

const HTTPRouteMatch = message({
  path: HTTPPathMatch.prefault({}),
  headers: sizedList(HTTPHeaderMatch, 16),
  queryParams: sizedList(HTTPQueryParamMatch, 16),
  method: oneOf('GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'),
})
/** Conditions on a request; all of them must hold. */
export type HTTPRouteMatch = z.infer<typeof HTTPRouteMatch>

const HTTPPathModifier = message(
  {
    type: oneOf('ReplaceFullPath', 'ReplacePrefixMatch'),
    replaceFullPath: sized(1024),
    replacePrefixMatch: sized(1024),
  },
  ['type'],
)

const HTTPRequestRedirectFilter = message({
  scheme: oneOf('http', 'https'),
  hostname: PreciseHostname,
  path: HTTPPathModifier,
  port: PortNumber,
  statusCode: int32
    .refine((code) => [301, 302, 303, 307, 308].includes(code), { error: 'one of 301, 302, 303, 307, 308' })
    .default(302),
})
/** Answers with a redirect. */
export type HTTPRequestRedirectFilter = z.infer<typeof HTTPRequestRedirectFilter>

const HTTPURLRewriteFilter = message({ hostname: PreciseHostname, path: HTTPPathModifier })
/** Changes path or host before forwarding. */
export type HTTPURLRewriteFilter = z.infer<typeof HTTPURLRewriteFilter>

const HTTPCORSFilter = message({
  allowOrigins: sizedList(
    patterned(
      /(^\*$)|(^(http(s)?):\/\/(((\*\.)?([a-zA-Z0-9-]+\.)*[a-zA-Z0-9-]+|\*)(:([0-9]{1,5}))?)$)/,
      'an origin such as "https://example.com", or "*"',
    ),
    64,
  ),
  allowCredentials: bool,
  allowMethods: sizedList(
    oneOf('GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', '*'),
    9,
  ),
  allowHeaders: sizedList(HeaderName, 64),
  exposeHeaders: sizedList(HeaderName, 64),
  /** Seconds. */
  maxAge: int32.min(1).default(5),
})
/** Cross-origin rules. */
export type HTTPCORSFilter = z.infer<typeof HTTPCORSFilter>

const HTTPExternalAuthFilter = message(
  {
    protocol: oneOf('HTTP', 'GRPC'),
    backendRef: BackendObjectReference,
    grpc: message({ allowedHeaders: sizedList(text, 64) }),
    http: message({ path: text, allowedHeaders: sizedList(text, 64), allowedResponseHeaders: sizedList(text, 64) }),
    forwardBody: message({ maxSize: int32 }),
  },
  ['protocol', 'backendRef'],
)

const HTTPRouteFilter = message(
  {
    type: oneOf(
      'RequestHeaderModifier',
      'ResponseHeaderModifier',
      'RequestMirror',
      'RequestRedirect',
      'URLRewrite',
      'ExtensionRef',
      'CORS',
      'ExternalAuth',
    ),
    requestHeaderModifier: HTTPHeaderFilter,
    responseHeaderModifier: HTTPHeaderFilter,
    requestMirror: HTTPRequestMirrorFilter,
    requestRedirect: HTTPRequestRedirectFilter,
    urlRewrite: HTTPURLRewriteFilter,
    cors: HTTPCORSFilter,
    externalAuth: HTTPExternalAuthFilter,
    extensionRef: LocalObjectReference,
  },
  ['type'],
)
/** What is done to a request, beside forwarding it. */
export type HTTPRouteFilter = z.infer<typeof HTTPRouteFilter>

const HTTPBackendRef = message({ ...weightedBackend, filters: sizedList(HTTPRouteFilter, 16) }, ['name'])
/** A weighted destination. */
export type HTTPBackendRef = z.infer<typeof HTTPBackendRef>

const HTTPRouteRule = message({
  name: SectionName,
  matches: sizedList(HTTPRouteMatch, 64).prefault([{}]),
  filters: sizedList(HTTPRouteFilter, 16),
  backendRefs: sizedList(HTTPBackendRef, 16),
  timeouts: message({ request: GatewayDuration, backendRequest: GatewayDuration }),
  retry: message({ codes: list(int32.min(400).max(599)), attempts: int32.min(1), backoff: GatewayDuration }),
  sessionPersistence: SessionPersistence,
})
/** Conditions, filters and destinations. */
export type HTTPRouteRule = z.infer<typeof HTTPRouteRule>

/** How HTTP requests are routed (httproute_types.go). */
export const HTTPRoute = message({
  ...routeFields,
  /** All host names of its parents when empty. */
  hostnames: sizedList(Hostname, 16),
  rules: sizedList(HTTPRouteRule, 16, 1).prefault([{}]),
})
export type HTTPRoute = z.infer<typeof HTTPRoute>
