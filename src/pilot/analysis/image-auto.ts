import type { PodSpec } from '../../api/kinds/pod.ts'
import type { Analyzer } from './analyzer.ts'
import { IMAGE_AUTO_ERROR, IMAGE_AUTO_WARNING } from './catalogue.ts'
import { selectorMatches, type Webhook, webhooksOf } from './webhooks.ts'

/** Pods that wait for an injector which does not come (analyzers/injection/image-auto.go). */
export const imageAuto: Analyzer = {
  name: 'injection.ImageAutoAnalyzer',
  description: 'Makes sure that Pods and Deployments with `image: auto` are going to be injected',
  types: [IMAGE_AUTO_WARNING, IMAGE_AUTO_ERROR],
  analyze(context) {
    const { snapshot } = context.push
    const written = context.othersOf('MutatingWebhookConfiguration').flatMap(webhooksOf)
    const webhooks = written.length > 0 ? written.filter(({ name }) => name.endsWith('istio.io')) : INSTALLED
    for (const pod of snapshot.list('Pod'))
      if (hasAutoImage(pod.spec)) context.report(IMAGE_AUTO_ERROR, pod, [], 'Pod', pod.metadata.name)
    for (const deployment of snapshot.list('Deployment')) {
      const { template } = deployment.spec
      if (!hasAutoImage(template.spec)) continue
      const namespace = snapshot.get('Namespace', '', deployment.metadata.namespace)?.metadata.labels ?? {}
      const matches = ({ namespaceSelector, objectSelector }: (typeof INSTALLED)[number]) =>
        selectorMatches(namespaceSelector, namespace) &&
        selectorMatches(objectSelector, template.metadata?.labels ?? {})
      if (!webhooks.some(matches))
        context.report(IMAGE_AUTO_WARNING, deployment, [], 'Deployment', deployment.metadata.name)
    }
  },
}

const INJECT = 'sidecar.istio.io/inject'
const isIn = (key: string, ...values: string[]) => ({ key, operator: 'In', values })
const notFalse = { key: INJECT, operator: 'NotIn', values: ['false'] }
const without = (key: string) => ({ key, operator: 'DoesNotExist' })

/** The webhooks of an installed Istio, for files that bring none (manifests/charts/istio-control/istio-discovery). */
const INSTALLED: readonly Pick<Webhook, 'namespaceSelector' | 'objectSelector'>[] = [
  {
    namespaceSelector: { matchExpressions: [isIn('istio-injection', 'enabled')] },
    objectSelector: { matchExpressions: [notFalse] },
  },
  {
    namespaceSelector: { matchExpressions: [without('istio-injection'), without('istio.io/rev')] },
    objectSelector: { matchExpressions: [isIn(INJECT, 'true'), without('istio.io/rev')] },
  },
  {
    namespaceSelector: { matchExpressions: [isIn('istio.io/rev', 'default'), without('istio-injection')] },
    objectSelector: { matchExpressions: [notFalse] },
  },
  {
    namespaceSelector: { matchExpressions: [without('istio-injection'), without('istio.io/rev')] },
    objectSelector: { matchExpressions: [notFalse, isIn('istio.io/rev', 'default')] },
  },
]

const hasAutoImage = ({ containers }: PodSpec): boolean =>
  containers.some(({ name, image }) => name === 'istio-proxy' && image === 'auto')
