import { RE2JS } from 're2js'
import type { ChosenStats } from './chosen-stats.ts'
import { type AdminHandler, type AdminParam, type AdminResponse, json, text } from './handler.ts'
import { prometheusText } from './prometheus.ts'
import { QUANTILES, quantileSummary, quantiles } from './quantiles.ts'
import type { AdminView } from './view.ts'

const TYPES = ['All', 'Counters', 'Histograms', 'Gauges', 'TextReadouts']

const usedOnly: AdminParam = {
  name: 'usedonly',
  help: 'Only include stats that have been written by system since restart',
}
const filterParam: AdminParam = { name: 'filter', help: 'Regular expression (Google re2) for filtering stats' }

/** `/stats` (source/server/admin/stats_handler.cc). */
export const stats: AdminHandler = {
  path: '/stats',
  help: 'print server stats',
  params: [
    usedOnly,
    filterParam,
    { name: 'format', help: 'Format to use', oneOf: ['text', 'json', 'prometheus'] },
    { name: 'type', help: 'Stat types to include.', oneOf: TYPES },
  ],
  run(view, query) {
    const format = query.get('format') ?? 'text'
    if (format === 'prometheus') return statsPrometheus.run(view, query)
    if (format !== 'text' && format !== 'json' && format !== '') {
      return { status: 400, body: 'usage: /stats?format=(html|active-html|json|prometheus|text)\n\n' }
    }
    return select(view, query, (chosen) => (format === 'json' ? asJson(chosen) : text(asText(chosen))))
  },
}

/** `/stats/prometheus`. */
export const statsPrometheus: AdminHandler = {
  path: '/stats/prometheus',
  help: 'print server stats in prometheus format',
  params: [usedOnly, filterParam],
  run: (view, query) => select(view, query, (chosen) => text(prometheusText(chosen, view.statsTags))),
}

function select(
  view: AdminView,
  query: URLSearchParams,
  render: (chosen: ChosenStats) => AdminResponse,
): AdminResponse {
  const type = query.get('type') || 'All'
  if (!TYPES.includes(type)) return { status: 400, body: `usage: /stats?type=(${TYPES.join('|')})\n` }
  let wanted = (_name: string) => true
  const filter = query.get('filter')
  if (filter) {
    try {
      const regex = RE2JS.compile(filter)
      wanted = (name) => regex.matcher(name).find()
    } catch (error) {
      return { status: 400, body: `Invalid re2 regex: ${error instanceof Error ? error.message : error}\n` }
    }
  }
  const used = query.has('usedonly')
  const numbers = (all: Iterable<{ readonly name: string; readonly value: number }>) =>
    [...all].filter((s) => wanted(s.name) && !(used && s.value === 0)).sort(byName)
  return render({
    counters: type === 'All' || type === 'Counters' ? numbers(view.stats.counters.values()) : [],
    gauges: type === 'All' || type === 'Gauges' ? numbers(view.stats.gauges.values()) : [],
    histograms:
      type === 'All' || type === 'Histograms'
        ? [...view.stats.histograms.values()].filter((h) => wanted(h.name) && !(used && h.count === 0)).sort(byName)
        : [],
  })
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0
}

function asText(chosen: ChosenStats): string {
  const numbers = [...chosen.counters, ...chosen.gauges].sort(byName)
  let out = ''
  for (const { name, value } of numbers) out += `${name}: ${value}\n`
  for (const histogram of chosen.histograms) out += `${histogram.name}: ${quantileSummary(histogram)}\n`
  return out
}

function asJson(chosen: ChosenStats): AdminResponse {
  const entries: object[] = [...chosen.counters, ...chosen.gauges]
    .sort(byName)
    .map(({ name, value }) => ({ name, value }))
  const recorded = chosen.histograms.filter((h) => h.count > 0)
  if (recorded.length > 0) {
    entries.push({
      histograms: {
        supported_quantiles: QUANTILES,
        computed_quantiles: recorded.map((h) => ({
          name: h.name,
          values: quantiles(h).map((cumulative) => ({ interval: null, cumulative })),
        })),
      },
    })
  }
  return json({ stats: entries })
}
