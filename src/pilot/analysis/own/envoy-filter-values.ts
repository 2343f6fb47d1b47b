import type { Analyzer } from '../analyzer.ts'
import { ENVOY_FILTER_FIELD, ENVOY_FILTER_VALUE } from './catalogue.ts'

/** Values of EnvoyFilter patches that are not the messages that they should be. */
export const envoyFilterValues: Analyzer = {
  name: 'dinghy.EnvoyFilterValueAnalyzer',
  description: "Finds values of EnvoyFilter patches that are none of Envoy's messages",
  types: [ENVOY_FILTER_VALUE, ENVOY_FILTER_FIELD],
  analyze(context) {
    for (const { object, path, text, field } of context.push.envoyFilters.flaws)
      context.report(field ? ENVOY_FILTER_FIELD : ENVOY_FILTER_VALUE, object, path, text)
  },
}
