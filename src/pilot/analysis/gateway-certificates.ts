import type { ServerTLSSettings } from '../../api/kinds/gateway.ts'
import type { ApiObject } from '../../api/objects.ts'
import type { Analyzer } from './analyzer.ts'
import { DUPLICATE_CERTIFICATE } from './catalogue.ts'

type Labels = Readonly<Record<string, string>>

/** One certificate in several Gateways of one workload (analyzers/gateway/certificate.go). */
export const gatewayCertificates: Analyzer = {
  name: 'gateway.CertificateAnalyzer',
  description: 'Checks a gateway certificate',
  types: [DUPLICATE_CERTIFICATE],
  analyze(context) {
    const gateways = context.push.snapshot.list('Gateway')
    for (const gateway of gateways) {
      for (const other of gateways) {
        if (other === gateway || !isWithin(gateway.spec.selector ?? {}, other.spec.selector ?? {})) continue
        const index = (gateway.spec.servers ?? []).findIndex(({ tls }) =>
          other.spec.servers?.some((server) => haveSameCertificate(tls, server.tls)),
        )
        const names = [fullName(gateway), fullName(other)]
        if (index >= 0) context.report(DUPLICATE_CERTIFICATE, gateway, ['spec', 'servers', index, 'tls'], names)
      }
    }
  },
}

const fullName = ({ metadata }: ApiObject<'Gateway'>): string => `${metadata.namespace}/${metadata.name}`

const isWithin = (a: Labels, b: Labels): boolean => Object.entries(a).every(([key, value]) => b[key] === value)

function haveSameCertificate(a: ServerTLSSettings | undefined, b: ServerTLSSettings | undefined): boolean {
  if (!a || !b) return false
  if (a.credentialName || b.credentialName) return a.credentialName === b.credentialName
  return (
    Boolean(a.serverCertificate && a.privateKey) &&
    a.serverCertificate === b.serverCertificate &&
    a.privateKey === b.privateKey
  )
}
