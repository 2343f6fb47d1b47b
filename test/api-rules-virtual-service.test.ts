import { rulesOf } from './support/rules.ts'

rulesOf('VirtualService', [
  [
    'needs http, tls or tcp',
    `
hosts: [reviews]`,
    ['spec error spec: one of http, tls and tcp is needed'],
  ],
  [
    'a whole wildcard is for gateways',
    `
hosts: ["*"]
http: [{route: [{destination: {host: a}}]}]`,
    ['1:9 error spec.hosts[0]: "*" is for VirtualServices of gateways alone'],
  ],
  [
    'hosts must not overlap',
    `
hosts: ["*.example.com", a.example.com]
http: [{route: [{destination: {host: a}}]}]`,
    ['1:26 error spec.hosts[1]: "a.example.com" overlaps "*.example.com"'],
  ],
  [
    'hosts must be DNS names or addresses',
    `
hosts: [bad_host, 10.1.2.3]
http: [{route: [{destination: {host: a}}]}]`,
    ['1:9 error spec.hosts[0]: "bad_host" is no DNS name ("bad_host" is no label)'],
  ],
  [
    'a delegate has no gateways, tls or tcp',
    `
gateways: [gw]
http: [{route: [{destination: {host: a}}]}]
tcp: [{route: [{destination: {host: a}}]}]`,
    [
      '1:1 error spec.gateways: a VirtualService without hosts is a delegate, and has http routes alone',
      '3:1 error spec.tcp: a VirtualService without hosts is a delegate, and has http routes alone',
    ],
  ],
  [
    'a delegate does not delegate on',
    `
http:
- delegate: {name: b}`,
    ['2:3 error spec.http[0].delegate: a VirtualService without hosts is a delegate itself, and cannot delegate on'],
  ],
  [
    'one action is needed',
    `
hosts: [reviews]
http:
- name: nothing`,
    ['3:3 error spec.http[0]: one of route, redirect, directResponse and delegate is needed'],
  ],
  [
    'redirect excludes route, fault and rewrite',
    `
hosts: [reviews]
http:
- redirect: {uri: /a}
  route: [{destination: {host: a}}]
  fault: {abort: {httpStatus: 500, percentage: {value: 1}}}
  rewrite: {uri: /}`,
    [
      '4:3 error spec.http[0].route: excludes redirect',
      '5:3 error spec.http[0].fault: excludes redirect',
      '6:3 error spec.http[0].rewrite: excludes redirect',
    ],
  ],
  [
    'directResponse excludes route, fault and rewrite',
    `
hosts: [reviews]
http:
- directResponse: {status: 200}
  route: [{destination: {host: a}}]
  fault: {abort: {httpStatus: 500, percentage: {value: 1}}}
  rewrite: {uri: /}`,
    [
      '4:3 error spec.http[0].route: excludes directResponse',
      '5:3 error spec.http[0].fault: excludes directResponse',
      '6:3 error spec.http[0].rewrite: excludes directResponse',
    ],
  ],
  [
    'redirect excludes directResponse',
    `
hosts: [reviews]
http:
- directResponse: {status: 200}
  redirect: {uri: /a}`,
    ['3:3 error spec.http[0].directResponse: excludes redirect'],
  ],
  [
    'a delegate excludes route and redirect',
    `
hosts: [reviews]
http:
- delegate: {name: b}
  route: [{destination: {host: a}}]
  redirect: {uri: /}`,
    [
      '4:3 error spec.http[0].route: a route with a delegate has no route',
      '5:3 error spec.http[0].redirect: a route with a delegate has no redirect',
    ],
  ],
  [
    'mirror excludes mirrors',
    `
hosts: [reviews]
http:
- route: [{destination: {host: a}}]
  mirror: {host: b}
  mirrors: [{destination: {host: c}}]`,
    ['5:3 error spec.http[0].mirrors: excludes mirror'],
  ],
  [
    'mirror percentages',
    `
hosts: [reviews]
http:
- route: [{destination: {host: a}}]
  mirror: {host: b}
  mirrorPercentage: {value: 101}
- match: [{port: 80}]
  route: [{destination: {host: a}}]
  mirrors:
  - destination: {host: c}
    percentage: {value: -1}`,
    [
      '5:29 error spec.http[0].mirrorPercentage.value: a percentage is a number from 0 to 100, not 101',
      '6:3 warning spec.http[1]: is never used: rule 0 before it matches everything',
      '10:25 error spec.http[1].mirrors[0].percentage.value: a percentage is a number from 0 to 100, not -1',
    ],
  ],
  [
    'the old mirrorPercent',
    `
hosts: [reviews]
http:
- route: [{destination: {host: a}}]
  mirror: {host: b}
  mirrorPercent: 200`,
    [
      '5:3 warning spec.http[0].mirrorPercent: is deprecated: write "mirrorPercentage: {value: …}"',
      '5:18 error spec.http[0].mirrorPercent: a percentage is a number from 0 to 100, not 200',
    ],
  ],
  [
    'empty prefixes and regular expressions',
    `
hosts: [reviews]
http:
- match:
  - headers:
      a: {prefix: ""}
      b: {regex: ""}
    method: {prefix: ""}
    queryParams:
      q: {prefix: ""}
    uri: {prefix: ""}
  route: [{destination: {host: a}}]`,
    [
      '5:19 error spec.http[0].match[0].headers.a.prefix: must not be empty',
      '6:18 error spec.http[0].match[0].headers.b.regex: must not be empty',
      '7:22 error spec.http[0].match[0].method.prefix: must not be empty',
      '9:19 error spec.http[0].match[0].queryParams.q.prefix: must not be empty',
    ],
  ],
  [
    'regular expressions are RE2',
    `
hosts: [reviews]
http:
- match:
  - uri: {regex: "a(?=b)"}
  - withoutHeaders:
      x: {regex: "*"}
      y: {regex: "("}
  route: [{destination: {host: a}}]`,
    [
      "4:18 error spec.http[0].match[0].uri.regex: no regular expression in RE2's syntax: invalid or unsupported Perl syntax: `(?=`",
      "7:18 error spec.http[0].match[1].withoutHeaders.y.regex: no regular expression in RE2's syntax: missing closing ): `(`",
    ],
  ],
  [
    'only one form of match',
    `
hosts: [reviews]
http:
- match:
  - uri: {exact: /a, prefix: /b}
  route: [{destination: {host: a}}]`,
    ['4:30 error spec.http[0].match[0].uri.prefix: only one of exact, prefix, regex may be set'],
  ],
  [
    'header names of matches',
    `
hosts: [reviews]
http:
- match:
  - headers:
      "bad name": {exact: a}
      ":path": {exact: /}
  route: [{destination: {host: a}}]`,
    ['5:7 error spec.http[0].match[0].headers["bad name"]: "bad name" is no header name'],
  ],
  [
    'claims are matched at gateways',
    `
hosts: [reviews]
http:
- match:
  - headers:
      "@request.auth.claims.sub": {exact: a}
  route: [{destination: {host: a}}]`,
    [
      '5:7 error spec.http[0].match[0].headers["@request.auth.claims.sub"]: claims of a JWT can be matched at gateways alone',
    ],
  ],
  [
    'claims at a gateway are fine',
    `
hosts: [reviews.example.com]
gateways: [gw]
http:
- match:
  - headers:
      "@request.auth.claims[sub]": {exact: a}
  route: [{destination: {host: a}}]`,
    [],
  ],
  [
    'other conditions of a match',
    `
hosts: [reviews]
http:
- match:
  - port: 70000
    sourceNamespace: a.b
    sourceLabels:
      app: "a b"
    gateways: [old.ns, "a/b/c", "./gw"]
  route: [{destination: {host: a}}]`,
    [
      '4:11 error spec.http[0].match[0].port: a port is a number from 1 to 65535, not 70000',
      '5:22 error spec.http[0].match[0].sourceNamespace: "a.b" is no namespace',
      '7:12 error spec.http[0].match[0].sourceLabels.app: "a b" is no label value',
      '8:16 warning spec.http[0].match[0].gateways[0]: old way to name a gateway: write "ns/old"',
      '8:24 error spec.http[0].match[0].gateways[1]: "b/c" is no name of a gateway',
      '8:33 warning spec.http[0].match[0].gateways[2]: "." is no namespace to Istio here: taken as the own namespace; write its name',
    ],
  ],
  [
    'weights',
    `
hosts: [reviews]
http:
- route:
  - destination: {host: a}
    weight: -1
  - destination: {host: b}
    weight: 1`,
    [
      '3:3 error spec.http[0].route: with several destinations, one weight at least must be more than 0',
      '5:13 error spec.http[0].route[0].weight: must not be negative, is -1',
    ],
  ],
  [
    'weights must not all be 0',
    `
hosts: [reviews]
http:
- route:
  - destination: {host: a}
  - destination: {host: b}
    weight: 0`,
    ['3:3 error spec.http[0].route: with several destinations, one weight at least must be more than 0'],
  ],
  [
    'a single weight of 0 is fine',
    `
hosts: [reviews]
http:
- route:
  - destination: {host: a}
    weight: 0`,
    [],
  ],
  [
    'destinations',
    `
hosts: [reviews]
http:
- route:
  - destination: {host: "*"}
    weight: 1
  - destination: {host: a, subset: v_1, port: {number: 0}}
    weight: 1
  - destination: {host: a, port: {}}
    weight: 1`,
    [
      '4:25 error spec.http[0].route[0].destination.host: a destination is one service, not "*"',
      '6:36 error spec.http[0].route[1].destination.subset: "v_1" is no subset name (at most 63 letters, digits and "-")',
      '6:56 error spec.http[0].route[1].destination.port.number: a port is a number from 1 to 65535, not 0',
      '8:34 error spec.http[0].route[2].destination.port: a port is a number from 1 to 65535, not 0',
    ],
  ],
])
