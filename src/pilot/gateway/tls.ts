import type { Server, ServerTLSSettings } from '../../api/kinds/gateway.ts'
import { parseProtocol } from '../../registry/protocol.ts'
import { type Init, packed } from '../../xds/messages.ts'
import { exactSans, sdsSecret, TLS_1_2, TLS_1_3, tlsSocket } from '../authn/tls.ts'
import { credentialResource } from '../cluster/tls.ts'
import { SDS_DEFAULT, SDS_ROOT } from '../names.ts'
import type { PushContext } from '../scope/push-context.ts'

type CommonTls = Init<'envoy.extensions.transport_sockets.tls.v3.CommonTlsContext'>
type TlsParameters = Init<'envoy.extensions.transport_sockets.tls.v3.TlsParameters'>

const ALPN = ['h2', 'http/1.1']
/** Value of TrustChainVerification. */
const ACCEPT_UNTRUSTED = 1
const VERSIONS = { TLS_AUTO: undefined, TLSV1_0: 1, TLSV1_1: 2, TLSV1_2: 3, TLSV1_3: 4 } as const

/** TLS that ends at a gateway (networking/core/listener.go BuildListenerTLSContext). */
export function serverTls(
  push: PushContext,
  { port, tls }: Server,
): Init<'envoy.config.core.v3.TransportSocket'> | undefined {
  if (!tls) return undefined
  const { mode } = tls
  const bytes = parseProtocol(port.protocol) !== 'HTTPS'
  const exchange = mode === 'ISTIO_MUTUAL' && bytes && !push.env.disableMxAlpn
  const common: CommonTls = { alpnProtocols: exchange ? ['istio-peer-exchange', ...ALPN] : ALPN }
  const names = tls.credentialNames?.length ? tls.credentialNames : tls.credentialName ? [tls.credentialName] : []
  if (mode === 'ISTIO_MUTUAL') applyOwn(common, tls)
  else if (names.length) applyCredentials(common, tls, names)
  else applyFiles(common, tls)
  if (mode !== 'ISTIO_MUTUAL') {
    const params = parameters(push, tls)
    if (Object.values(params).some((value) => value !== undefined)) common.tlsParams = params
  }
  return tlsSocket(
    packed('envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', {
      commonTlsContext: common,
      requireClientCertificate: mode === 'MUTUAL' || mode === 'ISTIO_MUTUAL',
    }),
  )
}

const asksForClient = ({ mode }: ServerTLSSettings): boolean => mode === 'MUTUAL' || mode === 'OPTIONAL_MUTUAL'

/** The workload's own certificate, for clients of the mesh. */
function applyOwn(common: CommonTls, tls: ServerTLSSettings): void {
  common.tlsCertificateSdsSecretConfigs = [sdsSecret(SDS_DEFAULT)]
  common.validationContextType = {
    case: 'combinedValidationContext',
    value: {
      defaultValidationContext: clientRules(tls),
      validationContextSdsSecretConfig: sdsSecret(SDS_ROOT),
    },
  }
}

/** Certificates of Secrets (ApplyCredentialSDSToServerCommonTLSContext). */
function applyCredentials(common: CommonTls, tls: ServerTLSSettings, names: readonly string[]): void {
  common.tlsCertificateSdsSecretConfigs = names.map((name) => sdsSecret(credentialResource(name)))
  if (asksForClient(tls)) {
    const root = tls.caCertCredentialName || `${names[0]}-cacert`
    common.validationContextType = {
      case: 'combinedValidationContext',
      value: {
        defaultValidationContext: {
          ...clientRules({ ...tls, caCrl: undefined }),
          verifyCertificateSpki: tls.verifyCertificateSpki,
          verifyCertificateHash: tls.verifyCertificateHash,
        },
        validationContextSdsSecretConfig: sdsSecret(credentialResource(root)),
      },
    }
  } else if (tls.subjectAltNames?.length) {
    common.validationContextType = {
      case: 'validationContext',
      value: { matchSubjectAltNames: exactSans(tls.subjectAltNames) },
    }
  }
}

/** Certificates in files of the gateway, served as its agent would (ApplyToCommonTLSContext). */
function applyFiles(common: CommonTls, tls: ServerTLSSettings): void {
  const pairs = tls.tlsCertificates?.length ? tls.tlsCertificates : [tls]
  common.tlsCertificateSdsSecretConfigs = pairs.map(({ serverCertificate, privateKey }) =>
    sdsSecret(serverCertificate && privateKey ? `file-cert:${serverCertificate}~${privateKey}` : SDS_DEFAULT),
  )
  if (!asksForClient(tls)) return
  common.validationContextType = {
    case: 'combinedValidationContext',
    value: {
      defaultValidationContext: clientRules(tls),
      validationContextSdsSecretConfig: sdsSecret(tls.caCertificates ? `file-root:${tls.caCertificates}` : SDS_ROOT),
    },
  }
}

const clientRules = (
  tls: ServerTLSSettings,
): Init<'envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext'> => ({
  matchSubjectAltNames: exactSans(tls.subjectAltNames ?? []),
  crl: tls.caCrl ? { specifier: { case: 'filename', value: tls.caCrl } } : undefined,
  trustChainVerification: tls.insecureSkipVerify ? ACCEPT_UNTRUSTED : undefined,
})

/** Versions and ciphers: the mesh's defaults, under what the server says. */
function parameters(push: PushContext, tls: ServerTLSSettings): TlsParameters {
  const defaults = push.mesh.tlsDefaults
  const meshMinimum = defaults?.minProtocolVersion
  return {
    ecdhCurves: defaults?.ecdhCurves?.length ? defaults.ecdhCurves : undefined,
    cipherSuites: tls.cipherSuites?.length
      ? [...new Set(tls.cipherSuites)]
      : defaults?.cipherSuites?.length
        ? defaults.cipherSuites
        : undefined,
    tlsMinimumProtocolVersion:
      VERSIONS[tls.minProtocolVersion ?? 'TLS_AUTO'] ??
      (meshMinimum && meshMinimum !== 'TLS_AUTO' ? (meshMinimum === 'TLSV1_3' ? TLS_1_3 : TLS_1_2) : undefined),
    tlsMaximumProtocolVersion: VERSIONS[tls.maxProtocolVersion ?? 'TLS_AUTO'],
  }
}
