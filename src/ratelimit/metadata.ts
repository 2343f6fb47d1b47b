import type { JsonObject as Json } from '@bufbuild/protobuf'
import type {
  RateLimitDescriptor,
  RateLimitDescriptor_RateLimitOverride,
} from '#gen/envoy/extensions/common/ratelimit/v3/ratelimit_pb.js'
import type { RateLimitRequest } from '#gen/envoy/service/ratelimit/v3/rls_pb.js'
import type { JsonObject, Rule } from './rule.ts'
import { unitName } from './units.ts'

/**
 * What a response says of its request (ratelimitToMetadata in src/service/ratelimit.go of envoyproxy/ratelimit): domain,
 * descriptors, and the metadata of the rules of the descriptors that passed, of which the first to name a thing wins.
 */
export function responseMetadata(
  request: RateLimitRequest,
  passed: readonly number[],
  rules: readonly (Rule | undefined)[],
): Json {
  const merged: Record<string, unknown> = {}
  for (const i of passed) if (rules[i]?.metadata) mergeInto(merged, rules[i].metadata)
  return {
    domain: request.domain,
    descriptors: request.descriptors.map(describe),
    ...(request.hitsAddend !== 0 ? { hitsAddend: request.hitsAddend } : {}),
    ...(Object.keys(merged).length > 0 ? { metadata: merged as Json } : {}),
  }
}

function describe({ entries, limit, hitsAddend }: RateLimitDescriptor): Json {
  return {
    entries: entries.map(({ key, value }) => `${key}=${value}`),
    ...(limit ? { limit: limitText(limit) } : {}),
    ...(hitsAddend !== undefined ? { hitsAddend: Number(hitsAddend) } : {}),
  }
}

/** A limit as Go prints it: what is 0 is left out. */
function limitText({ requestsPerUnit, unit }: RateLimitDescriptor_RateLimitOverride): string {
  const parts = [
    requestsPerUnit !== 0 && `requests_per_unit:${requestsPerUnit}`,
    unit !== 0 && `unit:${unitName(unit)}`,
  ]
  return parts.filter(Boolean).join(' ')
}

function mergeInto(into: Record<string, unknown>, from: JsonObject): void {
  for (const [name, value] of Object.entries(from)) {
    const there = into[name]
    if (!Object.hasOwn(into, name)) into[name] = structuredClone(value)
    else if (isObject(there) && isObject(value)) mergeInto(there, value)
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
