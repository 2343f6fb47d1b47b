import { X509Certificate } from 'node:crypto'
import type { ApiObject } from '../../api/objects.ts'
import type { Analyzer } from './analyzer.ts'
import { INVALID_GATEWAY_CREDENTIAL, REFERENCED_RESOURCE_NOT_FOUND } from './catalogue.ts'
import { selectorText } from './context.ts'

/**
 * Gateways without workloads, and credentials that are not there or cannot be used: of another form, expired or not yet
 * valid (analyzers/gateway/secret.go). `now`: in ms since the epoch.
 */
export const gatewaySecrets = (now: () => number): Analyzer => ({
  name: 'gateway.SecretAnalyzer',
  description: "Checks a gateway's referenced secrets for correctness",
  types: [REFERENCED_RESOURCE_NOT_FOUND, INVALID_GATEWAY_CREDENTIAL],
  analyze(context) {
    for (const gateway of context.push.snapshot.list('Gateway')) {
      const { selector, servers = [] } = gateway.spec
      const namespace = context.pods(selector)[0]?.namespace
      if (namespace === undefined) {
        const path = ['spec', 'selector']
        context.report(REFERENCED_RESOURCE_NOT_FOUND, gateway, path, 'selector', selectorText(selector))
        continue
      }
      for (const [i, { tls }] of servers.entries()) {
        for (const [path, credential] of credentials(tls)) {
          if (credential.includes('://')) continue
          const [inside, name] = credential.includes('/') ? credential.split('/', 2) : [namespace, credential]
          const secret = context.push.snapshot.get('Secret', inside ?? '', name ?? '')
          const at = ['spec', 'servers', i, 'tls', ...path]
          if (!secret) context.report(REFERENCED_RESOURCE_NOT_FOUND, gateway, at, 'credentialName', credential)
          else if (!isUsable(secret, now()))
            context.report(INVALID_GATEWAY_CREDENTIAL, gateway, at, gateway.metadata.name, namespace)
        }
      }
    }
  },
})

function credentials(
  tls: NonNullable<ApiObject<'Gateway'>['spec']['servers']>[number]['tls'],
): [(string | number)[], string][] {
  const single: [(string | number)[], string][] = tls?.credentialName ? [[['credentialName'], tls.credentialName]] : []
  return [
    ...single,
    ...(tls?.credentialNames ?? []).map((name, k): [(string | number)[], string] => [['credentialNames', k], name]),
  ]
}

const BLOCK = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/

function isUsable({ data, stringData }: ApiObject<'Secret'>, now: number): boolean {
  const value = (key: string) => stringData?.[key] ?? Buffer.from(data?.[key] ?? '', 'base64').toString('utf8')
  const chain = [
    ['cert', 'key'],
    ['tls.crt', 'tls.key'],
  ].find(([cert = '', key = '']) => value(cert) && value(key))?.[0]
  const first = chain && BLOCK.exec(value(chain))?.[0]
  if (!first) return false
  try {
    const { validFrom, validTo } = new X509Certificate(first)
    return now >= Date.parse(validFrom) && now <= Date.parse(validTo)
  } catch {
    return false
  }
}
