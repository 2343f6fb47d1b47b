import type { Any } from '@bufbuild/protobuf/wkt'
import type { ClientTLSSettings } from '../../api/kinds/traffic-policy.ts'
import type { Service } from '../../registry/model.ts'
import { type Init, packed } from '../../xds/messages.ts'
import { exactSans, sdsSecret, TLS_1_2, TLS_1_3, tlsSocket } from '../authn/tls.ts'
import { SDS_DEFAULT, SDS_ROOT } from '../names.ts'
import { lazy } from '../proto.ts'
import type { PushContext } from '../scope/push-context.ts'
import { type ClusterDraft, http2Of, ORIGINAL_DST } from './draft.ts'

type CommonTls = Init<'envoy.extensions.transport_sockets.tls.v3.CommonTlsContext'>

/** What TLS settings of a cluster depend on. */
export interface TlsOptions {
  push: PushContext
  service: Service
  /** SANs that the endpoints may present. */
  serviceAccounts: readonly string[]
  /** The name that Istio's mutual TLS asks for, unless the settings name one. */
  sni: string
  /** Whether the policies of the server side let mutual TLS be tried at all. */
  serverTakesMtls: boolean
  /** Whether the rule is for selected workloads: only then may a sidecar use a credential by name. */
  selectsWorkloads: boolean
  isGateway: boolean
}

const RAW_BUFFER = lazy(
  (): Init<'envoy.config.core.v3.TransportSocket'> => ({
    name: 'envoy.transport_sockets.raw_buffer',
    configType: { case: 'typedConfig', value: packed('envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer') },
  }),
)

/**
 * Sets the transport of a cluster. Without settings, Istio's mutual TLS is used towards those endpoints whose
 * metadata says that they take it (networking/core/cluster_tls.go).
 */
export function applyTls(target: ClusterDraft, stated: ClientTLSSettings | undefined, options: TlsOptions): void {
  const automatic = stated === undefined
  let settings = stated
  if (automatic) {
    if (options.service.meshExternal || !options.push.mesh.enableAutoMtls || !options.serverTakesMtls) return
    settings = { mode: 'ISTIO_MUTUAL', subjectAltNames: [...options.serviceAccounts], sni: options.sni }
  } else if (stated.mode === 'ISTIO_MUTUAL') {
    settings = {
      ...stated,
      sni: stated.sni || options.sni,
      subjectAltNames: stated.subjectAltNames?.length ? stated.subjectAltNames : [...options.serviceAccounts],
    }
  }
  const context = settings && tlsContext(target, settings, options)
  if (!context) return
  const socket = tlsSocket(context)
  if (!automatic || target.type === ORIGINAL_DST) {
    target.cluster.transportSocket = socket
    return
  }
  target.cluster.transportSocketMatches = [
    { name: 'tlsMode-istio', match: { tlsMode: 'istio' }, transportSocket: socket },
    { name: 'tlsMode-disabled', match: {}, transportSocket: RAW_BUFFER() },
  ]
}

function tlsContext(target: ClusterDraft, settings: ClientTLSSettings, options: TlsOptions): Any | undefined {
  const mode = settings.mode ?? 'DISABLE'
  if (mode === 'DISABLE') return undefined
  if (mode === 'ISTIO_MUTUAL') return istioMutual(target, settings, options)
  // Or every sidecar that sees the rule would wait for a secret that it may not read.
  const credential = settings.credentialName
  if (credential && !credential.startsWith('configmap://') && !options.isGateway && !options.selectsWorkloads) {
    return undefined
  }
  return originated(target, settings, mode, options)
}

function istioMutual(target: ClusterDraft, settings: ClientTLSSettings, { push }: TlsOptions): Any {
  const alpn = push.env.metadataExchange && !push.env.disableMxAlpn ? ['istio-peer-exchange', 'istio'] : ['istio']
  if (target.isDynamic) setAutoNames(target, settings)
  return packed('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
    commonTlsContext: {
      tlsParams: { tlsMinimumProtocolVersion: TLS_1_2, tlsMaximumProtocolVersion: TLS_1_3 },
      alpnProtocols: http2Of(target) ? [...alpn, 'h2'] : alpn,
      tlsCertificateSdsSecretConfigs: [sdsSecret(SDS_DEFAULT)],
      validationContextType: {
        case: 'combinedValidationContext',
        value: {
          defaultValidationContext: { matchSubjectAltNames: exactSans(settings.subjectAltNames ?? []) },
          validationContextSdsSecretConfig: sdsSecret(SDS_ROOT),
        },
      },
    },
    sni: settings.sni || (target.isDynamic ? '' : target.cluster.name),
  })
}

/** SIMPLE and MUTUAL: TLS to a server that need not be of the mesh. */
function originated(
  target: ClusterDraft,
  settings: ClientTLSSettings,
  mode: 'SIMPLE' | 'MUTUAL',
  { push, service, serviceAccounts }: TlsOptions,
): Any | undefined {
  setAutoNames(target, settings)
  const sans = settings.subjectAltNames ?? []
  const names = service.registry === 'External' && sans.length === 0 ? serviceAccounts : sans
  const common: CommonTls = {
    tlsParams: {
      tlsMinimumProtocolVersion: TLS_1_2,
      tlsMaximumProtocolVersion: TLS_1_3,
      ecdhCurves: push.mesh.tlsDefaults?.ecdhCurves,
      cipherSuites: push.mesh.tlsDefaults?.cipherSuites,
    },
    alpnProtocols: http2Of(target) ? ['h2'] : [],
  }
  if (settings.credentialName) {
    const name = settings.credentialName
    if (mode === 'MUTUAL') common.tlsCertificateSdsSecretConfigs = [sdsSecret(credentialResource(name))]
    if (!settings.insecureSkipVerify)
      common.validationContextType = validation(names, credentialResource(`${name}-cacert`))
  } else {
    if (mode === 'MUTUAL') {
      const { clientCertificate, privateKey } = settings
      if (!clientCertificate || !privateKey) return undefined
      common.tlsCertificateSdsSecretConfigs = [sdsSecret(`file-cert:${clientCertificate}~${privateKey}`)]
    }
    common.validationContextType = settings.insecureSkipVerify
      ? { case: 'validationContext', value: {} }
      : validation(names, `file-root:${settings.caCertificates || 'system'}`, settings.caCrl)
  }
  return packed('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
    commonTlsContext: common,
    sni: settings.sni ?? '',
  })
}

function validation(sans: readonly string[], root: string, crl?: string): CommonTls['validationContextType'] {
  return {
    case: 'combinedValidationContext',
    value: {
      defaultValidationContext: {
        matchSubjectAltNames: exactSans(sans),
        crl: crl ? { specifier: { case: 'filename', value: crl } } : undefined,
      },
      validationContextSdsSecretConfig: sdsSecret(root),
    },
  }
}

/** The SDS resource of a credential (pilot/pkg/credentials ToResourceName). */
export function credentialResource(name: string): string {
  if (name.startsWith('builtin://')) return name.endsWith('-cacert') ? SDS_ROOT : SDS_DEFAULT
  if (name.startsWith('invalid://')) return 'invalid://'
  return name.includes('://') ? name : `kubernetes://${name}`
}

// Without an SNI, the Host header's name is asked for; without SANs as well, the certificate must be for that name.
function setAutoNames(target: ClusterDraft, settings: ClientTLSSettings): void {
  const autoSni = !settings.sni
  const verify = !settings.insecureSkipVerify
  const autoSanValidation = verify && (target.isDynamic || (autoSni && !settings.subjectAltNames?.length))
  if (!autoSni && !autoSanValidation) return
  target.http = { ...target.http, upstreamHttpProtocolOptions: { autoSni, autoSanValidation } }
}
