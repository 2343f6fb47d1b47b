import type { z } from 'zod'
import { bool, duration, int32, list, map, message, number, oneOf, text, uint32 } from '../schema.ts'

/** One of exact, prefix, regex (RE2, the whole string); empty where presence is meant. */
export const StringMatch = message(
  {
    exact: text,
    prefix: text,
    regex: text,
  },
  [],
  [['exact', 'prefix', 'regex']],
)
export type StringMatch = z.infer<typeof StringMatch>

/** Conditions on a request; all of them must hold. */
export const HTTPMatchRequest = message({
  name: text,
  /** Matched against the path without its query. */
  uri: StringMatch,
  scheme: StringMatch,
  method: StringMatch,
  authority: StringMatch,
  /** Lower-case names; an empty StringMatch means: present. */
  headers: map(StringMatch),
  port: uint32,
  sourceLabels: map(text),
  gateways: list(text),
  queryParams: map(StringMatch),
  /** For exact and prefix only. */
  ignoreUriCase: bool,
  withoutHeaders: map(StringMatch),
  sourceNamespace: text,
  statPrefix: text,
})
export type HTTPMatchRequest = z.infer<typeof HTTPMatchRequest>

/** A port by number. */
export const PortSelector = message({
  number: uint32,
})
export type PortSelector = z.infer<typeof PortSelector>

/** A service, with a subset and a port. */
export const Destination = message(
  {
    /** A name without dots is a service of the own namespace. */
    host: text,
    subset: text,
    /** Needed only where the service has more than one port. */
    port: PortSelector,
  },
  ['host'],
)
export type Destination = z.infer<typeof Destination>

/** set, then add, then remove. */
export const HeaderOperations = message({
  set: map(text),
  add: map(text),
  remove: list(text),
})
export type HeaderOperations = z.infer<typeof HeaderOperations>

/** Header operations on requests and responses. */
export const Headers = message({
  request: HeaderOperations,
  response: HeaderOperations,
})
export type Headers = z.infer<typeof Headers>

/** One destination of a weighted split. */
export const HTTPRouteDestination = message(
  {
    destination: Destination,
    /** Relative; of no effect when it is the only destination. */
    weight: int32,
    headers: Headers,
  },
  ['destination'],
)
export type HTTPRouteDestination = z.infer<typeof HTTPRouteDestination>

/** Answers with a redirect. */
export const HTTPRedirect = message(
  {
    uri: text,
    authority: text,
    port: uint32,
    derivePort: oneOf('FROM_PROTOCOL_DEFAULT', 'FROM_REQUEST_PORT'),
    scheme: text,
    /** 301 when unset. */
    redirectCode: uint32,
    prefixRewrite: text,
  },
  [],
  [['port', 'derivePort']],
)
export type HTTPRedirect = z.infer<typeof HTTPRedirect>

/** The body of a direct response; `bytes` is base64. */
export const HTTPBody = message(
  {
    string: text,
    bytes: text,
  },
  [],
  [['string', 'bytes']],
)
export type HTTPBody = z.infer<typeof HTTPBody>

/** Answers by itself. */
export const HTTPDirectResponse = message(
  {
    status: uint32,
    body: HTTPBody,
  },
  ['status'],
)
export type HTTPDirectResponse = z.infer<typeof HTTPDirectResponse>

/** Another VirtualService, whose http routes take the place of this one. */
export const Delegate = message({
  name: text,
  namespace: text,
})
export type Delegate = z.infer<typeof Delegate>

/** RE2; `\\1` in the rewrite stands for the first group. */
export const RegexRewrite = message({
  match: text,
  rewrite: text,
})
export type RegexRewrite = z.infer<typeof RegexRewrite>

/** Changes path or authority before forwarding. */
export const HTTPRewrite = message({
  uri: text,
  authority: text,
  uriRegexRewrite: RegexRewrite,
})
export type HTTPRewrite = z.infer<typeof HTTPRewrite>

/** When, how often and with what timeout to try again. */
export const HTTPRetry = message({
  attempts: int32,
  perTryTimeout: duration,
  /** Comma-separated Envoy retry conditions and status codes. */
  retryOn: text,
  retryRemoteLocalities: bool,
  retryIgnorePreviousHosts: bool,
  backoff: duration,
})
export type HTTPRetry = z.infer<typeof HTTPRetry>

/** 0.0 to 100.0. */
export const Percent = message({
  value: number,
})
export type Percent = z.infer<typeof Percent>

/** Delays requests. */
export const FaultDelay = message(
  {
    /** Deprecated: use percentage. */
    percent: int32,
    fixedDelay: duration,
    exponentialDelay: duration,
    /** Without it the delay never happens. */
    percentage: Percent,
  },
  [],
  [['fixedDelay', 'exponentialDelay']],
)
export type FaultDelay = z.infer<typeof FaultDelay>

/** Answers in place of the service. */
export const FaultAbort = message(
  {
    httpStatus: int32,
    grpcStatus: text,
    http2Error: text,
    /** Without it the abort never happens. */
    percentage: Percent,
  },
  [],
  [['httpStatus', 'grpcStatus', 'http2Error']],
)
export type FaultAbort = z.infer<typeof FaultAbort>

/** Faults put in on the client side. */
export const HTTPFaultInjection = message({
  delay: FaultDelay,
  abort: FaultAbort,
})
export type HTTPFaultInjection = z.infer<typeof HTTPFaultInjection>

/** A destination that gets copies of requests; its answers are ignored. */
export const HTTPMirrorPolicy = message(
  {
    destination: Destination,
    percentage: Percent,
  },
  ['destination'],
)
export type HTTPMirrorPolicy = z.infer<typeof HTTPMirrorPolicy>

/** Cross-origin rules. */
export const CorsPolicy = message({
  /** Deprecated: use allowOrigins. */
  allowOrigin: list(text),
  allowOrigins: list(StringMatch),
  allowMethods: list(text),
  allowHeaders: list(text),
  exposeHeaders: list(text),
  maxAge: duration,
  allowCredentials: bool,
  unmatchedPreflights: oneOf('UNSPECIFIED', 'FORWARD', 'IGNORE'),
})
export type CorsPolicy = z.infer<typeof CorsPolicy>

/** An HTTP route rule: match conditions and one action. */
export const HTTPRoute = message({
  /** Names the Envoy route; the name of the match is appended after a dot. */
  name: text,
  /** The conditions of one entry are ANDed, entries are ORed; none matches everything. */
  match: list(HTTPMatchRequest),
  route: list(HTTPRouteDestination),
  redirect: HTTPRedirect,
  directResponse: HTTPDirectResponse,
  delegate: Delegate,
  rewrite: HTTPRewrite,
  /** Disabled when unset. */
  timeout: duration,
  retries: HTTPRetry,
  fault: HTTPFaultInjection,
  mirror: Destination,
  mirrors: list(HTTPMirrorPolicy),
  /** Deprecated: use mirrorPercentage. */
  mirrorPercent: uint32,
  /** 100 % when unset. */
  mirrorPercentage: Percent,
  corsPolicy: CorsPolicy,
  headers: Headers,
})
export type HTTPRoute = z.infer<typeof HTTPRoute>

/** Conditions on a TLS connection; all of them must hold. */
export const TLSMatchAttributes = message(
  {
    sniHosts: list(text),
    destinationSubnets: list(text),
    port: uint32,
    sourceLabels: map(text),
    gateways: list(text),
    sourceNamespace: text,
  },
  ['sniHosts'],
)
export type TLSMatchAttributes = z.infer<typeof TLSMatchAttributes>

/** One destination of a weighted TCP or TLS split. */
export const RouteDestination = message(
  {
    destination: Destination,
    weight: int32,
  },
  ['destination'],
)
export type RouteDestination = z.infer<typeof RouteDestination>

/** Routes TLS connections that are not terminated, by SNI. */
export const TLSRoute = message(
  {
    match: list(TLSMatchAttributes),
    route: list(RouteDestination),
  },
  ['match'],
)
export type TLSRoute = z.infer<typeof TLSRoute>

/** Conditions on a TCP connection; all of them must hold. */
export const L4MatchAttributes = message({
  destinationSubnets: list(text),
  port: uint32,
  sourceSubnet: text,
  sourceLabels: map(text),
  gateways: list(text),
  sourceNamespace: text,
})
export type L4MatchAttributes = z.infer<typeof L4MatchAttributes>

/** Routes plain TCP connections. */
export const TCPRoute = message({
  match: list(L4MatchAttributes),
  route: list(RouteDestination),
})
export type TCPRoute = z.infer<typeof TCPRoute>

/** How requests to its hosts are routed (networking/v1alpha3/virtual_service.proto). */
export const VirtualService = message({
  /** Short names are names of the own namespace; empty only in a delegate. */
  hosts: list(text),
  /** Empty means `mesh`, that is all sidecars. */
  gateways: list(text),
  http: list(HTTPRoute),
  tls: list(TLSRoute),
  tcp: list(TCPRoute),
  /** `.` own namespace, `*` all (the default, unless MeshConfig says otherwise). */
  exportTo: list(text),
})
export type VirtualService = z.infer<typeof VirtualService>
