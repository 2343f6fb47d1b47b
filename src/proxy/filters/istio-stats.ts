import type { HttpFilter, HttpFilterKind } from './filter.ts'

/** `istio.stats`: Istio's own metrics. The chain takes it; the metrics are not made yet. */
export const istioStatsFilter: HttpFilterKind = {
  type: 'stats.PluginConfig',
  name: 'istio.stats',
  build(_message, context) {
    context.proxy.notEnforced?.('http filter istio.stats')
    const filter: HttpFilter = {}
    return { create: () => filter }
  },
}
