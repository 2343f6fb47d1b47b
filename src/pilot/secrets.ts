import fs from 'node:fs'
import tls from 'node:tls'
import type { Secret } from '#gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { type Ca, CaError, type Identity, spiffeId } from '../ca/ca.ts'
import { type Init, make } from '../xds/messages.ts'
import { SDS_DEFAULT, SDS_ROOT } from './names.ts'
import type { ProxyNode } from './proxy.ts'
import type { PushContext } from './scope/push-context.ts'

const KUBERNETES = 'kubernetes://'
/** Secrets that Gateways of the Gateway API refer to. */
const GATEWAY = 'kubernetes-gateway://'
const CONFIG_MAP = 'configmap://'
const CA_SUFFIX = '-cacert'

/** Bytes that came with a message or are made here. */
const inline = (pem: string): Init<'envoy.config.core.v3.DataSource'> => ({
  specifier: { case: 'inlineBytes', value: Uint8Array.from(Buffer.from(pem)) },
})

const secret = (name: string, type: Init<'envoy.extensions.transport_sockets.tls.v3.Secret'>['type']): Secret =>
  make('envoy.extensions.transport_sockets.tls.v3.Secret', { name, type })

/** A certificate with its key. */
export const certificate = (name: string, chain: string, key: string): Secret =>
  secret(name, { case: 'tlsCertificate', value: { certificateChain: inline(chain), privateKey: inline(key) } })

/** Roots to trust. */
export const roots = (name: string, pem: string, crl?: string): Secret =>
  secret(name, { case: 'validationContext', value: { trustedCa: inline(pem), crl: crl ? inline(crl) : undefined } })

/** The identity of a proxy's workload. Throws CaError when the CA signs no more. */
export function identityOf(push: PushContext, ca: Ca, proxy: ProxyNode): Identity {
  return ca.identityFor(spiffeId(push.mesh.trustDomain, proxy.namespace, proxy.serviceAccount))
}

/**
 * A secret by its name: the workload's own certificate and roots, a credential from a Kubernetes Secret of the
 * proxy's namespace, or the files that a DestinationRule names, as the agent would serve them. Undefined when there
 * is no such thing.
 */
export function secretOf(push: PushContext, ca: Ca, proxy: ProxyNode, name: string): Secret | undefined {
  if (name === SDS_DEFAULT) return ownCertificate(push, ca, proxy)
  if (name === SDS_ROOT) return roots(name, trustBundle(push, ca), ca.crlPem)
  if (name.startsWith(KUBERNETES)) return credential(push, proxy, name)
  if (name.startsWith(GATEWAY) && isReferred(push, proxy, name)) {
    return fromSecret(push, name, ...split(name.slice(GATEWAY.length)))
  }
  if (name.startsWith(CONFIG_MAP)) return fromConfigMap(push, name, ...split(name.slice(CONFIG_MAP.length)))
  if (name.startsWith('file-')) return fileSecret(name)
  return undefined
}

/** Without a CA that signs, a proxy goes on with what it has. */
function ownCertificate(push: PushContext, ca: Ca, proxy: ProxyNode): Secret | undefined {
  try {
    const { certChainPem, privateKeyPem } = identityOf(push, ca, proxy)
    return certificate(SDS_DEFAULT, certChainPem, privateKeyPem)
  } catch (error) {
    if (error instanceof CaError) return undefined
    throw error
  }
}

function trustBundle(push: PushContext, ca: Ca): string {
  return [ca.rootPem, ...push.trustAnchors.filter((root) => !ca.rootPem.includes(root))].join('')
}

// `kubernetes://name` or `kubernetes://namespace/name`, and the same with `-cacert` for the roots.
function credential(push: PushContext, proxy: ProxyNode, resource: string): Secret | undefined {
  const path = resource.slice(KUBERNETES.length)
  const slash = path.indexOf('/')
  const namespace = slash < 0 ? proxy.namespace : path.slice(0, slash)
  const name = path.slice(slash + 1)
  // A proxy may read the secrets of its own namespace only.
  return namespace === proxy.namespace ? fromSecret(push, resource, namespace, name) : undefined
}

function split(path: string): [namespace: string, name: string] {
  const slash = path.indexOf('/')
  return [path.slice(0, slash), path.slice(slash + 1)]
}

/**
 * Whether a Gateway of the proxy names the secret: those that name one which they may not read are not programmed
 * (pilot/pkg/xds/sds.go filterAuthorizedResources).
 */
function isReferred(push: PushContext, proxy: ProxyNode, resource: string): boolean {
  const servers = push.gateways.of(proxy)?.ports.flatMap((port) => port.servers) ?? []
  return servers.some(({ server: { tls: settings } }) => {
    if (!settings) return false
    const { credentialName = '', credentialNames = [], caCertCredentialName, mode } = settings
    if (resource === caCertCredentialName) return true
    const names = credentialNames.length > 0 ? credentialNames : [credentialName]
    const mutual = mode === 'MUTUAL' || mode === 'OPTIONAL_MUTUAL'
    return names.includes(resource) || (mutual && names.some((name) => `${name}${CA_SUFFIX}` === resource))
  })
}

/** The roots of a ConfigMap: anyone may read those. */
function fromConfigMap(push: PushContext, resource: string, namespace: string, name: string): Secret | undefined {
  const object = push.snapshot.get(
    'ConfigMap',
    namespace,
    name.endsWith(CA_SUFFIX) ? name.slice(0, -CA_SUFFIX.length) : name,
  )
  const pem = object?.data?.cacert || object?.data?.['ca.crt']
  return pem ? roots(resource, pem) : undefined
}

/**
 * A certificate or roots of a Secret: under `cert`, `key`, `cacert` and `crl`, or under the names of the type
 * kubernetes.io/tls. Roots may have a secret of their own, `…-cacert` (pilot/pkg/credentials/kube/secrets.go).
 */
function fromSecret(push: PushContext, resource: string, namespace: string, name: string): Secret | undefined {
  const find = (wanted: string): ((key: string) => string | undefined) | undefined => {
    const found = push.snapshot.get('Secret', namespace, wanted)
    return (
      found && ((key) => found.stringData?.[key] ?? Buffer.from(found.data?.[key] ?? '', 'base64').toString('utf8'))
    )
  }
  if (name.endsWith(CA_SUFFIX)) {
    const value = find(name) ?? find(name.slice(0, -CA_SUFFIX.length))
    if (!value) return undefined
    const generic = value('cacert')
    const pem = generic || value('ca.crt')
    return pem ? roots(resource, pem, value(generic ? 'crl' : 'ca.crl')) : undefined
  }
  const value = find(name)
  for (const [chain, key] of [
    ['cert', 'key'],
    ['tls.crt', 'tls.key'],
  ] as const) {
    const [certs, secretKey] = [value?.(chain), value?.(key)]
    if (certs && secretKey) return certificate(resource, certs, secretKey)
  }
  return undefined
}

/** What is in files, by `file-cert:CHAIN~KEY` or `file-root:FILE`; undefined when they cannot be read. */
export function fileSecret(name: string): Secret | undefined {
  const [kind = '', ...rest] = name.split(':')
  const where = rest.join(':')
  try {
    if (kind === 'file-root') {
      return roots(name, where === 'system' ? tls.rootCertificates.join('\n') : fs.readFileSync(where, 'utf8'))
    }
    const [chain = '', key = ''] = where.split('~')
    return certificate(name, fs.readFileSync(chain, 'utf8'), fs.readFileSync(key, 'utf8'))
  } catch {
    return undefined
  }
}
