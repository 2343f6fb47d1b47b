import { ResponseTimes, type Stats } from './stats.ts'

/** A metric's name, and its labels as text. */
interface Series {
  readonly name: string
  readonly labels: string
}

const RULE = 'ratelimit.service.rate_limit.'
/** The counters of rules that have a metric with labels. Others keep their whole name. */
const STATS = ['near_limit', 'over_limit', 'total_hits', 'within_limit', 'shadow_mode']
const ONE_KEY = new RegExp(`^ratelimit\\.service\\.rate_limit\\.([^.]*)\\.([^.]*)\\.(${STATS.join('|')})$`)
/** As the reference has it: without an end, so that what begins like a counter's name counts as that. */
const MORE_KEYS = STATS.map(
  (stat) =>
    [stat, new RegExp(`ratelimit\\.service\\.rate_limit\\.([^.]*)\\.([^.]*)\\.([^.]*)(\\..*)?\\.${stat}`)] as const,
)

/**
 * The counters under the names that the reference gives them for Prometheus (src/stats/prom/default_mapper.yaml of
 * envoyproxy/ratelimit); those that are 0 are left out, as there.
 */
export function prometheusText(stats: Stats): string {
  const metrics = new Map<string, { type: string; series: Map<string, bigint | number> }>()
  for (const { name, value, gauge } of stats.all()) {
    if (!gauge && value === 0n) continue
    const { name: metric, labels } = seriesOf(name)
    let entry = metrics.get(metric)
    if (!entry) {
      entry = { type: gauge ? 'gauge' : 'counter', series: new Map() }
      metrics.set(metric, entry)
    }
    const before = entry.series.get(labels)
    entry.series.set(labels, typeof value === 'bigint' && typeof before === 'bigint' ? before + value : value)
  }
  let text = ''
  for (const [name, { type, series }] of [...metrics].sort(([a], [b]) => (a < b ? -1 : 1))) {
    text += `# TYPE ${name} ${type}\n`
    for (const [labels, value] of series) text += `${name}${labels} ${value}\n`
  }
  return text + histogram(stats.responseTimes)
}

function seriesOf(name: string): Series {
  if (name.startsWith(RULE)) {
    const one = ONE_KEY.exec(name)
    if (one)
      return { name: `ratelimit_service_rate_limit_${one[3]}`, labels: labels({ domain: one[1]!, key1: one[2]! }) }
    for (const [stat, pattern] of MORE_KEYS) {
      const more = pattern.exec(name)
      if (!more) continue
      const [, domain, key1, key2] = more
      return {
        name: `ratelimit_service_rate_limit_${stat}`,
        labels: labels({ domain: domain!, key1: key1!, key2: key2! }),
      }
    }
  }
  const error = /^ratelimit\.service\.call\.should_rate_limit\.([^.]*)$/.exec(name)
  if (error) return { name: 'ratelimit_service_should_rate_limit_error', labels: labels({ err_type: error[1]! }) }
  const requests = /^ratelimit_server\.([^.]*)\.total_requests$/.exec(name)
  if (requests) return { name: 'ratelimit_service_total_requests', labels: labels({ grpc_method: requests[1]! }) }
  return { name: name.replaceAll(/[^a-zA-Z0-9_]/g, '_'), labels: '' }
}

function labels(of: Readonly<Record<string, string>>): string {
  const quoted = (value: string) => value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
  return `{${Object.entries(of)
    .map(([name, value]) => `${name}="${quoted(value)}"`)
    .join(',')}}`
}

function histogram(times: ResponseTimes): string {
  if (times.count === 0) return ''
  const name = 'ratelimit_service_response_time_seconds'
  const method = 'grpc_method="ShouldRateLimit"'
  let text = `# TYPE ${name} histogram\n`
  let below = 0
  for (const [i, bound] of ResponseTimes.bounds.entries()) {
    below += times.counts[i]!
    text += `${name}_bucket{${method},le="${bound}"} ${below}\n`
  }
  text += `${name}_bucket{${method},le="+Inf"} ${times.count}\n`
  return `${text}${name}_sum{${method}} ${times.sum}\n${name}_count{${method}} ${times.count}\n`
}
