import { X509Certificate } from 'node:crypto'
import { daysUntil, type ShownCertificate } from '../tls/expiry.ts'
import { type AdminHandler, json } from './handler.ts'

/** `/certs` (source/server/admin/server_info_handler.cc, source/common/tls/context_impl.cc). */
export const certs: AdminHandler = {
  path: '/certs',
  help: 'print certs on machine',
  run(view) {
    const now = view.runtime.wallNow()
    return json({
      certificates: view.certificates().map(({ ca, chain }) => ({
        ca_cert: ca.map((one) => details(one, now)),
        cert_chain: chain.map((one) => details(one, now)),
      })),
    })
  },
}

function details({ pem, path }: ShownCertificate, now: number): object {
  const certificate = new X509Certificate(pem)
  const validTo = new Date(certificate.validTo)
  return {
    path,
    serial_number: certificate.serialNumber.toLowerCase(),
    subject_alt_names: alternativeNames(certificate.subjectAltName ?? ''),
    days_until_expiration: String(daysUntil(validTo.getTime(), now)),
    valid_from: timestamp(new Date(certificate.validFrom)),
    expiration_time: timestamp(validTo),
  }
}

/** Of whole seconds, as proto3 JSON has it. */
function timestamp(at: Date): string {
  return at.toISOString().replace('.000Z', 'Z')
}

/** In the order of kinds in which they are shown, whatever their order in the certificate. */
const KINDS = [
  ['DNS', 'dns'],
  ['URI', 'uri'],
  ['IP Address', 'ip_address'],
] as const

function alternativeNames(text: string): object[] {
  const entries = text.split(', ').map((entry) => {
    const colon = entry.indexOf(':')
    return [entry.slice(0, colon), entry.slice(colon + 1)] as const
  })
  return KINDS.flatMap(([kind, field]) =>
    entries.filter(([is]) => is === kind).map(([, value]) => ({ [field]: value })),
  )
}
