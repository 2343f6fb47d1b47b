import type { ApiObject, Kind } from '../objects.ts'
import { checkPeerAuthentication } from './authentication.ts'
import { checkAuthorizationPolicy } from './authorization-policy.ts'
import { checkDestinationRule } from './destination-rule.ts'
import { checkEnvoyFilter } from './envoy-filter.ts'
import { checkFaultAnnotation } from './fault-annotation.ts'
import { checkGateway } from './gateway.ts'
import { checkBackendTLSPolicy, checkKubernetesGateway, checkListeners, checkTLSRouteHosts } from './gateway-api.ts'
import { checkGRPCRoute, checkHTTPRoute, checkRoute } from './gateway-api-routes.ts'
import { checkIngress, checkIngressClass } from './ingress.ts'
import { checkBase64, checkEndpointSlice, checkEndpoints, checkKeys, checkService } from './kubernetes.ts'
import { checkRequestAuthentication } from './request-authentication.ts'
import type { Verdict } from './scope.ts'
import { Scope } from './scope.ts'
import { checkServiceEntry, checkWorkloadEntry, checkWorkloadGroup } from './service-entry.ts'
import { checkSidecar } from './sidecar.ts'
import { checkProxyConfig, checkTelemetry } from './telemetry.ts'
import { checkVirtualService } from './virtual-service.ts'
import { checkJob, checkPodSpec, checkPodStatus, checkTemplate } from './workloads.ts'

export type { Verdict } from './scope.ts'

/**
 * Checks an object beyond its types, as the API server (for Kubernetes' kinds) and Istio's webhook
 * (pkg/config/validation) do: errors are what they reject, warnings what they accept with a warning, or what surely is
 * not meant. With `strict`, what is only read loosely here is an error as well. (A MeshConfig is checked as it is read.)
 */
export function validate(object: ApiObject, { strict = false }: { strict?: boolean } = {}): Verdict[] {
  const verdicts: Verdict[] = []
  const root = new Scope(verdicts, strict)
  if (object.apiVersion.includes('.istio.io/')) checkAnnotations(root.at('metadata', 'annotations'), object)
  const check = CHECKS[object.kind] as ((root: Scope, object: ApiObject) => void) | undefined
  check?.(root, object)
  return verdicts
}

type Checks = { [K in Kind]?: (root: Scope, object: ApiObject<K>) => void }

const CHECKS: Checks = {
  VirtualService: (root, { spec, metadata }) => checkVirtualService(root.at('spec'), spec, metadata.namespace),
  DestinationRule: (root, { spec, metadata }) => checkDestinationRule(root.at('spec'), spec, metadata.namespace),
  Gateway: (root, { spec, metadata }) => checkGateway(root.at('spec'), spec, metadata.name, root.at('metadata')),
  Sidecar: (root, { spec, metadata }) => checkSidecar(root.at('spec'), spec, metadata.namespace),
  ServiceEntry: (root, { spec, metadata }) => checkServiceEntry(root.at('spec'), spec, metadata),
  WorkloadEntry: (root, { spec }) => checkWorkloadEntry(root.at('spec'), spec),
  WorkloadGroup: (root, { spec }) => checkWorkloadGroup(root.at('spec'), spec),
  PeerAuthentication: (root, { spec }) => checkPeerAuthentication(root.at('spec'), spec),
  RequestAuthentication: (root, { spec }) => checkRequestAuthentication(root.at('spec'), spec),
  AuthorizationPolicy: (root, { spec }) => checkAuthorizationPolicy(root.at('spec'), spec),
  EnvoyFilter: (root, { spec }) => checkEnvoyFilter(root.at('spec'), spec),
  Telemetry: (root, { spec }) => checkTelemetry(root.at('spec'), spec),
  ProxyConfig: (root, { spec }) => checkProxyConfig(root.at('spec'), spec),
  KubernetesGateway: (root, { spec }) => checkKubernetesGateway(root.at('spec'), spec),
  ListenerSet: (root, { spec }) => checkListeners(root.at('spec', 'listeners'), spec.listeners),
  HTTPRoute: (root, { spec }) => checkHTTPRoute(root.at('spec'), spec),
  GRPCRoute: (root, { spec }) => checkGRPCRoute(root.at('spec'), spec),
  TCPRoute: (root, { spec }) => checkRoute(root.at('spec'), spec),
  TLSRoute: (root, { spec, apiVersion }) => {
    checkRoute(root.at('spec'), spec)
    checkTLSRouteHosts(root.at('spec'), spec, apiVersion)
  },
  BackendTLSPolicy: (root, { spec }) => checkBackendTLSPolicy(root.at('spec'), spec),
  Service: (root, { spec }) => checkService(root.at('spec'), spec),
  Pod: (root, { metadata, spec, status }) => {
    checkFaultAnnotation(root.at('metadata'), metadata)
    checkPodSpec(root.at('spec'), spec)
    checkPodStatus(root.at('status'), status)
  },
  Ingress: checkIngress,
  IngressClass: checkIngressClass,
  Deployment: (root, { spec }) => checkTemplate(root.at('spec'), spec),
  ReplicaSet: (root, { spec }) => checkTemplate(root.at('spec'), spec),
  StatefulSet: (root, { spec }) => checkTemplate(root.at('spec'), spec),
  DaemonSet: (root, { spec }) => checkTemplate(root.at('spec'), spec),
  Job: (root, { spec }) => checkJob(root.at('spec'), spec.template),
  CronJob: (root, { spec }) => checkJob(root.at('spec', 'jobTemplate', 'spec'), spec.jobTemplate.spec.template),
  Endpoints: (root, endpoints) => checkEndpoints(root, endpoints),
  EndpointSlice: (root, slice) => checkEndpointSlice(root, slice),
  ConfigMap: (root, { data, binaryData }) => {
    checkKeys(root.at('data'), data)
    checkBase64(root.at('binaryData'), binaryData)
  },
  Secret: (root, { data, stringData }) => {
    checkKeys(root.at('stringData'), stringData)
    checkBase64(root.at('data'), data)
  },
}

const DRY_RUN = 'istio.io/dry-run'
const INTERNAL = [
  'internal.istio.io/parents',
  'internal.istio.io/parent-namespace',
  'internal.istio.io/webhook-always-reject',
]
const BOOLEANS = ['1', 't', 'T', 'TRUE', 'true', 'True', '0', 'f', 'F', 'FALSE', 'false', 'False']

function checkAnnotations(scope: Scope, object: ApiObject): void {
  const { annotations } = object.metadata
  for (const name of INTERNAL) {
    if (annotations[name] !== undefined) scope.at(name).errorAtKey("is Istio's own, and not for objects of others")
  }
  const dryRun = annotations[DRY_RUN]
  if (dryRun === undefined) return
  const at = scope.at(DRY_RUN)
  if (object.kind !== 'AuthorizationPolicy') at.errorAtKey('is for AuthorizationPolicies alone')
  else if (!['ALLOW', 'DENY'].includes(object.spec.action ?? 'ALLOW'))
    at.errorAtKey('is for the actions ALLOW and DENY alone')
  else if (!BOOLEANS.includes(dryRun)) at.error(`must be "true" or "false", is "${dryRun}"`)
}
