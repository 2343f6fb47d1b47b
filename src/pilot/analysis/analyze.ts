import type { OtherObject } from '../../api/objects.ts'
import type { PushContext } from '../scope/push-context.ts'
import type { Analyzer } from './analyzer.ts'
import { applicationUid } from './application-uid.ts'
import { authorizationPolicies } from './authorization-policies.ts'
import { blockedCidrs } from './blocked-cidrs.ts'
import { caCertificates } from './ca-certificates.ts'
import { AnalysisContext, type ContextOptions } from './context.ts'
import { envoyFilters } from './envoy-filters.ts'
import { externalControlPlane } from './external-control-plane.ts'
import { gatewayCertificates } from './gateway-certificates.ts'
import { gatewaySecrets } from './gateway-secrets.ts'
import { gatewaySelectors } from './gateway-selectors.ts'
import { imageAuto } from './image-auto.ts'
import { injection } from './injection.ts'
import { jwtRoutes } from './jwt-routes.ts'
import { type Message, sortedMessages } from './message.ts'
import { OWN_ANALYZERS } from './own/all.ts'
import { destinationHosts, destinationSubsets, routeGateways } from './virtual-services.ts'

/** Every analyzer, Istio's first. `now`: ms since the epoch, for the validity of certificates. */
export function allAnalyzers(now: () => number): Analyzer[] {
  return [
    applicationUid,
    authorizationPolicies,
    blockedCidrs,
    caCertificates,
    envoyFilters,
    externalControlPlane,
    gatewayCertificates,
    gatewaySecrets(now),
    imageAuto,
    injection,
    gatewaySelectors,
    destinationHosts,
    destinationSubsets,
    routeGateways,
    jwtRoutes,
    ...OWN_ANALYZERS,
  ]
}

/** What analyzers find in a context; sorted, each thing once. */
export function analyze(
  push: PushContext,
  others: readonly OtherObject[],
  analyzers: readonly Analyzer[],
  options?: ContextOptions,
): Message[] {
  const context = new AnalysisContext(push, others, options)
  for (const analyzer of analyzers) analyzer.analyze(context)
  return sortedMessages(context.messages)
}
