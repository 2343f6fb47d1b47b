import type { z } from 'zod'
import { bool, list, map, message, oneOf, text, uint32 } from '../schema.ts'

/** Port number, protocol and unique name. */
export const Port = message(
  {
    number: uint32,
    protocol: text,
    name: text,
    /** Deprecated. */
    targetPort: uint32,
  },
  ['number', 'protocol', 'name'],
)
export type Port = z.infer<typeof Port>

/** One of several certificates, from files. */
export const TLSCertificate = message({
  serverCertificate: text,
  privateKey: text,
  caCertificates: text,
})
export type TLSCertificate = z.infer<typeof TLSCertificate>

/** TLS of incoming connections. */
export const ServerTLSSettings = message({
  httpsRedirect: bool,
  mode: oneOf('PASSTHROUGH', 'SIMPLE', 'MUTUAL', 'AUTO_PASSTHROUGH', 'ISTIO_MUTUAL', 'OPTIONAL_MUTUAL'),
  serverCertificate: text,
  privateKey: text,
  caCertificates: text,
  caCrl: text,
  /** A secret in the namespace of the gateway workload. */
  credentialName: text,
  credentialNames: list(text),
  caCertCredentialName: text,
  tlsCertificates: list(TLSCertificate),
  subjectAltNames: list(text),
  verifyCertificateSpki: list(text),
  verifyCertificateHash: list(text),
  minProtocolVersion: oneOf('TLS_AUTO', 'TLSV1_0', 'TLSV1_1', 'TLSV1_2', 'TLSV1_3'),
  maxProtocolVersion: oneOf('TLS_AUTO', 'TLSV1_0', 'TLSV1_1', 'TLSV1_2', 'TLSV1_3'),
  cipherSuites: list(text),
  insecureSkipVerify: bool,
})
export type ServerTLSSettings = z.infer<typeof ServerTLSSettings>

/** One port, its hosts and its TLS. */
export const Server = message(
  {
    port: Port,
    bind: text,
    /** `[namespace/]dnsName`, where namespace is `*`, `.` or a name. */
    hosts: list(text),
    tls: ServerTLSSettings,
    defaultEndpoint: text,
    name: text,
  },
  ['port', 'hosts'],
)
export type Server = z.infer<typeof Server>

/** Ports that gateway workloads listen on (networking/v1alpha3/gateway.proto). */
export const Gateway = message({
  servers: list(Server),
  /** Labels of the gateway workloads, in any namespace; empty selects all. */
  selector: map(text),
})
export type Gateway = z.infer<typeof Gateway>
