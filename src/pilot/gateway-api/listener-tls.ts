import type { ServerTLSSettings } from '../../api/kinds/gateway.ts'
import type { ObjectReference, SecretObjectReference } from '../../api/kinds/gateway-api/common.ts'
import type { FrontendTLSConfig, GatewayTLS, Listener } from '../../api/kinds/gateway-api/gateway.ts'
import type { Labels } from '../../registry/labels.ts'
import { keyPairProblem, rootProblem, secretData } from './certificates.ts'
import { type ConfigError, joinErrors } from './conditions.ts'
import { REFERENT, referent } from './constants.ts'
import type { ConversionContext } from './context.ts'

/** Option of a listener's TLS: how clients are authenticated. */
const TERMINATE_MODE = 'gateway.istio.io/tls-terminate-mode'
const CIPHER_SUITES = 'gateway.istio.io/tls-cipher-suites'
const LISTENER_MODE = 'gateway.istio.io/listener-protocol'

/** The object that a listener belongs to, as far as references from it are concerned. */
export interface ListenerOwner {
  /** `group/Kind`. */
  kind: string
  namespace: string
  labels: Labels
}

/** TLS of a listener, and what is wrong with it. */
interface TLSResult {
  tls: ServerTLSSettings | undefined
  error?: ConfigError
}

/** Frontend TLS of a port: its own, else the default (resolveGatewayTLS). */
export function frontendTls(port: number, tls: GatewayTLS | undefined): FrontendTLSConfig | undefined {
  const frontend = tls?.frontend
  return frontend && (frontend.perPort?.find((entry) => entry.port === port)?.tls ?? frontend.default)
}

/** Turns a listener's TLS into that of a Server (conversion.go buildTLS). */
export function listenerTls(
  context: ConversionContext,
  owner: ListenerOwner,
  listener: Listener,
  frontend: FrontendTLSConfig | undefined,
): TLSResult {
  const { tls } = listener
  if (!tls) return { tls: undefined }
  const options = tls.options ?? {}
  if (tls.mode === 'Passthrough') {
    const mode = isAutoPassthrough(owner.labels, listener) ? 'AUTO_PASSTHROUGH' : 'PASSTHROUGH'
    return { tls: { mode, ...ciphers(options[CIPHER_SUITES]) } }
  }
  const out: ServerTLSSettings = { mode: 'SIMPLE' }
  switch (options[TERMINATE_MODE]) {
    case 'MUTUAL':
      out.mode = 'MUTUAL'
      break
    case 'OPTIONAL_MUTUAL':
      out.mode = 'OPTIONAL_MUTUAL'
      break
    case 'ISTIO_SIMPLE':
      return { tls: { mode: 'SIMPLE', credentialName: 'builtin://' } }
    case 'ISTIO_MUTUAL':
      return { tls: { mode: 'ISTIO_MUTUAL' } }
  }
  const refs = tls.certificateRefs ?? []
  if (refs.length > 2) {
    const message = 'TLS mode can only support up to 2 server certificates'
    return { tls: out, error: { reason: 'InvalidCertificateRef', message } }
  }
  const found = refs.map((ref) => serverCertificate(context, owner, ref))
  const names = found.flatMap(({ name }) => name ?? [])
  // With one certificate that is good, the others' errors are not told.
  if (names.length === 0) {
    const error = found.reduce<ConfigError | undefined>((all, { error }) => joinErrors(all, error), undefined)
    return error ? { tls: out, error } : { tls: out }
  }
  if (names.length === 1) out.credentialName = names[0] as string
  else out.credentialNames = names
  const refused = frontend && clientValidation(context, owner, frontend, options[TERMINATE_MODE], out)
  if (refused) return { tls: out, error: refused }
  return { tls: { ...out, ...ciphers(options[CIPHER_SUITES]) } }
}

function serverCertificate(
  context: ConversionContext,
  owner: ListenerOwner,
  ref: SecretObjectReference,
): { name?: string; error?: ConfigError } {
  const namespace = ref.namespace ?? owner.namespace
  // Grants come first, so that no status tells whether an object elsewhere exists.
  if (
    namespace !== owner.namespace &&
    !context.grants.allows(owner.kind, owner.namespace, REFERENT.secret, namespace, ref.name)
  ) {
    const message = `certificateRef ${ref.name}/${namespace} not accessible to a Gateway in namespace "${owner.namespace}" (missing a ReferenceGrant?)`
    return { error: { reason: 'RefNotPermitted', message } }
  }
  const problem = certificateProblem(context, ref, namespace)
  if (problem) {
    const message = `invalid certificate reference ${referenceText(ref)}, ${problem}`
    return { error: { reason: 'InvalidCertificateRef', message } }
  }
  return { name: `kubernetes-gateway://${namespace}/${ref.name}` }
}

/** Why a reference leads to no certificate with its key; undefined if it does. */
export function certificateProblem(
  context: ConversionContext,
  ref: SecretObjectReference,
  namespace: string,
): string | undefined {
  if (referent(ref.group, ref.kind, REFERENT.secret) !== REFERENT.secret) return 'only secret is allowed'
  const secret = context.snapshot.get('Secret', namespace, ref.name)
  return secret ? keyPairProblem(secretData(secret)) : `secret ${namespace}/${ref.name} not found`
}

/** Client certificates: sets mode and CA; returns the error when the CA is none. */
function clientValidation(
  context: ConversionContext,
  owner: ListenerOwner,
  { validation }: FrontendTLSConfig,
  mode: string | undefined,
  out: ServerTLSSettings,
): ConfigError | undefined {
  const ref = validation?.caCertificateRefs[0]
  if (!validation || !ref) return undefined
  if (validation.caCertificateRefs.length > 1) {
    return { reason: 'InvalidCACertificateRef', message: 'only one caCertificateRef is supported' }
  }
  const kind = `${ref.group}/${ref.kind}`
  const namespace = ref.namespace ?? owner.namespace
  const isSecret = kind === REFERENT.secret
  if (namespace !== owner.namespace) {
    const to = isSecret ? REFERENT.secret : REFERENT.configMap
    // Grants that name an object name the resource here, with the suffix of CAs, as istiod has it.
    if (!context.grants.allows(owner.kind, owner.namespace, to, namespace, `${ref.name}-cacert`)) {
      const message = `caCertificateRef ${namespace}/${ref.name} not accessible to a Gateway in namespace "${owner.namespace}" (missing a ReferenceGrant?)`
      return { reason: 'RefNotPermitted', message }
    }
  }
  if (!isSecret && kind !== REFERENT.configMap) {
    const message = `invalid CA certificate reference ${referenceText(ref)}, only secret and configmap are allowed`
    return { reason: 'InvalidCACertificateKind', message }
  }
  const problem = caProblem(context, ref, isSecret, namespace)
  if (problem) {
    const message = `invalid CA certificate reference ${referenceText(ref)}, ${problem}`
    return { reason: 'InvalidCACertificateRef', message }
  }
  const lax = validation.mode === 'AllowInsecureFallback'
  out.mode = lax ? 'OPTIONAL_MUTUAL' : 'MUTUAL'
  out.insecureSkipVerify = lax
  if (mode === 'MUTUAL' || mode === 'OPTIONAL_MUTUAL') {
    out.mode = mode
    out.insecureSkipVerify = false
  }
  out.caCertCredentialName = `${isSecret ? 'kubernetes-gateway' : 'configmap'}://${namespace}/${ref.name}-cacert`
  return undefined
}

function caProblem(
  context: ConversionContext,
  ref: ObjectReference,
  isSecret: boolean,
  namespace: string,
): string | undefined {
  const key = `${namespace}/${ref.name}`
  if (isSecret) {
    const secret = context.snapshot.get('Secret', namespace, ref.name)
    return secret ? rootProblem(secretData(secret)) : `secret ${key} not found`
  }
  const configMap = context.snapshot.get('ConfigMap', namespace, ref.name)
  return configMap ? rootProblem(configMap.data ?? {}) : `configmap ${key} not found`
}

/** A reference in messages: `group/kind/name.namespace`. */
export function referenceText(ref: { group?: string; kind?: string; name: string; namespace?: string }): string {
  return `${ref.group ?? ''}/${ref.kind ?? ''}/${ref.name}.${ref.namespace ?? ''}`
}

/** East-west gateways pass mutual TLS on by SNI (serviceregistry/kube/conversion.go IsAutoPassthrough). */
function isAutoPassthrough(labels: Labels, { tls, port }: Listener): boolean {
  if (tls?.options?.[LISTENER_MODE] === 'auto-passthrough') return true
  if (labels['topology.istio.io/network'] === undefined) return false
  return String(port) === (labels['networking.istio.io/gatewayPort'] ?? '15443')
}

const KNOWN_CIPHERS =
  /^(?:ECDHE-(?:ECDSA|RSA)-(?:AES128-GCM-SHA256|AES256-GCM-SHA384|CHACHA20-POLY1305|AES128-SHA|AES256-SHA)|AES128-GCM-SHA256|AES256-GCM-SHA384|AES128-SHA|AES256-SHA|DES-CBC3-SHA)$/

function ciphers(option: string | undefined): Pick<ServerTLSSettings, 'cipherSuites'> {
  const known = (option ?? '')
    .split(',')
    .map((suite) => suite.trim())
    .filter((suite) => suite === 'ALL' || KNOWN_CIPHERS.test(suite) || /^[^a-zA-Z0-9]/.test(suite))
  return known.length > 0 ? { cipherSuites: [...new Set(known)] } : {}
}
