import { type Histogram, type StatsStore, shownValue } from './stats.ts'
import {
  byTokens,
  countersOf,
  cumulative,
  gaugesOf,
  histogramsOf,
  QUANTILES,
  quantiles,
  type StatsQuery,
} from './stats-query.ts'
import type { Tag, TaggedName, TagProducer } from './tags.ts'

/** Prefixes of names that are exposed as they are, without `envoy_` (Istio registers `istiocustom`). */
const CUSTOM_NAMESPACES: readonly string[] = ['istiocustom.', 'wasmcustom.']

const sanitized = (name: string): string => name.replace(/[^a-zA-Z0-9_]/g, '_')

const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '"': '\\"' }

function labels(tags: readonly Tag[]): string {
  return tags.map((tag) => `${sanitized(tag.name)}="${tag.value.replace(/[\\\n"]/g, (c) => ESCAPES[c]!)}"`).join(',')
}

/** The exposed name; undefined for a custom one that cannot be one. */
function exposedName(name: string): string | undefined {
  const namespace = CUSTOM_NAMESPACES.find((prefix) => name.startsWith(prefix))
  if (namespace === undefined) return `envoy_${sanitized(name)}`
  const rest = sanitized(name.slice(namespace.length))
  return rest === '' || /^\d/.test(rest) ? undefined : rest
}

interface Metric {
  readonly name: string
  readonly tagged: TaggedName | undefined
}

function exposition<T extends Metric>(
  metrics: readonly T[],
  type: 'counter' | 'gauge' | 'histogram' | 'summary',
  tags: TagProducer,
  lines: (metric: T, name: string, tags: readonly Tag[]) => string,
): string {
  const groups = new Map<string, { metric: T; tags: readonly Tag[] }[]>()
  for (const metric of metrics) {
    const { name, tags: found } = metric.tagged ?? tags.produce(metric.name)
    const group = groups.get(name)
    const entry = { metric, tags: found }
    if (group) group.push(entry)
    else groups.set(name, [entry])
  }
  let out = ''
  for (const name of [...groups.keys()].sort(byTokens)) {
    const exposed = exposedName(name)
    if (exposed === undefined) continue
    out += `# TYPE ${exposed} ${type}\n`
    const group = groups.get(name)!.sort((a, b) => byTokens(a.metric.name, b.metric.name))
    for (const entry of group) out += lines(entry.metric, exposed, entry.tags)
  }
  return out
}

function numberLine(metric: { readonly value: number }, name: string, tags: readonly Tag[]): string {
  return `${name}{${labels(tags)}} ${shownValue(metric)}\n`
}

function histogramLines(histogram: Histogram, name: string, tags: readonly Tag[]): string {
  const plain = labels(tags)
  const before = plain === '' ? '' : `${plain},`
  let out = ''
  cumulative(histogram.buckets).forEach((count, i) => {
    out += `${name}_bucket{${before}le="${histogram.bounds[i]}"} ${count}\n`
  })
  out += `${name}_bucket{${before}le="+Inf"} ${histogram.count}\n`
  return `${out}${name}_sum{${plain}} ${histogram.sum}\n${name}_count{${plain}} ${histogram.count}\n`
}

function summaryLines(histogram: Histogram, name: string, tags: readonly Tag[]): string {
  const plain = labels(tags)
  const before = plain === '' ? '' : `${plain},`
  const values = quantiles(histogram.interval ?? new Float64Array(histogram.buckets.length), histogram.bounds)
  let out = ''
  QUANTILES.forEach((q, i) => {
    out += `${name}{${before}quantile="${q}"} ${Number.isNaN(values[i]!) ? 'nan' : values[i]}\n`
  })
  return `${out}${name}_sum{${plain}} ${histogram.sum}\n${name}_count{${plain}} ${histogram.count}\n`
}

/**
 * `/stats/prometheus` (source/server/admin/prometheus_stats.cc): `envoy_` and the name without its tags, the
 * tags as labels; counters, then gauges, then histograms, each sorted by name.
 */
export function renderPrometheus(store: StatsStore, tags: TagProducer, query: StatsQuery = {}): string {
  const summaries = query.buckets === 'summary'
  return (
    exposition(countersOf(store, query), 'counter', tags, numberLine) +
    exposition(gaugesOf(store, query), 'gauge', tags, numberLine) +
    exposition(
      histogramsOf(store, query),
      summaries ? 'summary' : 'histogram',
      tags,
      summaries ? summaryLines : histogramLines,
    )
  )
}
