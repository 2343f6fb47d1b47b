import { rulesOf } from './support/rules.ts'

rulesOf('PeerAuthentication', [
  [
    'portLevelMtls needs a selector',
    `
mtls: {mode: STRICT}
portLevelMtls:
  8080: {mode: DISABLE}`,
    ['2:1 error spec.portLevelMtls: needs a selector: ports are those of a workload'],
  ],
  [
    'ports',
    `
selector: {matchLabels: {app: a}}
portLevelMtls:
  0: {mode: DISABLE}
  70000: {mode: DISABLE}`,
    [
      '3:3 error spec.portLevelMtls["0"]: a port is a number from 1 to 65535, not 0',
      '4:3 error spec.portLevelMtls["70000"]: a port is a number from 1 to 65535, not 70000',
    ],
  ],
  [
    'selectors have no wildcards',
    `
selector: {matchLabels: {app: "a*"}}`,
    ['1:31 error spec.selector.matchLabels.app: a selector has no wildcards'],
  ],
  [
    'a selector without labels',
    `
selector: {}`,
    ['1:1 warning spec.selector: a selector without labels selects every workload'],
  ],
])

rulesOf('RequestAuthentication', [
  [
    'issuer or jwksUri',
    `
jwtRules:
- audiences: [""]`,
    [
      '2:3 error spec.jwtRules[0]: issuer or jwksUri is needed',
      '2:15 error spec.jwtRules[0].audiences[0]: must not be empty',
    ],
  ],
  [
    'keys',
    `
jwtRules:
- issuer: a
  jwks: "{"
- issuer: b
  jwks: '{"keys": [{"kid": "a"}, {"kty": "oct", "k": "a"}]}'
- jwksUri: ftp://a`,
    [
      "3:9 error spec.jwtRules[0].jwks: no JSON: Expected property name or '}' in JSON at position 1",
      '5:9 error spec.jwtRules[1].jwks: key 0 has no kty: a set of keys is {"keys": [{"kty": …}]}',
      '5:9 warning spec.jwtRules[1].jwks: key 1 has private parts, and only public ones are needed',
      '6:12 error spec.jwtRules[2].jwksUri: "ftp://a" is no http or https URL',
    ],
  ],
  [
    'places of tokens',
    `
jwtRules:
- issuer: a
  fromHeaders: [{name: ""}]
  fromParams: [""]
  fromCookies: [""]
  outputClaimToHeaders: [{header: "a b", claim: ""}]
  timeout: 0s`,
    [
      '3:24 error spec.jwtRules[0].fromHeaders[0].name: must not be empty',
      '4:16 error spec.jwtRules[0].fromParams[0]: must not be empty',
      '5:17 error spec.jwtRules[0].fromCookies[0]: must not be empty',
      '6:35 error spec.jwtRules[0].outputClaimToHeaders[0].header: "a b" is no header name (letters, digits, "-" and "_")',
      '6:49 error spec.jwtRules[0].outputClaimToHeaders[0].claim: must not be empty',
      '7:12 error spec.jwtRules[0].timeout: must be at least 1ms, is 0s',
    ],
  ],
  [
    'one selector',
    `
selector: {matchLabels: {app: a}}
targetRefs: [{kind: Deployment, name: a, namespace: b}]`,
    [
      'spec error spec: only one of selector, targetRef and targetRefs may be set',
      '2:21 error spec.targetRefs[0].kind: a target is one of core/Service, networking.istio.io/ServiceEntry, gateway.networking.k8s.io/Gateway, gateway.networking.k8s.io/GatewayClass, not core/Deployment',
      '2:53 error spec.targetRefs[0].namespace: a policy is for targets of its own namespace: leave this out',
    ],
  ],
])

rulesOf('AuthorizationPolicy', [
  [
    'CUSTOM needs rules',
    `
action: CUSTOM
provider: {name: a}`,
    [
      'spec error spec: the action CUSTOM needs rules: without any it never happens ("rules: [{}]" is for every request)',
    ],
  ],
  [
    'CUSTOM needs a provider',
    `
action: CUSTOM
rules: [{}]`,
    ['spec error spec: the action CUSTOM needs provider.name'],
  ],
  [
    'CUSTOM cannot look at identities',
    `
action: CUSTOM
provider: {name: a}
rules:
- from:
  - source: {principals: [a]}
  when:
  - {key: "request.auth.claims[a]", values: [b]}`,
    [
      '5:14 error spec.rules[0].from[0].source.principals: is not supported with the action CUSTOM',
      '7:11 error spec.rules[0].when[0].key: "request.auth.claims[a]" is not supported with the action CUSTOM',
    ],
  ],
  [
    'a provider is for CUSTOM',
    `
provider: {name: a}`,
    ['1:1 error spec.provider: goes with the action CUSTOM alone, not ALLOW'],
  ],
  [
    'DENY needs rules',
    `
action: DENY`,
    ['spec error spec: the action DENY needs rules: without any it never happens ("rules: [{}]" is for every request)'],
  ],
  [
    'nothing is empty',
    `
rules:
- from: []
  to: []
- from:
  - {}
  - source: {}
  to:
  - {}
  - operation: {}`,
    [
      '2:3 error spec.rules[0].from: must not be empty',
      '3:3 error spec.rules[0].to: must not be empty',
      '5:5 error spec.rules[1].from[0]: source is needed',
      '6:5 error spec.rules[1].from[1].source: must not be empty',
      '8:5 error spec.rules[1].to[0]: operation is needed',
      '9:5 error spec.rules[1].to[1].operation: must not be empty',
    ],
  ],
  [
    'serviceAccounts exclude principals and namespaces',
    `
rules:
- from:
  - source: {serviceAccounts: [a], principals: [b], namespaces: [c]}`,
    [
      '3:36 error spec.rules[0].from[0].source.principals: excludes serviceAccounts',
      '3:53 error spec.rules[0].from[0].source.namespaces: excludes serviceAccounts',
    ],
  ],
  [
    'values',
    `
rules:
- from:
  - source: {ipBlocks: [1.2.3, 10.0.0.0/33], serviceAccounts: [a/b/c, "x*"], trustDomains: ["a*b", "a/b"], namespaces: [""]}
  to:
  - operation: {ports: ["http", "70000"], paths: ["/{**}/a/{*}", "/a{*}", "/{*}/b c"], methods: [""]}`,
    [
      '3:25 error spec.rules[0].from[0].source.ipBlocks[0]: "1.2.3" is no IP address or CIDR block',
      '3:32 error spec.rules[0].from[0].source.ipBlocks[1]: "10.0.0.0/33" is no IP address or CIDR block',
      '3:64 error spec.rules[0].from[0].source.serviceAccounts[0]: "a/b/c": must be <service account> or <namespace>/<service account>',
      '3:71 error spec.rules[0].from[0].source.serviceAccounts[1]: "x*": a service account has no wildcard',
      '3:93 error spec.rules[0].from[0].source.trustDomains[0]: "a*b": "*" stands at the start or at the end',
      '3:100 error spec.rules[0].from[0].source.trustDomains[1]: "a/b": a trust domain has no "/"',
      '3:108 error spec.rules[0].from[0].source.namespaces: excludes serviceAccounts',
      '3:121 error spec.rules[0].from[0].source.namespaces[0]: must not be empty',
      '5:25 error spec.rules[0].to[0].operation.ports[0]: "http" is no port number',
      '5:33 error spec.rules[0].to[0].operation.ports[1]: "70000" is no port number',
      '5:51 error spec.rules[0].to[0].operation.paths[0]: "/{**}/a/{*}": "{**}" must be the last one',
      '5:66 error spec.rules[0].to[0].operation.paths[1]: "/a{*}": braces are for "{*}" and "{**}" alone, each a whole segment',
      '5:75 error spec.rules[0].to[0].operation.paths[2]: "/{*}/b c": "b c" is no path segment',
      '5:98 error spec.rules[0].to[0].operation.methods[0]: must not be empty',
    ],
  ],
  [
    'conditions',
    `
rules:
- when:
  - {key: "", values: [a]}
  - {key: source.ip, values: [x]}
  - {key: destination.port, notValues: ["x"]}
  - {key: nope, values: [a]}
  - {key: request.headers, values: [a]}
  - {key: source.namespace}
  - {key: "destination.labels[a]", values: [a]}`,
    [
      '3:11 error spec.rules[0].when[0].key: must not be empty',
      '4:31 error spec.rules[0].when[1].values[0]: "x" is no IP address or CIDR block',
      '5:41 error spec.rules[0].when[2].notValues[0]: "x" is no port number',
      '6:11 error spec.rules[0].when[3].key: "nope" is no attribute',
      '7:11 error spec.rules[0].when[4].key: "request.headers": must be of the form request.headers[…]',
      '8:5 error spec.rules[0].when[5]: values or notValues are needed for "source.namespace"',
      '9:11 error spec.rules[0].when[6].key: write a selector instead',
    ],
  ],
  [
    'DENY by HTTP attributes alone',
    `
action: DENY
rules:
- to:
  - operation: {paths: [/admin]}`,
    [
      '3:3 warning spec.rules[0]: denies everything on TCP ports, since it has nothing but HTTP attributes: name the ports as well',
    ],
  ],
])
