import type { PodSpec } from '../../api/kinds/pod.ts'
import type { Analyzer } from './analyzer.ts'
import { INVALID_APPLICATION_UID } from './catalogue.ts'

/** The user of sidecars: its traffic is not captured, so an application must not be it. */
const PROXY_UID = 1337
const PROXIES = ['istio-proxy', 'istio-operator']

/** Applications that run as the sidecar's user, past every policy (analyzers/deployment/pod.go). */
export const applicationUid: Analyzer = {
  name: 'applicationUID.Analyzer',
  description: 'Checks invalid application UID',
  types: [INVALID_APPLICATION_UID],
  analyze(context) {
    const { snapshot } = context.push
    const specs = [
      ...snapshot.list('Pod').map((object) => ({ object, spec: object.spec, path: ['spec'] })),
      ...snapshot.list('Deployment').map((object) => ({
        object,
        spec: object.spec.template.spec,
        path: ['spec', 'template', 'spec'],
      })),
    ]
    for (const { object, spec, path } of specs) {
      const { labels } = object.metadata
      if ('istio' in labels || labels.release === 'istio') continue
      if (runsAsProxy(spec)) context.report(INVALID_APPLICATION_UID, object, [...path, 'securityContext'])
      for (const [i, container] of (spec.containers as PodSpec['containers']).entries())
        if (!PROXIES.includes(container.name ?? '') && runsAsProxy(container))
          context.report(INVALID_APPLICATION_UID, object, [...path, 'containers', i, 'securityContext'])
    }
  },
}

function runsAsProxy(holder: object): boolean {
  const { securityContext } = holder as { securityContext?: { runAsUser?: unknown } }
  return securityContext?.runAsUser === PROXY_UID
}
