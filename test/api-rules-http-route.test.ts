import { rulesOf } from './support/rules.ts'

rulesOf('VirtualService', [
  [
    'header operations',
    `
hosts: [reviews]
http:
- headers:
    request:
      set:
        ":method": GET
        x-a: "%DOWNSTREAM_REMOTE_ADDRESS"
        x-b: "100%"
      add:
        "": b
      remove: [":authority", host]
    response:
      add:
        host: a
        x-ok: "100%% %REQ(x-a)%"
  route: [{destination: {host: a}}]`,
    [
      '6:9 error spec.http[0].headers.request.set[":method"]: ":method" cannot be changed here',
      '7:14 error spec.http[0].headers.request.set.x-a: the value has a "%" without a second one: write "%%" for a percent sign',
      '8:14 error spec.http[0].headers.request.set.x-b: the value has a single "%" at its end: write "%%"',
      '10:9 error spec.http[0].headers.request.add[""]: a header name must not be empty',
      '11:16 error spec.http[0].headers.request.remove[0]: ":authority" cannot be changed here',
      '11:30 error spec.http[0].headers.request.remove[1]: "host" cannot be changed here',
      '14:9 error spec.http[0].headers.response.add.host: "host" cannot be changed here',
    ],
  ],
  [
    'header operations of a destination',
    `
hosts: [reviews]
http:
- route:
  - destination: {host: a}
    headers:
      response:
        set:
          ":status": "200"`,
    ['8:11 error spec.http[0].route[0].headers.response.set[":status"]: ":status" cannot be changed here'],
  ],
  [
    'the authority is set once',
    `
hosts: [reviews]
http:
- rewrite: {authority: a}
  headers:
    request:
      set:
        host: b
      add:
        ":authority": c
  route: [{destination: {host: a}}]`,
    [
      '7:9 error spec.http[0].headers.request.set.host: the authority is set already, and can be set only once',
      '9:9 error spec.http[0].headers.request.add[":authority"]: the authority is set already, and can be set only once',
    ],
  ],
  [
    'a fault needs a delay or an abort',
    `
hosts: [reviews]
http:
- fault: {}
  route: [{destination: {host: a}}]`,
    ['3:10 error spec.http[0].fault: delay or abort is needed'],
  ],
  [
    'percentages of faults',
    `
hosts: [reviews]
http:
- fault:
    delay:
      fixedDelay: 1s
      percentage: {value: 0.00001}
    abort:
      httpStatus: 500
      percentage: {value: 101}
  route: [{destination: {host: a}}]`,
    [
      '6:27 error spec.http[0].fault.delay.percentage.value: a percentage is 0, or a number from 0.0001 to 100, not 0.00001',
      '9:27 error spec.http[0].fault.abort.percentage.value: a percentage is 0, or a number from 0.0001 to 100, not 101',
    ],
  ],
  [
    'a fault without a percentage never happens',
    `
hosts: [reviews]
http:
- fault:
    delay: {fixedDelay: 1s}
    abort: {httpStatus: 500}
  route: [{destination: {host: a}}]`,
    [
      '4:5 warning spec.http[0].fault.delay: without a percentage it never happens: write "percentage: {value: 100}" for all requests',
      '5:5 warning spec.http[0].fault.abort: without a percentage it never happens: write "percentage: {value: 100}" for all requests',
    ],
  ],
  [
    'statuses and kinds of aborts',
    `
hosts: [reviews]
http:
- fault: {abort: {httpStatus: 601, percentage: {value: 1}}}
  route: [{destination: {host: a}}]
- match: [{port: 1}]
  fault: {abort: {grpcStatus: NOPE, percentage: {value: 1}}}
  route: [{destination: {host: a}}]
- match: [{port: 2}]
  fault: {abort: {http2Error: X, percentage: {value: 1}}}
  route: [{destination: {host: a}}]
- match: [{port: 3}]
  fault: {abort: {percentage: {value: 1}}}
  route: [{destination: {host: a}}]`,
    [
      '3:31 error spec.http[0].fault.abort.httpStatus: a status is a number from 200 to 599, not 601',
      '5:3 warning spec.http[1]: is never used: rule 0 before it matches everything',
      '6:31 error spec.http[1].fault.abort.grpcStatus: "NOPE" is no gRPC status: one such as NOT_FOUND',
      '8:3 warning spec.http[2]: is never used: rule 0 before it matches everything',
      '9:19 error spec.http[2].fault.abort.http2Error: is not supported by Istio',
      '11:3 warning spec.http[3]: is never used: rule 0 before it matches everything',
      '12:11 warning spec.http[3].fault.abort: has no effect without httpStatus or grpcStatus',
    ],
  ],
  [
    'no exponential delay',
    `
hosts: [reviews]
http:
- fault:
    delay: {exponentialDelay: 1s, percentage: {value: 1}}
  route: [{destination: {host: a}}]`,
    ['4:13 error spec.http[0].fault.delay.exponentialDelay: is not supported by Istio'],
  ],
  [
    'retries',
    `
hosts: [reviews]
http:
- retries: {attempts: -1}
  route: [{destination: {host: a}}]
- match: [{port: 1}]
  retries: {perTryTimeout: 1s}
  route: [{destination: {host: a}}]
- match: [{port: 2}]
  retries: {attempts: 1, retryOn: "5xx, reset,503,nope"}
  route: [{destination: {host: a}}]`,
    [
      '3:23 error spec.http[0].retries.attempts: must not be negative',
      '5:3 warning spec.http[1]: is never used: rule 0 before it matches everything',
      '6:12 error spec.http[1].retries: with 0 attempts (the value when it is not set) there are no retries: perTryTimeout, retryOn and retryRemoteLocalities have no place',
      '8:3 warning spec.http[2]: is never used: rule 0 before it matches everything',
      '9:35 error spec.http[2].retries.retryOn: " reset" is no retry condition (no spaces after commas): a status code, or one of 5xx, gateway-error, reset, reset-before-request, connect-failure, retriable-4xx, refused-stream, retriable-status-codes, retriable-headers, envoy-ratelimited, http3-post-connect-failure, cancelled, deadline-exceeded, internal, resource-exhausted, unavailable',
      '9:35 error spec.http[2].retries.retryOn: "nope" is no retry condition: a status code, or one of 5xx, gateway-error, reset, reset-before-request, connect-failure, retriable-4xx, refused-stream, retriable-status-codes, retriable-headers, envoy-ratelimited, http3-post-connect-failure, cancelled, deadline-exceeded, internal, resource-exhausted, unavailable',
    ],
  ],
  [
    'durations are whole milliseconds, and not 0',
    `
hosts: [reviews]
http:
- timeout: 0s
  retries: {attempts: 1, perTryTimeout: 1.5ms, backoff: 100us}
  route: [{destination: {host: a}}]`,
    [
      '3:12 error spec.http[0].timeout: must be at least 1ms, is 0s',
      '4:41 error spec.http[0].retries.perTryTimeout: only whole milliseconds are supported, not 1.5ms',
      '4:57 error spec.http[0].retries.backoff: must be at least 1ms, is 100us',
    ],
  ],
  [
    'redirects',
    `
hosts: [reviews]
http:
- redirect: {uri: /a, prefixRewrite: /b, redirectCode: 200, scheme: ftp}`,
    [
      '3:23 error spec.http[0].redirect.prefixRewrite: excludes uri',
      '3:56 error spec.http[0].redirect.redirectCode: a redirect has a status from 300 to 399, not 200',
      '3:69 error spec.http[0].redirect.scheme: a scheme is http or https, not "ftp"',
    ],
  ],
  [
    'redirects that do nothing, and codes that Envoy does not know',
    `
hosts: [reviews]
http:
- redirect: {}
- match: [{uri: {exact: /a}}]
  redirect: {prefixRewrite: /b, redirectCode: 305}`,
    [
      '3:13 error spec.http[0].redirect: one of uri, authority, scheme, port and derivePort is needed',
      '4:3 warning spec.http[1]: is never used: rule 0 before it matches everything',
      '5:14 error spec.http[1].redirect.prefixRewrite: goes with a match by uri prefix alone',
      '5:47 warning spec.http[1].redirect.redirectCode: Envoy knows 301, 302, 303, 307 and 308 alone, and refuses the route with 305',
    ],
  ],
  [
    'rewrites',
    `
hosts: [reviews]
http:
- rewrite: {}
  route: [{destination: {host: a}}]
- match: [{port: 1}]
  rewrite: {uri: /, uriRegexRewrite: {match: "(", rewrite: x}}
  route: [{destination: {host: a}}]
- match: [{port: 2}]
  rewrite: {uriRegexRewrite: {match: a}}
  route: [{destination: {host: a}}]`,
    [
      '3:12 error spec.http[0].rewrite: one of uri, uriRegexRewrite and authority is needed',
      '5:3 warning spec.http[1]: is never used: rule 0 before it matches everything',
      '6:21 error spec.http[1].rewrite.uriRegexRewrite: excludes uri',
      "6:46 error spec.http[1].rewrite.uriRegexRewrite.match: no regular expression in RE2's syntax: missing closing ): `(`",
      '8:3 warning spec.http[2]: is never used: rule 0 before it matches everything',
      '9:30 error spec.http[2].rewrite.uriRegexRewrite: match and rewrite are needed',
    ],
  ],
  [
    'direct responses',
    `
hosts: [reviews]
http:
- directResponse: {status: 99}`,
    ['3:28 error spec.http[0].directResponse.status: a status is a number from 200 to 599, not 99'],
  ],
  [
    'CORS',
    `
hosts: [reviews]
http:
- corsPolicy:
    allowOrigins: [{}, {regex: "("}]
    allowMethods: [FETCH]
    allowHeaders: ["a b", "*"]
    exposeHeaders: [""]
    maxAge: 1.5s
  route: [{destination: {host: a}}]`,
    [
      '4:20 error spec.http[0].corsPolicy.allowOrigins[0]: exact, prefix or regex is needed',
      "4:32 error spec.http[0].corsPolicy.allowOrigins[1].regex: no regular expression in RE2's syntax: missing closing ): `(`",
      '5:20 error spec.http[0].corsPolicy.allowMethods[0]: "FETCH" is no method: one of GET, HEAD, POST, PUT, PATCH, DELETE, CONNECT, OPTIONS, TRACE, *',
      '6:20 error spec.http[0].corsPolicy.allowHeaders[0]: "a b" is no header name',
      '7:21 error spec.http[0].corsPolicy.exposeHeaders[0]: "" is no header name',
      '8:13 error spec.http[0].corsPolicy.maxAge: only whole seconds are supported',
    ],
  ],
  [
    'TLS routes',
    `
hosts: [a.example.com]
tls:
- match: [{sniHosts: []}, {sniHosts: [b.example.com], port: 99999, destinationSubnets: [10.0.0.0/33]}]`,
    [
      '3:3 error spec.tls[0]: route is needed',
      '3:12 error spec.tls[0].match[0].sniHosts: one host at least is needed',
      '3:39 error spec.tls[0].match[1].sniHosts[0]: "b.example.com" is not among the hosts of the VirtualService (a.example.com)',
      '3:61 error spec.tls[0].match[1].port: a port is a number from 1 to 65535, not 99999',
      '3:89 error spec.tls[0].match[1].destinationSubnets[0]: "10.0.0.0/33" is no IP address or CIDR block',
    ],
  ],
  [
    'TCP routes',
    `
hosts: [a.example.com]
tcp:
- match: [{destinationSubnets: [x]}]
- route:
  - destination: {host: a}
  - destination: {host: b}`,
    [
      '3:3 error spec.tcp[0]: route is needed',
      '3:33 error spec.tcp[0].match[0].destinationSubnets[0]: "x" is no IP address or CIDR block',
      '4:3 error spec.tcp[1].route: with several destinations, one weight at least must be more than 0',
    ],
  ],
  [
    'exportTo',
    `
hosts: [reviews]
exportTo: [".", default, "~", "*"]
http: [{route: [{destination: {host: a}}]}]`,
    [
      '2:11 error spec.exportTo: "*" (everybody) excludes all other entries',
      '2:11 error spec.exportTo: "~" (nobody) excludes all other entries',
      '2:17 error spec.exportTo[1]: "default" is given twice',
      '2:26 error spec.exportTo[2]: "~" (nobody) is for ServiceEntries alone',
    ],
  ],
  [
    'rules that are never reached',
    `
hosts: [reviews]
http:
- match: [{uri: {prefix: /a}}]
  route: [{destination: {host: a}}]
- match: [{uri: {prefix: /ab}}, {uri: {prefix: /a}}]
  route: [{destination: {host: a}}]
- match: [{name: again, uri: {prefix: /a}}]
  route: [{destination: {host: a}}]
- name: all
  route: [{destination: {host: a}}]
- match: [{uri: {prefix: /b}}]
  route: [{destination: {host: a}}]
- route: [{destination: {host: a}}]`,
    [
      '5:11 warning spec.http[1].match[0]: is never used: match 0 (prefix /a) of rule 0 takes its requests before',
      '5:33 warning spec.http[1].match[1]: is never used: rule 0 matches the same',
      '7:3 warning spec.http[2]: is never used: all its matches are those of rules before it',
      '7:11 warning spec.http[2].match[0]: is never used: rule 0 matches the same',
      '11:3 warning spec.http[4]: is never used: rule "all" before it matches everything',
      '13:3 warning spec.http[5]: is never used: rule "all" before it matches everything',
    ],
  ],
])
