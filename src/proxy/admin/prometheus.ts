import type { Histogram } from '../observe/stats.ts'
import type { ChosenStats } from './chosen-stats.ts'
import type { StatsTagRules } from './view.ts'

/** Metrics of these prefixes are printed without `envoy_` (custom stat namespaces). */
const CUSTOM_NAMESPACES = ['istio_', 'istiocustom_', 'istiocustom.']

interface Tagged<T> {
  readonly metric: T
  readonly labels: string
}

/** All metrics in the text format of Prometheus (source/server/admin/prometheus_stats.cc). */
export function prometheusText(chosen: ChosenStats, tags: StatsTagRules): string {
  const number = (name: string, labels: string, metric: { readonly value: number }) =>
    `${name}{${labels}} ${metric.value}\n`
  return (
    family(chosen.counters, 'counter', tags, number) +
    family(chosen.gauges, 'gauge', tags, number) +
    family(chosen.histograms, 'histogram', tags, histogramLines)
  )
}

function family<T extends { readonly name: string }>(
  metrics: readonly T[],
  type: string,
  tags: StatsTagRules,
  line: (name: string, labels: string, metric: T) => string,
): string {
  const groups = new Map<string, Tagged<T>[]>()
  for (const metric of metrics) {
    const extracted = tags.extract(metric.name)
    const labels = extracted.tags.map(([k, v]) => `${sanitizeName(k)}="${sanitizeValue(v)}"`).join(',')
    const group = groups.get(extracted.name)
    if (group) group.push({ metric, labels })
    else groups.set(extracted.name, [{ metric, labels }])
  }
  let out = ''
  for (const name of [...groups.keys()].sort()) {
    const printed = metricName(name)
    out += `# TYPE ${printed} ${type}\n`
    for (const { metric, labels } of groups.get(name)!) out += line(printed, labels, metric)
  }
  return out
}

function metricName(name: string): string {
  const custom = CUSTOM_NAMESPACES.find((namespace) => name.startsWith(namespace))
  if (custom === undefined) return `envoy_${sanitizeName(name)}`
  return sanitizeName(custom === 'istio_' ? name : name.slice(custom.length))
}

function histogramLines(name: string, labels: string, histogram: Histogram): string {
  const before = labels === '' ? '' : `${labels},`
  let out = ''
  let below = 0
  for (let i = 0; i < histogram.bounds.length; i++) {
    below += histogram.buckets[i]!
    out += `${name}_bucket{${before}le="${histogram.bounds[i]}"} ${below}\n`
  }
  out += `${name}_bucket{${before}le="+Inf"} ${histogram.count}\n`
  return `${out}${name}_sum{${labels}} ${histogram.sum}\n${name}_count{${labels}} ${histogram.count}\n`
}

function sanitizeName(name: string): string {
  return name.replace(/[^a-zA-Z0-9_]/g, '_')
}

function sanitizeValue(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"')
}
