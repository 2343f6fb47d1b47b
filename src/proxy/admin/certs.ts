import { X509Certificate } from 'node:crypto'
import { type AdminHandler, json } from './handler.ts'

/** `/certs` (source/server/admin/server_info_handler.cc, source/common/tls/context_impl.cc). */
export const certs: AdminHandler = {
  path: '/certs',
  help: 'print certs on machine',
  run(view) {
    const now = view.runtime.wallNow()
    return json({
      certificates: view.certificates().map(({ ca, chain }) => ({
        ca_cert: ca.map((pem) => details(pem, now)),
        cert_chain: chain.map((pem) => details(pem, now)),
      })),
    })
  },
}

function details(pem: string, now: number): object {
  const certificate = new X509Certificate(pem)
  const validTo = new Date(certificate.validTo)
  return {
    path: '<inline>',
    serial_number: certificate.serialNumber.toLowerCase(),
    subject_alt_names: alternativeNames(certificate.subjectAltName ?? ''),
    days_until_expiration: String(Math.max(0, Math.floor((validTo.getTime() - now) / 86_400_000))),
    valid_from: new Date(certificate.validFrom).toISOString(),
    expiration_time: validTo.toISOString(),
  }
}

const KINDS: Readonly<Record<string, string>> = { URI: 'uri', DNS: 'dns', 'IP Address': 'ip_address' }

function alternativeNames(text: string): object[] {
  return text.split(', ').flatMap((entry) => {
    const colon = entry.indexOf(':')
    const kind = KINDS[entry.slice(0, colon)]
    return kind ? [{ [kind]: entry.slice(colon + 1) }] : []
  })
}
