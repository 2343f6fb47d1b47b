import type { z } from 'zod'
import { message, oneOf } from '../../schema.ts'
import {
  HeaderName,
  Hostname,
  HTTPHeaderFilter,
  HTTPRequestMirrorFilter,
  LocalObjectReference,
  routeFields,
  SectionName,
  SessionPersistence,
  sized,
  sizedList,
  weightedBackend,
} from './common.ts'

const GRPCRouteMatch = message({
  method: message({
    type: oneOf('Exact', 'RegularExpression').default('Exact'),
    /** With its package: `foo.v1.Bar`. */
    service: sized(1024),
    method: sized(1024),
  }),
  headers: sizedList(
    message({ type: oneOf('Exact', 'RegularExpression').default('Exact'), name: HeaderName, value: sized(4096, 1) }, [
      'name',
      'value',
    ]),
    16,
  ),
})
/** Conditions on a call; all of them must hold. */
export type GRPCRouteMatch = z.infer<typeof GRPCRouteMatch>

const GRPCRouteFilter = message(
  {
    type: oneOf('ResponseHeaderModifier', 'RequestHeaderModifier', 'RequestMirror', 'ExtensionRef'),
    requestHeaderModifier: HTTPHeaderFilter,
    responseHeaderModifier: HTTPHeaderFilter,
    requestMirror: HTTPRequestMirrorFilter,
    extensionRef: LocalObjectReference,
  },
  ['type'],
)
/** What is done to a call, beside forwarding it. */
export type GRPCRouteFilter = z.infer<typeof GRPCRouteFilter>

const GRPCBackendRef = message({ ...weightedBackend, filters: sizedList(GRPCRouteFilter, 16) }, ['name'])
/** A weighted destination. */
export type GRPCBackendRef = z.infer<typeof GRPCBackendRef>

const GRPCRouteRule = message({
  name: SectionName,
  matches: sizedList(GRPCRouteMatch, 64),
  filters: sizedList(GRPCRouteFilter, 16),
  backendRefs: sizedList(GRPCBackendRef, 16),
  sessionPersistence: SessionPersistence,
})
/** Conditions, filters and destinations. */
export type GRPCRouteRule = z.infer<typeof GRPCRouteRule>

/** How gRPC calls are routed (grpcroute_types.go). */
export const GRPCRoute = message({
  ...routeFields,
  hostnames: sizedList(Hostname, 16),
  rules: sizedList(GRPCRouteRule, 16),
})
export type GRPCRoute = z.infer<typeof GRPCRoute>
