import { rulesOf } from './support/rules.ts'

rulesOf('ServiceEntry', [
  [
    'hosts',
    `
hosts: []`,
    ['1:1 error spec.hosts: one host at least is needed'],
  ],
  [
    'no wildcard for all',
    `
hosts: ["*", "a b", "a*.example.com"]`,
    [
      '1:9 error spec.hosts[0]: "*" is no host of a ServiceEntry',
      '1:14 error spec.hosts[1]: "a b" is no DNS name ("a b" is no label)',
      '1:21 error spec.hosts[2]: "a*.example.com" is no DNS name ("a*" is no label)',
    ],
  ],
  [
    'ports are unique, and known',
    `
hosts: [a.example.com]
resolution: DNS
ports:
- {number: 80, name: http, protocol: HTTP}
- {number: 80, name: http, protocol: FOO}
- {number: 0, name: "a b", targetPort: 70000}`,
    [
      '5:12 error spec.ports[1].number: port 80 is there already',
      '5:22 error spec.ports[1].name: a port "http" is there already',
      '5:38 error spec.ports[1].protocol: "FOO" is no protocol: one of TCP, UDP, GRPC, GRPC-WEB, HTTP, HTTP_PROXY, HTTP2, HTTPS, TLS, MONGO, REDIS, MYSQL',
      '6:12 error spec.ports[2].number: a port is a number from 1 to 65535, not 0',
      '6:21 error spec.ports[2].name: "a b" is no port name (at most 63 letters, digits and "-")',
      '6:40 error spec.ports[2].targetPort: a port is a number from 1 to 65535, not 70000',
    ],
  ],
  [
    'CIDR blocks are for NONE and STATIC',
    `
hosts: [a.example.com]
addresses: [10.0.0.0/8, x]
resolution: DNS
ports: [{number: 80, name: http, protocol: HTTP}]`,
    [
      '2:13 error spec.addresses[0]: a CIDR block goes with the resolutions NONE and STATIC alone, not DNS',
      '2:25 error spec.addresses[1]: "x" is no IP address or CIDR block',
    ],
  ],
  [
    'NONE has no endpoints',
    `
hosts: [a.example.com]
ports: [{number: 80, name: http, protocol: HTTP}]
endpoints: [{address: 1.2.3.4}]`,
    ['3:1 error spec.endpoints: the resolution NONE (the value when it is not set) has no endpoints'],
  ],
  [
    'STATIC has addresses',
    `
hosts: [a.example.com]
resolution: STATIC
ports: [{number: 80, name: http, protocol: HTTP}]
endpoints:
- address: a.example.com
- address: 1.2.3.4
  ports: {nope: 80, http: 0}
- {}
- address: unix://rel`,
    [
      '5:12 error spec.endpoints[0].address: "a.example.com" is no IP address, which the resolution STATIC needs',
      '7:11 error spec.endpoints[1].ports.nope: the ServiceEntry has no port "nope"',
      '7:27 error spec.endpoints[1].ports.http: a port is a number from 1 to 65535, not 0',
      '8:3 error spec.endpoints[2]: address is needed',
      '9:12 error spec.endpoints[3].address: "rel" is no absolute path of a socket',
    ],
  ],
  [
    'DNS without endpoints needs a DNS name',
    `
hosts: ["*.example.com"]
resolution: DNS
ports: [{number: 80, name: http, protocol: HTTP}]`,
    ['1:9 error spec.hosts[0]: must be a DNS name that can be resolved (no wildcard), as there are no endpoints'],
  ],
  [
    'DNS_ROUND_ROBIN has one endpoint',
    `
hosts: [a.example.com]
resolution: DNS_ROUND_ROBIN
ports: [{number: 80, name: http, protocol: HTTP}]
endpoints: [{address: a.example.org}, {address: "a b"}]`,
    [
      '4:1 error spec.endpoints: the resolution DNS_ROUND_ROBIN has one endpoint at most',
      '4:49 error spec.endpoints[1].address: "a b" is neither a DNS name nor an IP address',
    ],
  ],
  [
    'DYNAMIC_DNS has wildcards',
    `
hosts: [a.example.com]
addresses: [1.2.3.4]
resolution: DYNAMIC_DNS
ports: [{number: 80, name: tcp, protocol: TCP}]`,
    [
      '1:9 error spec.hosts[0]: the resolution DYNAMIC_DNS is for hosts with a wildcard',
      '2:1 error spec.addresses: the resolution DYNAMIC_DNS has no addresses',
      '4:9 error spec.ports[0]: the resolution DYNAMIC_DNS is for HTTP, TLS, GRPC and HTTP2 alone',
    ],
  ],
  [
    'selector or endpoints',
    `
hosts: [a.example.com]
resolution: STATIC
ports: [{number: 80, name: http, protocol: HTTP}]
workloadSelector: {labels: {app: a}}
endpoints: [{address: 1.2.3.4}]`,
    ['5:1 error spec.endpoints: excludes workloadSelector'],
  ],
  [
    'several hosts with HTTP and TLS alone',
    `
hosts: [a.example.com, b.example.com]
resolution: DNS
ports: [{number: 80, name: tcp, protocol: TCP}]`,
    ['3:9 error spec.ports[0]: several hosts on one port can be told apart with HTTP and TLS alone'],
  ],
  [
    'exportTo may be nobody',
    `
hosts: [a.example.com]
resolution: DNS
exportTo: ["~"]
ports: [{number: 80, name: http, protocol: HTTP}]`,
    [],
  ],
  [
    'nobody alone',
    `
hosts: [a.example.com]
resolution: DNS
exportTo: ["~", a]
ports: [{number: 80, name: http, protocol: HTTP}]`,
    ['3:11 error spec.exportTo: "~" (nobody) excludes all other entries'],
  ],
])

rulesOf('WorkloadEntry', [
  [
    'an address, unless there is a network',
    `
labels: {app: a}`,
    ['spec error spec: address is needed'],
  ],
  [
    'a network',
    `
network: n1`,
    ['spec warning spec: no address: reached through the gateways of the network "n1"'],
  ],
  [
    'addresses and ports',
    `
address: "a b"
ports: {"a b": 80, http: 0}`,
    [
      '1:10 error spec.address: "a b" is neither a DNS name nor an IP address',
      '2:9 error spec.ports["a b"]: "a b" is no port name',
      '2:26 error spec.ports.http: a port is a number from 1 to 65535, not 0',
    ],
  ],
  [
    'unix sockets have no ports',
    `
address: unix:///a
ports: {http: 80}`,
    ['2:1 error spec.ports: a unix socket has no ports'],
  ],
])

rulesOf('WorkloadGroup', [
  [
    'probes',
    `
template: {ports: {http: 0}}
probe:
  periodSeconds: -1
  httpGet: {port: 0, scheme: FTP, httpHeaders: [{name: "a b"}]}`,
    [
      '1:26 error spec.template.ports.http: a port is a number from 1 to 65535, not 0',
      '3:18 error spec.probe.periodSeconds: must not be negative, is -1',
      '4:19 error spec.probe.httpGet.port: a port is a number from 1 to 65535, not 0',
      '4:30 error spec.probe.httpGet.scheme: must be HTTP or HTTPS',
      '4:56 error spec.probe.httpGet.httpHeaders[0].name: "a b" is no header name',
    ],
  ],
  [
    'a probe is something',
    `
template: {}
probe: {}`,
    ['2:1 error spec.probe: one of httpGet, tcpSocket, exec and grpc is needed'],
  ],
])
