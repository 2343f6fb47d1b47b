import { rulesOf } from './support/rules.ts'

rulesOf('Gateway', [
  [
    'needs a server',
    `
selector: {istio: ingressgateway}`,
    ['spec error spec: servers: one at least is needed'],
  ],
  [
    'ports and hosts of a server',
    `
servers:
- port: {number: 0, name: a, protocol: FOO}
  hosts: []
- port: {number: 80, name: a, protocol: HTTP, targetPort: 1}
  hosts: [short, "a*.example.com", "a b/x.example.com"]
  bind: localhost`,
    [
      '2:18 error spec.servers[0].port.number: a port is a number from 1 to 65535, not 0',
      '2:40 error spec.servers[0].port.protocol: "FOO" is no protocol: one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, REDIS, MYSQL, TCP, TLS',
      '3:3 error spec.servers[0].hosts: one host at least is needed',
      '4:28 error spec.servers[1].port.name: a port "a" is there already',
      '4:47 error spec.servers[1].port.targetPort: has no effect on a Gateway',
      '5:11 error spec.servers[1].hosts[0]: "short": a short name is not allowed here, write the whole one',
      '5:18 error spec.servers[1].hosts[1]: "a*.example.com" is no DNS name ("a*" is no label)',
      '5:36 error spec.servers[1].hosts[2]: "a b/x.example.com": "a b" is no namespace',
      '6:9 error spec.servers[1].bind: "localhost" is no IP address',
    ],
  ],
  [
    'HTTPS needs tls',
    `
servers:
- port: {number: 443, name: a, protocol: HTTPS}
  hosts: ["*"]`,
    ['2:3 error spec.servers[0]: tls is needed for the protocol HTTPS'],
  ],
  [
    'HTTP has httpsRedirect alone',
    `
servers:
- port: {number: 80, name: a, protocol: HTTP}
  hosts: ["*"]
  tls: {mode: SIMPLE, credentialName: c}
- port: {number: 81, name: b, protocol: HTTP}
  hosts: ["*"]
  tls: {httpsRedirect: true}
- port: {number: 82, name: c, protocol: TCP}
  hosts: ["*"]
  tls: {httpsRedirect: true}`,
    [
      '4:3 error spec.servers[0].tls: a port with the protocol HTTP has nothing here but httpsRedirect',
      '10:3 error spec.servers[2].tls: goes with the protocols HTTPS and TLS alone',
      '10:9 warning spec.servers[2].tls.httpsRedirect: goes with the protocol HTTP alone',
    ],
  ],
  [
    'SIMPLE needs a certificate',
    `
servers:
- port: {number: 443, name: a, protocol: HTTPS}
  hosts: ["*"]
  tls: {mode: SIMPLE}`,
    [
      '4:3 error spec.servers[0].tls: mode SIMPLE needs serverCertificate (or credentialName)',
      '4:3 error spec.servers[0].tls: mode SIMPLE needs privateKey (or credentialName)',
    ],
  ],
  [
    'MUTUAL needs a CA as well',
    `
servers:
- port: {number: 443, name: a, protocol: HTTPS}
  hosts: ["*"]
  tls: {mode: MUTUAL, serverCertificate: a, privateKey: b}`,
    ['4:3 error spec.servers[0].tls: mode MUTUAL needs caCertificates (or credentialName)'],
  ],
  [
    'ISTIO_MUTUAL has nothing',
    `
servers:
- port: {number: 443, name: a, protocol: TLS}
  hosts: ["*"]
  tls: {mode: ISTIO_MUTUAL, credentialName: a}`,
    ['4:29 error spec.servers[0].tls.credentialName: mode ISTIO_MUTUAL has certificates of its own'],
  ],
  [
    'one source of certificates, and what is ignored',
    `
servers:
- port: {number: 443, name: a, protocol: HTTPS}
  hosts: ["*"]
  tls:
    mode: SIMPLE
    credentialName: a
    serverCertificate: b
    privateKey: c
    minProtocolVersion: TLSV1_0
- port: {number: 444, name: b, protocol: TLS}
  hosts: ["*"]
  tls: {mode: PASSTHROUGH, credentialName: a, cipherSuites: [NOPE, AES128-SHA, AES128-SHA]}
- port: {number: 445, name: c, protocol: TLS}
  hosts: ["*"]
  tls: {mode: SIMPLE, credentialNames: [a, b, c]}`,
    [
      '4:3 error spec.servers[0].tls: only one of credentialName, credentialNames, serverCertificate with privateKey, and tlsCertificates may be set',
      '9:25 warning spec.servers[0].tls.minProtocolVersion: needs cipherSuites that fit: the default ones are for TLS 1.2 and up',
      '12:28 warning spec.servers[1].tls.credentialName: has no effect with mode PASSTHROUGH',
      '12:62 warning spec.servers[1].tls.cipherSuites[0]: "NOPE" is no known cipher suite, and is ignored',
      '12:80 warning spec.servers[1].tls.cipherSuites[2]: "AES128-SHA" is given twice',
      '15:23 error spec.servers[2].tls.credentialNames: one or two',
    ],
  ],
])

rulesOf('Sidecar', [
  [
    'not empty',
    `
workloadSelector: {labels: {app: a}}`,
    ['spec error spec: one of ingress, egress, outboundTrafficPolicy and inboundConnectionPool is needed'],
  ],
  [
    'ingress ports are unique, and endpoints local',
    `
ingress:
- port: {number: 80, protocol: HTTP, name: "a b"}
  defaultEndpoint: 10.0.0.1:80
- port: {number: 80, protocol: FOO}
  defaultEndpoint: 127.0.0.1:x
- port: {number: 81, protocol: TCP, targetPort: 1}
  defaultEndpoint: unix://rel
  bind: x
  tls: {mode: ISTIO_MUTUAL, credentialName: x}
  connectionPool: {http: {maxRetries: 1}}`,
    [
      '2:44 error spec.ingress[0].port.name: "a b" is no port name (at most 63 letters, digits and "-")',
      '3:20 error spec.ingress[0].defaultEndpoint: "10.0.0.1:80": must be 127.0.0.1:<port>, 0.0.0.0:<port>, [::1]:<port>, [::]:<port> or unix://<path>',
      '4:18 error spec.ingress[1].port.number: there is a listener for port 80 already',
      '4:32 error spec.ingress[1].port.protocol: "FOO" is no protocol: one of TCP, UDP, GRPC, GRPC-WEB, HTTP, HTTP_PROXY, HTTP2, HTTPS, TLS, MONGO, REDIS, MYSQL',
      '5:20 error spec.ingress[1].defaultEndpoint: "127.0.0.1:x": "x" is no port',
      '6:37 error spec.ingress[2].port.targetPort: has no effect on a Sidecar',
      '7:20 error spec.ingress[2].defaultEndpoint: "rel" is no absolute path of a socket',
      '8:9 error spec.ingress[2].bind: "x" is no IP address',
      '9:3 error spec.ingress[2].tls: goes with the protocols HTTPS and TLS alone',
      '9:15 error spec.ingress[2].tls.mode: ISTIO_MUTUAL is not supported on a Sidecar',
      '9:29 error spec.ingress[2].tls.credentialName: is not supported on a Sidecar',
      '9:29 error spec.ingress[2].tls.credentialName: mode ISTIO_MUTUAL has certificates of its own',
      '10:20 warning spec.ingress[2].connectionPool.http: has no effect on a port that is not HTTP',
    ],
  ],
  [
    'one listener without a port, the last',
    `
egress:
- hosts: ["./*"]
- port: {number: 80, protocol: HTTP, name: http}
  hosts: ["./*"]`,
    ['2:3 error spec.egress[0]: the listener without a port must be the last one'],
  ],
  [
    'only one listener without a port',
    `
egress:
- port: {number: 80, protocol: HTTP, name: http}
  hosts: ["./*"]
- port: {number: 80, protocol: HTTP, name: http2}
  hosts: []
- port: {protocol: HTTP, name: uds}
  hosts: ["./*"]
- hosts: ["./*"]`,
    [
      '4:18 error spec.egress[1].port.number: there is a listener for port 80 already',
      '5:3 error spec.egress[1].hosts: one host at least is needed',
      '6:3 error spec.egress[2].port: needs a number, or a unix socket in bind',
    ],
  ],
  [
    'hosts of egress',
    `
egress:
- hosts: [reviews, "a b/*", "ns/short", "~/*", "~other/*"]`,
    [
      '2:11 error spec.egress[0].hosts[0]: "reviews": must be namespace/host, such as "*/reviews"',
      '2:20 error spec.egress[0].hosts[1]: "a b/*": "a b" is no namespace',
      '2:29 error spec.egress[0].hosts[2]: "short": a short name is not allowed here, write the whole one',
    ],
  ],
  [
    'hosts that overlap',
    `
egress:
- hosts: ["*/*", "./a.example.com", "default/a.example.com"]`,
    [
      '2:3 warning spec.egress[0].hosts: "*/*" takes everything: the other entries have no effect',
      '2:37 warning spec.egress[0].hosts[2]: "default/a.example.com" overlaps another entry',
    ],
  ],
  [
    'egressProxy needs ALLOW_ANY',
    `
outboundTrafficPolicy:
  mode: REGISTRY_ONLY
  egressProxy: {host: a.example.com}`,
    [
      '3:3 error spec.outboundTrafficPolicy.egressProxy: needs "mode: ALLOW_ANY" beside it',
      '3:3 error spec.outboundTrafficPolicy.egressProxy: port is needed',
    ],
  ],
])
