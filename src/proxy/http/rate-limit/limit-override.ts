import type { RateLimit_Override as OverrideProto } from '#gen/envoy/config/route/v3/route_components_pb.js'
import { ConfigError } from '../../context.ts'
import { metadataValue } from '../../observe/format/metadata.ts'
import type { DescriptorSubject, LimitOverride } from './descriptor.ts'

/** A limit that goes along with a descriptor; undefined: there is none for this request. */
export type LimitSource = (subject: DescriptorSubject) => LimitOverride | undefined

/** envoy.type.v3.RateLimitUnit */
const UNITS: Readonly<Record<string, number>> = { UNKNOWN: 0, SECOND: 1, MINUTE: 2, HOUR: 3, DAY: 4, MONTH: 5, YEAR: 6 }

/** Compiles a `limit` (source/common/router/router_ratelimit.cc, DynamicMetadataRateLimitOverride). Throws ConfigError. */
export function compileLimit({ overrideSpecifier: spec }: OverrideProto): LimitSource {
  if (spec.case === 'rateLimit') {
    const limit = { requestsPerUnit: spec.value.requestsPerUnit, unit: spec.value.unit as number }
    return () => limit
  }
  if (spec.case !== 'dynamicMetadata') throw new ConfigError(['limit.override_specifier: is required'])
  const place = spec.value.metadataKey
  if (place === undefined) throw new ConfigError(['limit.dynamic_metadata.metadata_key: value is required'])
  const path = place.path.map(({ segment }) => segment.value ?? '')
  return ({ info }) => limitIn(metadataValue(info.dynamicMetadata, place.key, path))
}

function limitIn(value: unknown): LimitOverride | undefined {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined
  const { requests_per_unit: requests, unit } = value as Record<string, unknown>
  if (typeof requests !== 'number' || typeof unit !== 'string' || !Object.hasOwn(UNITS, unit)) return undefined
  // As a conversion to an unsigned number of 32 bits has it.
  return { requestsPerUnit: Math.trunc(requests) >>> 0, unit: UNITS[unit]! }
}
