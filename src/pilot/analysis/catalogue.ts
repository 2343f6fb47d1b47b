import type { Level, MessageType } from './message.ts'

/** Every message type by its code. */
const byCode = new Map<string, MessageType>()

/** Declares a message type. */
export function messageType<A extends readonly unknown[]>(
  code: string,
  level: Level,
  name: string,
  text: (...args: A) => string,
  certain = false,
): MessageType<A> {
  const type = { code, level, name, text, certain }
  byCode.set(code, type as unknown as MessageType)
  return type
}

/** The type of a code; undefined for an unknown one. */
export const typeOf = (code: string): MessageType | undefined => byCode.get(code)

const quoted = (text: string): string => JSON.stringify(text)
const listed = (items: readonly string[]): string => `[${items.join(' ')}]`

/** Istio's own messages about identity, injection and security, in Istio's words. */
export const REFERENCED_RESOURCE_NOT_FOUND = messageType(
  'IST0101',
  'Error',
  'ReferencedResourceNotFound',
  (type: string, value: string) => `Referenced ${type} not found: ${quoted(value)}`,
)
export const NAMESPACE_NOT_INJECTED = messageType(
  'IST0102',
  'Info',
  'NamespaceNotInjected',
  (namespace: string) =>
    `The namespace is not enabled for Istio injection. Run 'kubectl label namespace ${namespace} istio-injection=enabled' to enable it, or 'kubectl label namespace ${namespace} istio-injection=disabled' to explicitly mark it as not needing injection.`,
)
export const POD_MISSING_PROXY = messageType(
  'IST0103',
  'Warning',
  'PodMissingProxy',
  (pod: string) =>
    `The pod ${pod} is missing the Istio proxy. This can often be resolved by restarting or redeploying the workload.`,
)
export const SCHEMA_VALIDATION_ERROR = messageType(
  'IST0106',
  'Error',
  'SchemaValidationError',
  (problem: string) => `Schema validation error: ${problem}`,
)
export const DESTINATION_PORT_REQUIRED = messageType(
  'IST0112',
  'Error',
  'VirtualServiceDestinationPortSelectorRequired',
  (host: string, ports: readonly number[]) =>
    `This VirtualService routes to a service ${quoted(host)} that exposes multiple ports ${listed(ports.map(String))}. Specifying a port in the destination is required to disambiguate.`,
)
export const NAMESPACE_MULTIPLE_INJECTION_LABELS = messageType(
  'IST0123',
  'Warning',
  'NamespaceMultipleInjectionLabels',
  (labels: readonly string[]) =>
    `The namespace has more than one type of injection labels ${listed(labels)}, which may lead to undefined behavior. Make sure only one injection label exists.`,
)
export const NO_MATCHING_WORKLOADS = messageType(
  'IST0127',
  'Warning',
  'NoMatchingWorkloadsFound',
  (labels: string) => `No matching workloads for this resource with the following labels: ${labels}`,
  true,
)
export const NO_SERVER_VERIFICATION = messageType(
  'IST0128',
  'Warning',
  'NoServerCertificateVerificationDestinationLevel',
  (rule: string, namespace: string, mode: string, host: string) =>
    `DestinationRule ${rule} in namespace ${namespace} has TLS mode set to ${mode} but no caCertificates are set to validate server identity for host: ${host}`,
)
export const NO_SERVER_VERIFICATION_PORT = messageType(
  'IST0129',
  'Warning',
  'NoServerCertificateVerificationPortLevel',
  (rule: string, namespace: string, mode: string, host: string, port: string) =>
    `DestinationRule ${rule} in namespace ${namespace} has TLS mode set to ${mode} but no caCertificates are set to validate server identity for host: ${host} at port ${port}`,
)
export const HOST_NOT_IN_GATEWAY = messageType(
  'IST0132',
  'Warning',
  'VirtualServiceHostNotFoundInGateway',
  (hosts: readonly string[], route: string, gateway: string) =>
    `one or more host ${listed(hosts)} defined in VirtualService ${route} not found in Gateway ${gateway}.`,
)
export const SCHEMA_WARNING = messageType(
  'IST0133',
  'Warning',
  'SchemaWarning',
  (problem: string) => `Schema validation warning: ${problem}`,
)
export const DUPLICATE_CERTIFICATE = messageType(
  'IST0138',
  'Warning',
  'GatewayDuplicateCertificate',
  (gateways: readonly string[]) =>
    `Duplicate certificate in multiple gateways ${listed(gateways)} may cause 404s if clients re-use HTTP2 connections.`,
)
export const ROUTES_NOT_AFFECTED = messageType(
  'IST0140',
  'Warning',
  'IngressRouteRulesNotAffected',
  (subsets: string, route: string) =>
    `Subset in virtual service ${subsets} has no effect on ingress gateway ${route} requests`,
)
export const INVALID_APPLICATION_UID = messageType(
  'IST0144',
  'Warning',
  'InvalidApplicationUID',
  () => 'User ID (UID) 1337 is reserved for the sidecar proxy.',
)
const autoImage = (kind: string, name: string): string =>
  `${kind} ${name} contains \`image: auto\` but does not match any Istio injection webhook selectors.`
export const IMAGE_AUTO_WARNING = messageType('IST0146', 'Warning', 'ImageAutoWithoutInjectionWarning', autoImage)
export const IMAGE_AUTO_ERROR = messageType('IST0147', 'Error', 'ImageAutoWithoutInjectionError', autoImage)
export const INJECTION_BY_DEFAULT = messageType(
  'IST0148',
  'Info',
  'NamespaceInjectionEnabledByDefault',
  () => 'is enabled for Istio injection, as Istio is installed with enableNamespacesByDefault as true.',
)
export const JWT_ROUTING_WITHOUT_AUTHN = messageType(
  'IST0149',
  'Error',
  'JwtClaimBasedRoutingWithoutRequestAuthN',
  (key: string, gateway: string, pod: string) =>
    `The virtual service uses the JWT claim based routing (key: ${key}) but found no request authentication for the gateway (${gateway}) pod (${pod}). The request authentication must first be applied for the gateway pods to validate the JWT token and make the claims available for routing.`,
)
const relative = (kinds: string, when: string): string =>
  `This EnvoyFilter does not have a priority and has a relative patch operation ${kinds}set which can cause the EnvoyFilter not to be applied${when}. Using the INSERT_FIRST ${kinds ? 'or' : 'of'} ADD option or setting the priority may help in ensuring the EnvoyFilter is applied correctly.`
export const ENVOY_FILTER_RELATIVE = messageType('IST0151', 'Warning', 'EnvoyFilterUsesRelativeOperation', () =>
  relative('', ''),
)
export const ENVOY_FILTER_REPLACE = messageType(
  'IST0152',
  'Error',
  'EnvoyFilterUsesReplaceOperationIncorrectly',
  () => 'The REPLACE operation is only valid for HTTP_FILTER and NETWORK_FILTER.',
)
export const ENVOY_FILTER_ADD = messageType(
  'IST0153',
  'Error',
  'EnvoyFilterUsesAddOperationIncorrectly',
  () => 'The ADD operation will be ignored when applyTo is set to ROUTE_CONFIGURATION, or HTTP_ROUTE.',
)
export const ENVOY_FILTER_REMOVE = messageType(
  'IST0154',
  'Error',
  'EnvoyFilterUsesRemoveOperationIncorrectly',
  () => 'The REMOVE operation will be ignored when applyTo is set to ROUTE_CONFIGURATION, or HTTP_ROUTE.',
)
export const ENVOY_FILTER_RELATIVE_WITH_VERSION = messageType(
  'IST0155',
  'Warning',
  'EnvoyFilterUsesRelativeOperationWithProxyVersion',
  () => relative('(NSTERT_BEFORE/AFTER, REPLACE, MERGE, DELETE) and proxyVersion ', ' during an upgrade'),
)
export const INVALID_GATEWAY_CREDENTIAL = messageType(
  'IST0161',
  'Error',
  'InvalidGatewayCredential',
  (gateway: string, namespace: string) =>
    `The credential referenced by the Gateway ${gateway} in namespace ${namespace} is invalid, which can cause the traffic not to work as expected.`,
)
export const INVALID_EXTERNAL_CONTROL_PLANE = messageType(
  'IST0163',
  'Warning',
  'InvalidExternalControlPlaneConfig',
  (host: string, webhook: string, problem: string) =>
    `The hostname (${host}) that was provided for the webhook (${webhook}) to reach the ingress gateway on the external control plane cluster ${problem}. Traffic may not flow properly.`,
)
export const EXTERNAL_CONTROL_PLANE_IP = messageType(
  'IST0164',
  'Info',
  'ExternalControlPlaneAddressIsNotAHostname',
  (host: string, webhook: string) =>
    `The address (${host}) that was provided for the webhook (${webhook}) to reach the ingress gateway on the external control plane cluster is an IP address. This is not recommended for a production environment.`,
)
export const INEFFECTIVE_SELECTOR = messageType(
  'IST0166',
  'Warning',
  'IneffectiveSelector',
  (gateway: string) => `Ineffective selector on Kubernetes Gateway ${gateway}. Use the TargetRef field instead.`,
)
export const JWKS_FETCH_UNRESTRICTED = messageType(
  'IST0175',
  'Warning',
  'JwksUriFetchUnrestricted',
  (count: number, names: string) =>
    `BLOCKED_CIDRS_IN_JWKS_URIS is not configured but ${count} RequestAuthentication resource(s) exist (${names}). Consider configuring it to restrict JWKS URI fetches to trusted networks.`,
)
