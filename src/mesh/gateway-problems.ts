import type { ApiObject } from '../api/objects.ts'
import type { Problem } from '../api/problems.ts'
import { INTERNAL } from '../pilot/internal-names.ts'
import type { PushContext } from '../pilot/scope/push-context.ts'
import { type Labels, selects } from '../registry/labels.ts'
import { STANDS_IN } from './stand-in-gateways.ts'

/** What is to be said of Gateways: who stands in for one, which have no workload, which servers are left out. */
export function gatewayProblems({ gateways, registry, snapshot }: PushContext): Problem[] {
  const out: Problem[] = []
  const routers = registry.workloads.filter((workload) => workload.gateway)
  for (const object of gateways.objects) {
    if (object.metadata.annotations[INTERNAL.gatewayService]) continue
    const { selector } = object.spec
    const chosen = routers.filter(({ labels }) => selects(selector, labels))
    const stand = chosen.find(({ annotations }) => annotations[STANDS_IN])
    if (chosen.length === 0) {
      const others = routers.map(({ name, namespace, labels }) => `${name}.${namespace} (${own(labels)})`).join(', ')
      const hint = others ? `; gateways here are ${others}` : ''
      out.push(problem(object, 'warning', `no gateway has the labels ${text(selector)}, so nothing serves it${hint}`))
    } else if (stand && stand.annotations[STANDS_IN] === `${object.metadata.namespace}/${object.metadata.name}`) {
      const service = snapshot.get('Service', stand.namespace, stand.workloadName)
      const what = service?.metadata.annotations[STANDS_IN] ? 'a gateway and its service' : 'a gateway'
      const words = `no workload has the labels ${text(selector)}: ${what} ${stand.workloadName}.${stand.namespace} stand in, as of an installed Istio (up --no-gateways: without)`
      out.push(problem(object, 'info', words))
    }
  }
  for (const { labels, ...workload } of routers) {
    const merged = gateways.of({ type: 'router', labels, targets: registry.targets({ ...workload, labels }) })
    for (const { message, origin } of merged?.skipped ?? [])
      out.push({ severity: 'warning', message, file: origin.file ?? '', line: origin.line ?? 0, col: 1 })
  }
  return out
}

function problem(object: ApiObject<'Gateway'>, severity: 'warning' | 'info', message: string): Problem {
  return { severity, message, ...object.origin.locate(['spec', 'selector']) }
}

const text = (labels: Labels | undefined): string =>
  Object.entries(labels ?? {})
    .map(([key, value]) => `${key}=${value}`)
    .join(', ')

const own = (labels: Labels): string =>
  text(Object.fromEntries(Object.entries(labels).filter(([key]) => !key.includes('/') && key !== 'pod-template-hash')))
