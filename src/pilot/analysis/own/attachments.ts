import type { ApiObject } from '../../../api/objects.ts'
import { selects } from '../../../registry/labels.ts'
import type { Analyzer } from '../analyzer.ts'
import { type AnalysisContext, selectorText } from '../context.ts'
import {
  BINDS_ALL_NAMESPACES,
  BINDS_NOTHING,
  DRY_RUN,
  PEER_AUTHENTICATION_IGNORED,
  UNKNOWN_PROVIDER,
} from './catalogue.ts'

const hasLabels = (
  object: ApiObject<'PeerAuthentication' | 'RequestAuthentication' | 'AuthorizationPolicy'>,
): boolean => Object.keys(object.spec.selector?.matchLabels ?? {}).length > 0

/** What policies bind: nothing, more than they seem to, or what another one binds already. */
export const attachments: Analyzer = {
  name: 'dinghy.AttachmentAnalyzer',
  description:
    'Finds policies that bind nothing or more than they seem to, that are ignored, or whose provider is missing',
  types: [BINDS_NOTHING, BINDS_ALL_NAMESPACES, PEER_AUTHENTICATION_IGNORED, UNKNOWN_PROVIDER, DRY_RUN],
  analyze(context) {
    const { snapshot, mesh } = context.push
    const policies = [...snapshot.list('AuthorizationPolicy'), ...snapshot.list('RequestAuthentication')]
    for (const policy of policies) {
      const bound = context.boundBy(policy)
      if (policy.metadata.namespace === mesh.rootNamespace && hasLabels(policy) && bound.length > 0) {
        const namespaces = [...new Set(bound.map(({ namespace }) => namespace))].sort()
        context.report(BINDS_ALL_NAMESPACES, policy, ['spec', 'selector'], namespaces)
      }
      // Of AuthorizationPolicies Istio's own analyzer says so.
      if (policy.kind === 'RequestAuthentication' && hasLabels(policy) && bound.length === 0)
        context.report(BINDS_NOTHING, policy, ['spec', 'selector'], selectorText(policy.spec.selector?.matchLabels))
      if (policy.kind === 'AuthorizationPolicy') providers(context, policy)
    }
    peers(context)
  },
}

function providers(context: AnalysisContext, policy: ApiObject<'AuthorizationPolicy'>): void {
  if (policy.metadata.annotations['istio.io/dry-run'] === 'true')
    context.report(DRY_RUN, policy, ['metadata', 'annotations', 'istio.io/dry-run'])
  const name = policy.spec.provider?.name
  if (policy.spec.action !== 'CUSTOM' || name === undefined) return
  const known = context.push.mesh.extensionProviders.filter(
    (provider) => 'envoyExtAuthzHttp' in provider || 'envoyExtAuthzGrpc' in provider,
  )
  if (!known.some((provider) => provider.name === name))
    context.report(
      UNKNOWN_PROVIDER,
      policy,
      ['spec', 'provider', 'name'],
      name,
      known.map((provider) => provider.name ?? ''),
    )
}

/** Of several for one scope the oldest counts; in the root namespace none with a selector does. */
function peers(context: AnalysisContext): void {
  const { rootNamespace } = context.push.mesh
  const all = context.push.snapshot.list('PeerAuthentication')
  const wide = new Map<string, string>()
  for (const object of all) {
    const { namespace, name } = object.metadata
    if (!hasLabels(object)) {
      const first = wide.get(namespace)
      if (first === undefined) wide.set(namespace, name)
      else
        context.report(
          PEER_AUTHENTICATION_IGNORED,
          object,
          [],
          `${first} is older and for the same workloads`,
          'Keep one of them.',
        )
      continue
    }
    if (namespace === rootNamespace) {
      context.report(
        PEER_AUTHENTICATION_IGNORED,
        object,
        ['spec', 'selector'],
        'in the root namespace one with a selector is not read',
        'Put it into the namespace of the workloads, or leave the selector out.',
      )
      continue
    }
    const bound = context.boundBy(object)
    if (bound.length === 0) {
      context.report(BINDS_NOTHING, object, ['spec', 'selector'], selectorText(object.spec.selector?.matchLabels))
      continue
    }
    const winner = (labels: Readonly<Record<string, string>>) =>
      all.find(
        (other) =>
          other.metadata.namespace === namespace &&
          hasLabels(other) &&
          selects(other.spec.selector?.matchLabels, labels),
      )
    const first = winner(bound[0]?.labels ?? {})
    if (first !== object && bound.every(({ labels }) => winner(labels) !== object))
      context.report(
        PEER_AUTHENTICATION_IGNORED,
        object,
        ['spec', 'selector'],
        `${first?.metadata.name} is older and for the same workloads`,
        'Keep one of them.',
      )
  }
}
