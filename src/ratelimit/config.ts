import { hasErrors, type Problem, type Severity } from '../api/problems.ts'
import { type DescriptorYaml, readConfig } from './config-read.ts'
import type { JsonObject, Rule } from './rule.ts'
import type { Stats } from './stats.ts'
import { unitName, unitNumber } from './units.ts'

/** A descriptor of the configuration, and those below it. */
export interface ConfigNode {
  /** By `key_value`, or `key` where no value is given. */
  readonly descriptors: Map<string, ConfigNode>
  /** The keys with a `*`, in the order they were given, cut at each `*`. */
  readonly wildcards: { readonly key: string; readonly parts: readonly string[] }[]
  readonly rule: Rule | undefined
  readonly valueToMetric: boolean
  /** The `key_value` that all who match it share a counter under. */
  readonly sharedPattern: string | undefined
}

/** A whole configuration: the limits of every domain. */
export interface RateLimits {
  readonly domains: ReadonlyMap<string, ConfigNode>
}

/** What came of texts: limits, unless there are errors. */
export interface LoadedLimits {
  readonly limits: RateLimits | undefined
  readonly problems: readonly Problem[]
  /** How many of the texts hold limits. */
  readonly sources: number
}

/** A text with the name that messages give it. */
export interface ConfigText {
  readonly file: string
  readonly text: string
}

/**
 * Reads limits from the texts of files, all or nothing: with any error there are none (src/config/config_impl.go of
 * envoyproxy/ratelimit; its words, with places added). `merge`: a domain may be spread over several documents.
 */
export function loadLimits(texts: readonly ConfigText[], stats: Stats, merge: boolean): LoadedLimits {
  const problems: Problem[] = []
  const domains = new Map<string, ConfigNode>()
  let sources = 0
  for (const { file, text } of texts) {
    const read = readConfig(file, text)
    problems.push(...read.problems)
    if (read.domains.length > 0) sources++
    for (const yaml of read.domains) {
      const report: Report = (severity, at, message) => problems.push(yaml.place(severity, at, message))
      if (yaml.domain === '') {
        // A document whose domain cannot be read has said so already.
        if (!hasErrors(read.problems)) report('error', yaml.at, 'config file cannot have empty domain')
        continue
      }
      const known = domains.get(yaml.domain)
      if (known && !merge) {
        report('error', yaml.at, `duplicate domain '${yaml.domain}' in config file`)
        continue
      }
      const node = known ?? emptyNode()
      domains.set(yaml.domain, node)
      new DomainLoader(stats, report).load(node, yaml.descriptors, `${yaml.domain}.`)
    }
  }
  return { limits: hasErrors(problems) ? undefined : { domains }, problems, sources }
}

function emptyNode(): ConfigNode {
  return { descriptors: new Map(), wildcards: [], rule: undefined, valueToMetric: false, sharedPattern: undefined }
}

type Report = (severity: Severity, at: number, message: string) => void

class DomainLoader {
  readonly #stats: Stats
  readonly #report: Report

  constructor(stats: Stats, report: Report) {
    this.#stats = stats
    this.#report = report
  }

  load(parent: ConfigNode, descriptors: readonly DescriptorYaml[], prefix: string): void {
    for (const yaml of descriptors) {
      if (yaml.key === '') {
        this.#error(yaml.at, 'descriptor has empty key')
        continue
      }
      const key = yaml.value === '' ? yaml.key : `${yaml.key}_${yaml.value}`
      const path = prefix + key
      if (parent.descriptors.has(key)) {
        this.#error(yaml.at, `duplicate descriptor composite key '${path}'`)
        continue
      }
      const wildcard = key.includes('*')
      if (yaml.shareThreshold && !wildcard) {
        this.#error(
          yaml.shareThresholdAt,
          `share_threshold can only be used with wildcard values (containing '*'), but found key '${key}'`,
        )
      }
      if (wildcard) parent.wildcards.push({ key, parts: key.split('*') })
      const node: ConfigNode = {
        descriptors: new Map(),
        wildcards: [],
        rule: this.#rule(yaml, path),
        valueToMetric: yaml.valueToMetric,
        sharedPattern: yaml.shareThreshold ? key : undefined,
      }
      this.load(node, yaml.descriptors, `${path}.`)
      parent.descriptors.set(key, node)
    }
  }

  #rule(yaml: DescriptorYaml, path: string): Rule | undefined {
    const limit = yaml.rateLimit
    if (!limit) {
      this.#warnUseless(yaml)
      return undefined
    }
    const unit = unitNumber(limit.unit)
    if (limit.unlimited) {
      if (unit !== undefined) this.#error(limit.unitAt, 'should not specify rate limit unit when unlimited')
    } else if (unit === undefined) this.#error(limit.unitAt, `invalid rate limit unit '${limit.unit}'`)
    for (const { name, at } of limit.replaces) {
      if (name === '') this.#error(at, 'should not have an empty replaces entry')
      else if (name === limit.name) this.#error(at, 'replaces should not contain name of same descriptor')
    }
    return {
      fullKey: path,
      stats: this.#stats.rule(path),
      requestsPerUnit: limit.requestsPerUnit,
      unit: unit ?? 0,
      unitMultiplier: 1,
      unlimited: limit.unlimited,
      shadowMode: yaml.shadowMode,
      quotaMode: yaml.quotaMode,
      detailedMetric: yaml.detailedMetric,
      name: limit.name,
      replaces: limit.replaces.map(({ name }) => name),
      sharedPatterns: undefined,
      metadata: metadataOf(yaml.metadata),
    }
  }

  #warnUseless(yaml: DescriptorYaml): void {
    const flags = { shadow_mode: yaml.shadowMode, quota_mode: yaml.quotaMode, detailed_metric: yaml.detailedMetric }
    for (const [name, given] of Object.entries(flags)) {
      if (given) this.#report('warning', yaml.at, `${name} has no effect without a rate_limit beside it`)
    }
  }

  #error(at: number, message: string): void {
    this.#report('error', at, message)
  }
}

function metadataOf(metadata: Record<string, unknown> | undefined): JsonObject | undefined {
  return metadata && Object.keys(metadata).length > 0 ? metadata : undefined
}

/** The limits as the reference's debug port prints them (`/rlconfig`): a line for each. */
export function dumpLimits(limits: RateLimits): string {
  const lines: string[] = []
  const visit = ({ rule, descriptors }: ConfigNode) => {
    if (rule) {
      const { fullKey, unit, requestsPerUnit, shadowMode, quotaMode } = rule
      lines.push(
        `${fullKey}: unit=${unitName(unit)} requests_per_unit=${requestsPerUnit}, ` +
          `shadow_mode: ${shadowMode}, quota_mode: ${quotaMode}\n`,
      )
    }
    for (const descriptor of descriptors.values()) visit(descriptor)
  }
  for (const domain of limits.domains.values()) visit(domain)
  return lines.join('')
}
