import type { ClientTLSSettings } from '../../api/kinds/traffic-policy.ts'
import type { Analyzer } from './analyzer.ts'
import { NO_SERVER_VERIFICATION, NO_SERVER_VERIFICATION_PORT } from './catalogue.ts'

/** DestinationRules that start TLS and name no roots (analyzers/destinationrule/ca-certificates.go). */
export const caCertificates: Analyzer = {
  name: 'destinationrule.CaCertificateAnalyzer',
  description: 'Checks if caCertificates is set when TLS mode is SIMPLE/MUTUAL',
  types: [NO_SERVER_VERIFICATION, NO_SERVER_VERIFICATION_PORT],
  analyze(context) {
    for (const rule of context.push.snapshot.list('DestinationRule')) {
      const { trafficPolicy, host, workloadSelector } = rule.spec
      const { namespace, name } = rule.metadata
      const lacks = (tls: ClientTLSSettings | undefined): string | undefined => {
        if (tls?.mode !== 'SIMPLE' && tls?.mode !== 'MUTUAL') return undefined
        const byName = tls.credentialName && workloadSelector !== undefined
        return tls.caCertificates || byName ? undefined : tls.mode
      }
      const full = `${namespace}/${name}`
      const mode = lacks(trafficPolicy?.tls)
      if (mode)
        context.report(NO_SERVER_VERIFICATION, rule, ['spec', 'trafficPolicy', 'tls'], full, namespace, mode, host)
      for (const [i, { tls, port }] of (trafficPolicy?.portLevelSettings ?? []).entries()) {
        const portMode = lacks(tls)
        if (portMode)
          context.report(
            NO_SERVER_VERIFICATION_PORT,
            rule,
            ['spec', 'trafficPolicy', 'portLevelSettings', i, 'tls'],
            full,
            namespace,
            portMode,
            host,
            // As Go prints the message.
            `number:${port?.number ?? 0}`,
          )
      }
    }
  },
}
