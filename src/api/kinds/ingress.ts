import { z } from 'zod'
import { int32, list, oneOf, open, text } from '../schema.ts'

/** A service, and its port by name or number. */
export const IngressServiceBackend = open(
  { name: text, port: open({ name: text, number: int32 }, [], '') },
  ['name'],
  '',
)

/** Where requests go; `resource` is for other controllers than Istio's. */
export const IngressBackend = open({ service: IngressServiceBackend }, [], 'resource')
export type IngressBackend = z.infer<typeof IngressBackend>

/** A path, and how it is meant. */
export const IngressPath = open(
  { path: text, pathType: oneOf('Exact', 'Prefix', 'ImplementationSpecific'), backend: IngressBackend },
  ['pathType', 'backend'],
  '',
)
export type IngressPath = z.infer<typeof IngressPath>

/** The paths of a host; of all hosts without one. */
export const IngressRule = open({ host: text, http: open({ paths: list(IngressPath) }, ['paths'], '') }, [], '')
export type IngressRule = z.infer<typeof IngressRule>

/** Hosts, and the secret with their certificate, in the namespace of the gateway. */
export const IngressTls = open({ hosts: list(text), secretName: text }, [], '')
export type IngressTls = z.infer<typeof IngressTls>

/** The spec of an Ingress (k8s.io/api networking/v1). */
export const IngressSpec = open(
  { ingressClassName: text, defaultBackend: IngressBackend, tls: list(IngressTls), rules: list(IngressRule) },
  [],
  '',
)
export type IngressSpec = z.infer<typeof IngressSpec>

/** What an Ingress holds besides its metadata. */
export const IngressBody = z.object({ spec: IngressSpec, status: z.unknown().optional() })
