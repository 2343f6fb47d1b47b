import type { Analyzer } from './analyzer.ts'
import {
  INJECTION_BY_DEFAULT,
  NAMESPACE_MULTIPLE_INJECTION_LABELS,
  NAMESPACE_NOT_INJECTED,
  POD_MISSING_PROXY,
} from './catalogue.ts'
import type { AnalysisContext } from './context.ts'

const INJECTION = 'istio-injection'
const REVISION = 'istio.io/rev'
const DATAPLANE_MODE = 'istio.io/dataplane-mode'
const PROXY_CONTAINER = 'istio-proxy'

/** Namespaces and pods that an injector would pass over (analyzers/injection/injection.go). */
export const injection: Analyzer = {
  name: 'injection.Analyzer',
  description: 'Checks conditions related to Istio sidecar injection',
  types: [NAMESPACE_NOT_INJECTED, POD_MISSING_PROXY, NAMESPACE_MULTIPLE_INJECTION_LABELS, INJECTION_BY_DEFAULT],
  analyze(context) {
    const { snapshot } = context.push
    const injected = new Set<string>()
    for (const namespace of snapshot.list('Namespace')) {
      const { name, labels } = namespace.metadata
      if (name === 'istio-system') continue
      const stated = labels[INJECTION]
      const found = stated === undefined ? [] : [`${INJECTION}=${stated}`]
      for (const label of [REVISION, DATAPLANE_MODE])
        if (label in labels && (stated === undefined || stated === 'enabled')) found.push(`${label}=${labels[label]}`)
      const path = ['metadata', 'labels']
      if (found.length > 1) context.report(NAMESPACE_MULTIPLE_INJECTION_LABELS, namespace, path, found)
      if (labels[DATAPLANE_MODE] === 'ambient') continue
      if (!stated && !(REVISION in labels)) {
        if (injectsByDefault(context, labels[REVISION])) context.report(INJECTION_BY_DEFAULT, namespace, [])
        else context.report(NAMESPACE_NOT_INJECTED, namespace, ['metadata', 'name'], name)
      } else if (stated === 'enabled') injected.add(name)
    }
    for (const pod of snapshot.list('Pod')) {
      const { namespace, name, labels, annotations } = pod.metadata
      const asked = labels['sidecar.istio.io/inject'] ?? annotations['sidecar.istio.io/inject'] ?? ''
      if (!injected.has(namespace) || asked.toLowerCase() === 'false' || pod.spec.hostNetwork) continue
      const containers = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])]
      if (!containers.some((container) => container.name === PROXY_CONTAINER && container.image))
        context.report(POD_MISSING_PROXY, pod, [], `${namespace}/${name}`)
    }
  },
}

/** What the values of the injector's own ConfigMap say. */
function injectsByDefault({ push: { snapshot } }: AnalysisContext, revision: string | undefined): boolean {
  const name = revision && revision !== 'default' ? `istio-sidecar-injector-${revision}` : 'istio-sidecar-injector'
  const values = snapshot.list('ConfigMap').find(({ metadata }) => metadata.name === name)?.data?.values
  try {
    const parsed = JSON.parse(values ?? '{}') as { sidecarInjectorWebhook?: { enableNamespacesByDefault?: unknown } }
    return parsed.sidecarInjectorWebhook?.enableNamespacesByDefault === true
  } catch {
    return false
  }
}
