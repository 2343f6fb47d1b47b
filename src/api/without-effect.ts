import type { NotEnforced } from './not-enforced.ts'

const AMBIENT = "of ambient mode's proxies, which no sidecar is"
const UNUSED = 'istiod checks it, and makes no use of it'
const NO_NODE = 'sidecars have nothing to do with it, and there is no node here that would listen'
const UDP = 'Istio makes no listeners for it: such traffic goes past sidecars, and nothing carries it here'

/**
 * Fields that are right to write and change no traffic between sidecars: Istio makes nothing of them there. The
 * patterns are those of the table of what is not enforced.
 */
export const WITHOUT_EFFECT: readonly NotEnforced[] = [
  {
    pattern: 'Service spec.sessionAffinity=ClientIP',
    words: "sidecars balance by themselves; a DestinationRule's consistentHash with useSourceIp keeps clients together",
  },
  { pattern: 'Service spec.ports[].nodePort', words: NO_NODE },
  { pattern: 'Service spec.externalIPs', words: NO_NODE },
  { pattern: 'Service spec.ports[].protocol=UDP', words: UDP },
  { pattern: 'Service spec.ports[].protocol=SCTP', words: UDP },
  { pattern: 'Sidecar spec.ingress[].tls', words: 'unless istiod runs with ENABLE_TLS_ON_SIDECAR_INGRESS=true' },
  { pattern: 'MeshConfig spec.outboundTrafficPolicy.tls', words: UNUSED },
  { pattern: 'MeshConfig spec.verifyCertificateAtClient', words: UNUSED },
  { pattern: 'MeshConfig spec.ca', words: UNUSED },
  { pattern: 'MeshConfig spec.certificates', words: UNUSED },
  {
    pattern: 'MeshConfig spec.caCertificates[].certSigners',
    words: 'it is about certificates that the Kubernetes API signs, and here the CA of the mesh signs them all',
  },
  {
    pattern: 'MeshConfig spec.defaultConfig.caCertificatesPem',
    words: 'agents take such roots from istiod alone, which sends those of MeshConfig caCertificates',
  },
  {
    pattern: 'MeshConfig spec.defaultConfig.privateKeyProvider',
    words: 'it is about the processor that computes with private keys, and changes nothing that peers would see',
  },
  { pattern: 'MeshConfig spec.serviceSettings', words: 'it is about meshes of several clusters' },
  { pattern: 'MeshConfig spec.serviceScopeConfigs', words: AMBIENT },
  { pattern: 'MeshConfig spec.hboneIdleTimeout', words: AMBIENT },
  {
    pattern: 'MeshConfig spec.defaultConfig.connectionSettings.clusterPerConnectionBufferLimitBytes',
    words: UNUSED,
  },
  { pattern: 'MeshConfig spec.defaultConfig.connectionSettings.listenerConnectionLimit', words: UNUSED },
  {
    pattern: 'MeshConfig spec.defaultConfig.connectionSettings.listenerPerConnectionBufferLimitBytes',
    words: 'gateways alone keep to it',
  },
]
