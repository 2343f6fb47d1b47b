import type { z } from 'zod'
import { message } from '../../schema.ts'
import { BackendRef, Hostname, routeFields, SectionName, sizedList } from './common.ts'

const Rule = message({ name: SectionName, backendRefs: sizedList(BackendRef, 16, 1) }, ['backendRefs'])
/** Destinations of connections. */
export type Layer4RouteRule = z.infer<typeof Rule>

/** How TCP connections are routed (tcproute_types.go). */
export const TCPRoute = message({ ...routeFields, rules: sizedList(Rule, 1, 1) }, ['rules'])
export type TCPRoute = z.infer<typeof TCPRoute>

/** How TLS connections are routed, by SNI (tlsroute_types.go). Versions before v1 may go without hostnames. */
export const TLSRoute = message(
  { ...routeFields, hostnames: sizedList(Hostname, 1024), rules: sizedList(Rule, 1, 1) },
  ['rules'],
)
export type TLSRoute = z.infer<typeof TLSRoute>
