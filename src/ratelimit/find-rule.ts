import type { RateLimitDescriptor } from '#gen/envoy/extensions/common/ratelimit/v3/ratelimit_pb.js'
import type { ConfigNode, RateLimits } from './config.ts'
import type { Rule } from './rule.ts'
import type { Stats } from './stats.ts'

/**
 * The rule for one descriptor of a request: the limit that the request brings along, or that of the configuration whose
 * nesting the descriptor's entries match to the end (GetLimit in src/config/config_impl.go of envoyproxy/ratelimit).
 * Undefined: there is no limit.
 */
export function findRule(
  limits: RateLimits,
  domain: string,
  descriptor: RateLimitDescriptor,
  stats: Stats,
): Rule | undefined {
  const root = limits.domains.get(domain)
  if (!root) {
    stats.domainNotFound(domain)
    return undefined
  }
  if (descriptor.limit) return overriding(domain, descriptor, stats)
  const found = walk(root, domain, descriptor)
  const rule = found.node?.rule
  if (!rule) return undefined
  const { sharedPatterns } = found
  const named = (fullKey: string, metadata: Rule['metadata']): Rule => ({
    ...rule,
    fullKey,
    stats: stats.rule(fullKey),
    sharedPatterns,
    metadata,
  })
  if (rule.detailedMetric) {
    const fullKey = sharedPatterns ? sharedKey(domain, descriptor, sharedPatterns) : found.detailedKey
    // The reference makes such a rule anew at a leaf of its configuration, and forgets the metadata.
    return named(fullKey, found.node!.descriptors.size > 0 ? rule.metadata : undefined)
  }
  if (found.valueKey !== rule.fullKey) return named(found.valueKey, undefined)
  return sharedPatterns ? { ...rule, sharedPatterns } : rule
}

/** What the way through the configuration came to. */
interface Walk {
  /** Where the last entry led; undefined when the configuration ends before it. */
  readonly node: ConfigNode | undefined
  /** The name for statistics with every value. */
  readonly detailedKey: string
  /** The name for statistics with the values that are given in the configuration or asked for by `value_to_metric`. */
  readonly valueKey: string
  readonly sharedPatterns: readonly string[] | undefined
}

function walk(root: ConfigNode, domain: string, descriptor: RateLimitDescriptor): Walk {
  const { entries } = descriptor
  let detailedKey = domain
  let valueKey = domain
  let sharedPatterns: string[] | undefined
  let level = root
  let last: ConfigNode | undefined
  for (const [i, entry] of entries.entries()) {
    const full = `${entry.key}_${entry.value}`
    detailedKey += `.${full}`
    const wildcard = level.descriptors.has(full) ? undefined : wildcardFor(level, full)
    const byValue = level.descriptors.get(wildcard ?? full)
    const node = byValue ?? level.descriptors.get(entry.key)
    const pattern = wildcard === undefined ? undefined : withoutKey(wildcard, entry.key)
    if (pattern && node?.sharedPattern !== undefined) {
      sharedPatterns ??= entries.map(() => '')
      sharedPatterns[i] = pattern
    }
    let value = ''
    if (node) {
      if (pattern !== undefined) value = node.valueToMetric && !sharedPatterns?.[i] ? entry.value : pattern
      else if (byValue || node.valueToMetric) value = entry.value
    }
    valueKey += `.${entry.key}${value === '' ? '' : `_${value}`}`
    if (node && i === entries.length - 1) last = node
    if (!node || node.descriptors.size === 0) break
    level = node
  }
  return { node: last, detailedKey, valueKey, sharedPatterns }
}

function wildcardFor(level: ConfigNode, text: string): string | undefined {
  return level.wildcards.find(({ parts }) => matches(parts, text))?.key
}

/** Whether a text has the parts of a pattern in their order, the first at its start and the last at its end. */
export function matches(parts: readonly string[], text: string): boolean {
  const first = parts[0]!
  const last = parts.at(-1)!
  if (parts.length === 1) return text === first
  let fixed = 0
  for (const part of parts) fixed += part.length
  if (text.length < fixed || !text.startsWith(first) || !text.endsWith(last)) return false
  const end = text.length - last.length
  let from = first.length
  for (let i = 1; i < parts.length - 1; i++) {
    const at = text.indexOf(parts[i]!, from)
    if (at < 0 || at + parts[i]!.length > end) return false
    from = at + parts[i]!.length
  }
  return true
}

function withoutKey(full: string, key: string): string {
  return full.startsWith(`${key}_`) ? full.slice(key.length + 1) : full
}

function sharedKey(domain: string, descriptor: RateLimitDescriptor, patterns: readonly string[]): string {
  const parts = descriptor.entries.map(({ key, value }, i) => {
    const shown = patterns[i] || value
    return shown === '' ? key : `${key}_${shown}`
  })
  return [domain, ...parts].join('.')
}

/** The limit that a request brings along for a descriptor: no rule's flags hold for it. */
function overriding(domain: string, descriptor: RateLimitDescriptor, stats: Stats): Rule {
  const limit = descriptor.limit!
  const key = descriptor.entries.map(({ key, value }) => (value === '' ? key : `${key}_${value}`)).join('.')
  const fullKey = `${domain}.${key}`
  return {
    fullKey,
    stats: stats.rule(fullKey),
    requestsPerUnit: limit.requestsPerUnit,
    unit: limit.unit,
    unitMultiplier: limit.unitMultiplier ?? 1,
    unlimited: false,
    shadowMode: false,
    quotaMode: false,
    detailedMetric: false,
    name: '',
    replaces: [],
    sharedPatterns: undefined,
    metadata: undefined,
  }
}
