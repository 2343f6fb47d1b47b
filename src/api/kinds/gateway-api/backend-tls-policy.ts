import type { z } from 'zod'
import { map, message, oneOf } from '../../schema.ts'
import {
  Group,
  Hostname,
  KindName,
  LocalObjectReference,
  ObjectName,
  PreciseHostname,
  patterned,
  SectionName,
  sized,
  sizedList,
} from './common.ts'

const PolicyTarget = message({ group: Group, kind: KindName, name: ObjectName, sectionName: SectionName }, [
  'group',
  'kind',
  'name',
])
/** What a policy is for; `sectionName` is the name of a port. */
export type PolicyTarget = z.infer<typeof PolicyTarget>

const Validation = message(
  {
    caCertificateRefs: sizedList(LocalObjectReference, 8),
    wellKnownCACertificates: patterned(
      /^(System|([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]))$/,
      '"System"',
    ),
    /** For SNI, and the name that the certificate must have unless subjectAltNames say otherwise. */
    hostname: PreciseHostname,
    subjectAltNames: sizedList(
      message({ type: oneOf('Hostname', 'URI'), hostname: Hostname, uri: sized(253, 1) }, ['type']),
      5,
    ),
  },
  ['hostname'],
)
/** How the certificates of a destination are checked. */
export type BackendTLSPolicyValidation = z.infer<typeof Validation>

/** TLS towards destinations (backendtlspolicy_types.go). */
export const BackendTLSPolicy = message(
  { targetRefs: sizedList(PolicyTarget, 16, 1), validation: Validation, options: map(sized(4096)) },
  ['targetRefs', 'validation'],
)
export type BackendTLSPolicy = z.infer<typeof BackendTLSPolicy>
