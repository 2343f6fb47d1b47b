import type { ProxyNode } from './proxy.ts'

/**
 * Why a client that has proved an identity is not the proxy that it says it is; undefined when it is, or where nobody has to
 * prove anything (pilot/pkg/xds/auth.go checkConnectionIdentity).
 */
export function strangerTo(proxy: ProxyNode, identities: readonly string[] | undefined): string | undefined {
  if (!identities) return undefined
  const stated = proxy.metadata.SERVICE_ACCOUNT
  const account = typeof stated === 'string' ? stated : ''
  const known = identities.some((id) => {
    const [, namespace, name] = /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(id) ?? []
    return namespace === proxy.namespace && (account === '' || name === account)
  })
  return known ? undefined : `no identities ([${identities.join(' ')}]) matched ${proxy.namespace}/${account}`
}
