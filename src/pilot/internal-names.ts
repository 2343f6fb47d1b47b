/** What objects that istiod makes of others say of themselves, for its own use (pkg/config/constants/constants.go). */
export const INTERNAL = {
  parents: 'internal.istio.io/parents',
  routeSemantics: 'internal.istio.io/route-semantics',
  gatewaySemantics: 'internal.istio.io/gateway-semantics',
  gatewayService: 'internal.istio.io/gateway-service',
  parentNamespace: 'internal.istio.io/parent-namespace',
  serviceAccount: 'internal.istio.io/service-account-name',
} as const

/** The label by which the pods of a Gateway of the Gateway API name it. */
export const GATEWAY_NAME_LABEL = 'gateway.networking.k8s.io/gateway-name'
