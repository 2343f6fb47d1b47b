import { rulesOf } from './support/rules.ts'

const REFUSED =
  'Envoy refuses a listener with this rule: a sidecar that starts has no inbound listener (its callers get 503), and one that runs keeps its old one. A good set is {"keys": [{"kty": …}]}'
const UNREAD = `Envoy reads none of these keys: their "alg" or "crv" are not supported. ${REFUSED}`

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
    'keys of every type, with what each needs',
    `
jwtRules:
- {issuer: a, jwks: '{"keys": {}}'}
- {issuer: b, jwks: '{"keys": [{"kty": "RSA", "n": "AQ"}]}'}
- {issuer: c, jwks: '{"keys": [{"kty": "rsa", "n": "AQ", "e": "AQAB"}]}'}
- {issuer: d, jwks: '{"keys": [{"kty": "EC", "crv": "P-256", "x": "AQ"}, {"kty": "OKP", "crv": "Ed25519"}, 1]}'}
- {issuer: e, jwks: '{"kty": "RSA", "n": "A$Q", "e": "AQAB"}'}
- {issuer: f, jwks: '{"kty": "RSA", "n": "AQ", "e": "AQAB", "kid": 7}'}
- {issuer: g, jwks: '[]'}
- {issuer: h, jwks: '{"keys": []}'}
- {issuer: i, jwks: '{"kty": "RSA", "n": "AQ", "e": "AQAB"}'}
- {issuer: j, jwks: '{"kty": "RSA", "n": "AQ", "e": "AQAB", "d": "AQ"}'}`,
    [
      '2:21 error spec.jwtRules[0].jwks: "keys" is no list',
      '3:21 error spec.jwtRules[1].jwks: key 0 is of type RSA, and has no "e"',
      '4:21 error spec.jwtRules[2].jwks: key 0 has the kty "rsa", which is none of RSA, EC, OKP, oct',
      '5:21 error spec.jwtRules[3].jwks: key 0 is of type EC, and has no "y"',
      '5:21 error spec.jwtRules[3].jwks: key 1 is of type OKP, and has no "x"',
      '5:21 error spec.jwtRules[3].jwks: key 2 is no object',
      '6:21 error spec.jwtRules[4].jwks: key 0 has a "n" that is not base64url',
      '7:21 error spec.jwtRules[5].jwks: key 0 has a "kid" that is no text',
      '8:21 error spec.jwtRules[6].jwks: a set of keys is {"keys": [{"kty": …}]}',
      `9:21 warning spec.jwtRules[7].jwks: there are no keys. ${REFUSED}`,
      `10:21 warning spec.jwtRules[8].jwks: Envoy reads sets of keys only. ${REFUSED}`,
      '11:21 warning spec.jwtRules[9].jwks: key 0 has private parts, and only public ones are needed',
      `11:21 warning spec.jwtRules[9].jwks: Envoy reads sets of keys only. ${REFUSED}`,
    ],
  ],
  [
    'sets of keys of which Envoy reads none',
    `
jwtRules:
- {issuer: a, jwks: '{"keys": [{"kty": "EC", "crv": "secp256k1", "x": "AQ", "y": "AQ"}]}'}
- {issuer: b, jwks: '{"keys": [{"kty": "OKP", "crv": "X25519", "x": "AQ"}]}'}
- {issuer: c, jwks: '{"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES384", "x": "AQ", "y": "AQ"}]}'}
- {issuer: d, jwks: '{"keys": [{"kty": "OKP", "crv": "X25519", "x": "AQ"}, {"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}]}'}
- {issuer: e, jwks: '{"keys": [{"kty": "RSA", "alg": "PS256", "n": "AQ", "e": "AQAB"}]}'}
- {issuer: f, jwks: '{"keys": null}'}`,
    [
      `2:21 warning spec.jwtRules[0].jwks: ${UNREAD}`,
      `3:21 warning spec.jwtRules[1].jwks: ${UNREAD}`,
      `4:21 warning spec.jwtRules[2].jwks: ${UNREAD}`,
      `7:21 warning spec.jwtRules[5].jwks: Envoy reads sets of keys only. ${REFUSED}`,
    ],
  ],
  [
    'one source of keys, and an issuer that is no empty text',
    `
jwtRules:
- {issuer: a, jwksUri: "http://a.test/jwks", jwks: '{"keys": []}'}
- {issuer: "", jwksUri: "https://a.test/jwks"}
- {issuer: b, jwksUri: ""}
- {issuer: c, jwksUri: "https://foo.com:not-a-number"}
- {jwksUri: "HTTPS://a.test/jwks"}`,
    [
      '2:46 error spec.jwtRules[0].jwks: excludes jwksUri',
      `2:52 warning spec.jwtRules[0].jwks: there are no keys. ${REFUSED}`,
      '3:12 error spec.jwtRules[1].issuer: must not be empty',
      '4:12 warning spec.jwtRules[2].issuer: "b" is no URL to ask for keys, and neither jwks nor jwksUri is given: no token is good',
      '4:24 error spec.jwtRules[2].jwksUri: must not be empty',
      '5:24 error spec.jwtRules[3].jwksUri: "https://foo.com:not-a-number" is no http or https URL',
    ],
  ],
  [
    'no empty entries',
    `
jwtRules:
- issuer: a
  fromHeaders: [null]
  outputClaimToHeaders: [null]`,
    [
      '3:17 error spec.jwtRules[0].fromHeaders[0]: expected a map, got null',
      '4:26 error spec.jwtRules[0].outputClaimToHeaders[0]: expected a map, got null',
    ],
  ],
  [
    'no empty claims',
    `
jwtRules:
- issuer: https://a
  spaceDelimitedClaims: [""]`,
    ['3:26 error spec.jwtRules[0].spaceDelimitedClaims[0]: must not be empty'],
  ],
  [
    'places of tokens',
    `
jwtRules:
- issuer: https://a
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
