import fs from 'node:fs'
import tls from 'node:tls'
import type { Secret } from '#gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import type { Ca, Identity } from '../ca/ca.ts'
import { spiffeId } from '../ca/ca.ts'
import { type Init, make } from '../xds/messages.ts'
import { SDS_DEFAULT, SDS_ROOT } from './names.ts'
import type { ProxyNode } from './proxy.ts'
import type { PushContext } from './scope/push-context.ts'

const KUBERNETES = 'kubernetes://'
const CA_SUFFIX = '-cacert'

/** Bytes that came with a message or are made here. */
const inline = (pem: string): Init<'envoy.config.core.v3.DataSource'> => ({
  specifier: { case: 'inlineBytes', value: Uint8Array.from(Buffer.from(pem)) },
})

const secret = (name: string, type: Init<'envoy.extensions.transport_sockets.tls.v3.Secret'>['type']): Secret =>
  make('envoy.extensions.transport_sockets.tls.v3.Secret', { name, type })

const certificate = (name: string, chain: string, key: string): Secret =>
  secret(name, { case: 'tlsCertificate', value: { certificateChain: inline(chain), privateKey: inline(key) } })

const roots = (name: string, pem: string): Secret =>
  secret(name, { case: 'validationContext', value: { trustedCa: inline(pem) } })

/** The identity of a proxy's workload. */
export function identityOf(push: PushContext, ca: Ca, proxy: ProxyNode): Identity {
  return ca.identityFor(spiffeId(push.mesh.trustDomain, proxy.namespace, proxy.serviceAccount))
}

/**
 * A secret by its name: the workload's own certificate and roots, a credential from a Kubernetes Secret of the
 * proxy's namespace, or the files that a DestinationRule names, as the agent would serve them. Undefined when there
 * is no such thing.
 */
export function secretOf(push: PushContext, ca: Ca, proxy: ProxyNode, name: string): Secret | undefined {
  if (name === SDS_DEFAULT) {
    const identity = identityOf(push, ca, proxy)
    return certificate(name, identity.certChainPem, identity.privateKeyPem)
  }
  if (name === SDS_ROOT) return roots(name, trustBundle(push, ca))
  if (name.startsWith(KUBERNETES)) return credential(push, proxy, name)
  if (name.startsWith('file-')) return fileSecret(name)
  return undefined
}

function trustBundle(push: PushContext, ca: Ca): string {
  const more = push.mesh.caCertificates?.flatMap((known) => known.pem ?? []) ?? []
  return [ca.rootPem, ...more].join('')
}

// `kubernetes://name` or `kubernetes://namespace/name`, and the same with `-cacert` for the roots.
function credential(push: PushContext, proxy: ProxyNode, resource: string): Secret | undefined {
  const path = resource.slice(KUBERNETES.length)
  const slash = path.indexOf('/')
  const namespace = slash < 0 ? proxy.namespace : path.slice(0, slash)
  const name = path.slice(slash + 1)
  // A proxy may read the secrets of its own namespace only.
  if (namespace !== proxy.namespace) return undefined
  const data = (wanted: string, ...keys: string[]): string | undefined => {
    const found = push.snapshot.get('Secret', namespace, wanted)
    for (const key of keys) {
      const encoded = found?.data?.[key]
      const plain = found?.stringData?.[key] ?? (encoded && Buffer.from(encoded, 'base64').toString('utf8'))
      if (plain) return plain
    }
    return undefined
  }
  if (name.endsWith(CA_SUFFIX)) {
    const pem = data(name, 'cacert', 'ca.crt') ?? data(name.slice(0, -CA_SUFFIX.length), 'cacert', 'ca.crt')
    return pem === undefined ? undefined : roots(resource, pem)
  }
  const chain = data(name, 'cert', 'tls.crt')
  const key = data(name, 'key', 'tls.key')
  return chain && key ? certificate(resource, chain, key) : undefined
}

function fileSecret(name: string): Secret | undefined {
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
