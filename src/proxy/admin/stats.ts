import { RE2JS } from 're2js'
import { renderPrometheus } from '../observe/prometheus.ts'
import type { StatsQuery } from '../observe/stats-query.ts'
import { renderStatsJson, renderStatsText } from '../observe/stats-text.ts'
import { type AdminHandler, type AdminParam, type AdminResponse, JSON_TYPE, text } from './handler.ts'

const TYPES = ['All', 'Counters', 'Histograms', 'Gauges', 'TextReadouts'] as const
const BUCKETS = ['cumulative', 'disjoint', 'summary'] as const

const usedOnly: AdminParam = {
  name: 'usedonly',
  help: 'Only include stats that have been written by system since restart',
}
const filterParam: AdminParam = { name: 'filter', help: 'Regular expression (Google re2) for filtering stats' }
const bucketsParam = (oneOf: readonly string[]): AdminParam => ({
  name: 'histogram_buckets',
  help: 'Histogram bucket display mode',
  oneOf,
})

/** `/stats` (source/server/admin/stats_handler.cc). */
export const stats: AdminHandler = {
  path: '/stats',
  help: 'print server stats',
  params: [
    usedOnly,
    filterParam,
    { name: 'format', help: 'Format to use', oneOf: ['text', 'json', 'prometheus'] },
    { name: 'type', help: 'Stat types to include.', oneOf: TYPES },
    bucketsParam(BUCKETS),
  ],
  run(view, query) {
    const format = query.get('format') || 'text'
    if (format === 'prometheus') return statsPrometheus.run(view, query)
    if (format !== 'text' && format !== 'json') {
      return { status: 400, body: 'usage: /stats?format=(html|active-html|json|prometheus|text)\n\n' }
    }
    return withQuery(query, (asked) => {
      view.stats.collect()
      return format === 'json'
        ? { status: 200, body: renderStatsJson(view.stats, asked), contentType: JSON_TYPE }
        : text(renderStatsText(view.stats, asked))
    })
  },
}

/** `/stats/prometheus`. */
export const statsPrometheus: AdminHandler = {
  path: '/stats/prometheus',
  help: 'print server stats in prometheus format',
  params: [usedOnly, filterParam, bucketsParam(['cumulative', 'summary'])],
  run: (view, query) =>
    withQuery(query, (asked) => {
      view.stats.collect()
      return text(renderPrometheus(view.stats, view.tags, asked))
    }),
}

function withQuery(query: URLSearchParams, render: (asked: StatsQuery) => AdminResponse): AdminResponse {
  const type = TYPES.find((t) => t === (query.get('type') || 'All'))
  if (!type) return { status: 400, body: `usage: /stats?type=(${TYPES.join('|')})\n` }
  const mode = query.get('histogram_buckets')
  const buckets = BUCKETS.find((b) => b === mode)
  if (mode && !buckets) {
    return { status: 400, body: 'usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n' }
  }
  const pattern = query.get('filter')
  let filter: StatsQuery['filter']
  if (pattern) {
    try {
      const regex = RE2JS.compile(pattern)
      filter = { test: (name) => regex.matcher(name).find() }
    } catch {
      return { status: 400, body: 'Invalid re2 regex' }
    }
  }
  return render({ usedOnly: query.has('usedonly'), type, filter, buckets })
}
