import type { ApiObject } from '../../api/objects.ts'
import { selects } from '../../registry/labels.ts'
import { GATEWAY_NAME_LABEL } from '../internal-names.ts'
import type { Analyzer } from './analyzer.ts'
import { INEFFECTIVE_SELECTOR } from './catalogue.ts'

type Policy = ApiObject<'AuthorizationPolicy' | 'RequestAuthentication' | 'Telemetry'>

/** Policies that select a gateway of the Gateway API by label, instead of naming it (analyzers/k8sgateway/workloadselector.go). */
export const gatewaySelectors: Analyzer = {
  name: 'k8sgateway.SelectorAnalyzer',
  description: 'Check that selectors are effective for Kubernetes gateway',
  types: [INEFFECTIVE_SELECTOR],
  analyze(context) {
    const { registry, snapshot } = context.push
    const gateways = registry.workloads.filter(({ labels }) => GATEWAY_NAME_LABEL in labels)
    const policies: readonly Policy[] = [
      ...snapshot.list('AuthorizationPolicy'),
      ...snapshot.list('RequestAuthentication'),
      ...snapshot.list('Telemetry'),
    ]
    for (const policy of policies) {
      const { selector, targetRef } = policy.spec
      if (!selector || targetRef) continue
      for (const { namespace, labels } of gateways)
        if (namespace === policy.metadata.namespace && selects(selector.matchLabels, labels))
          context.report(INEFFECTIVE_SELECTOR, policy, ['spec', 'selector'], labels[GATEWAY_NAME_LABEL] ?? '')
    }
    reportPlugins(context, gateways)
  },
}

/** Of WasmPlugins the selector is all that is read. */
function reportPlugins(
  context: Parameters<Analyzer['analyze']>[0],
  gateways: readonly { namespace: string; labels: Readonly<Record<string, string>> }[],
): void {
  for (const plugin of context.othersOf('WasmPlugin')) {
    const spec = (plugin.body.spec ?? {}) as {
      selector?: { matchLabels?: Record<string, string> }
      targetRef?: unknown
    }
    if (!spec.selector || spec.targetRef) continue
    for (const { namespace, labels } of gateways)
      if (namespace === plugin.metadata.namespace && selects(spec.selector.matchLabels, labels))
        context.report(INEFFECTIVE_SELECTOR, plugin, ['spec', 'selector'], labels[GATEWAY_NAME_LABEL] ?? '')
  }
}
