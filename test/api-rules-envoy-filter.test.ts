import { rulesOf } from './support/rules.ts'

rulesOf('Telemetry', [
  [
    'sampling and tags',
    `
tracing:
- randomSamplingPercentage: 101
  providers: [{name: ""}, {name: b}]
  customTags:
    a: {literal: {value: ""}}`,
    [
      '2:29 error spec.tracing[0].randomSamplingPercentage: a percentage is a number from 0 to 100, not 101',
      '3:3 warning spec.tracing[0].providers: only the first provider has an effect',
      '3:22 error spec.tracing[0].providers[0].name: must not be empty',
      '5:26 error spec.tracing[0].customTags.a.literal.value: must not be empty',
    ],
  ],
  [
    'overrides',
    `
metrics:
- overrides:
  - tagOverrides:
      a: {operation: UPSERT}
      b: {operation: REMOVE, value: c}`,
    [
      '4:10 error spec.metrics[0].overrides[0].tagOverrides.a: the operation UPSERT (the value when it is not set) needs a value',
      '5:30 error spec.metrics[0].overrides[0].tagOverrides.b.value: has no place with the operation REMOVE',
    ],
  ],
  [
    'filters are CEL',
    `
accessLogging:
- filter: {expression: "response.code >= 400"}
- filter: {expression: "response.code >="}`,
    ['3:24 error spec.accessLogging[1].filter.expression: no CEL expression: 1:15: found > but expecting end of input'],
  ],
])

rulesOf('ProxyConfig', [
  [
    'concurrency',
    `
concurrency: -1`,
    ['1:14 error spec.concurrency: must not be negative, is -1'],
  ],
])

rulesOf('EnvoyFilter', [
  [
    'applyTo, patch, operation and value',
    `
configPatches:
- patch: {operation: MERGE, value: {}}
- applyTo: CLUSTER
- applyTo: CLUSTER
  patch: {value: {}}
- applyTo: CLUSTER
  patch: {operation: ADD}`,
    [
      '2:3 error spec.configPatches[0]: applyTo is needed',
      '3:3 error spec.configPatches[1]: patch is needed',
      '5:3 error spec.configPatches[2].patch: operation is needed',
      '7:3 error spec.configPatches[3].patch: value is needed for the operation ADD',
    ],
  ],
  [
    'matches fit applyTo',
    `
configPatches:
- applyTo: HTTP_FILTER
  match: {cluster: {name: a}}
  patch: {operation: REMOVE}
- applyTo: CLUSTER
  match: {listener: {name: a}}
  patch: {operation: REMOVE}
- applyTo: HTTP_ROUTE
  match: {listener: {name: a}}
  patch: {operation: REMOVE}`,
    [
      '3:11 error spec.configPatches[0].match.cluster: a match for applyTo HTTP_FILTER is one on listener',
      '4:22 warning spec.configPatches[0].patch.operation: has no effect without a match on listener.filterChain.filter.subFilter',
      '6:11 error spec.configPatches[1].match.listener: a match for applyTo CLUSTER is one on cluster',
      '9:11 error spec.configPatches[2].match.listener: a match for applyTo HTTP_ROUTE is one on routeConfiguration',
    ],
  ],
  [
    'subFilter is for HTTP_FILTER under the connection manager',
    `
configPatches:
- applyTo: NETWORK_FILTER
  match: {listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: a}}}}}
  patch: {operation: REMOVE}
- applyTo: HTTP_FILTER
  match: {listener: {filterChain: {filter: {name: envoy.filters.network.tcp_proxy, subFilter: {name: a}}}}}
  patch: {operation: REMOVE}
- applyTo: HTTP_FILTER
  match: {listener: {filterChain: {filter: {name: envoy.http_connection_manager, subFilter: {}}}}}
  patch: {operation: REMOVE}
- applyTo: HTTP_FILTER
  match: {listener: {filterChain: {filter: {}}}}
  patch: {operation: REMOVE}
- applyTo: LISTENER
  match: {listener: {filterChain: {filter: {name: a}}}, proxy: {proxyVersion: "("}}
  patch: {operation: REMOVE}`,
    [
      '3:98 error spec.configPatches[0].match.listener.filterChain.filter.subFilter: goes with applyTo HTTP_FILTER alone',
      '6:84 error spec.configPatches[1].match.listener.filterChain.filter.subFilter: needs a filter match on envoy.filters.network.http_connection_manager',
      '9:51 warning spec.configPatches[2].match.listener.filterChain.filter.name: an old name, which matches nothing any more: write "envoy.filters.network.http_connection_manager"',
      '9:82 error spec.configPatches[2].match.listener.filterChain.filter.subFilter: name is needed',
      '12:36 error spec.configPatches[3].match.listener.filterChain.filter: name is needed',
      '13:22 warning spec.configPatches[3].patch.operation: has no effect without a match on listener.filterChain.filter.subFilter',
      '15:36 warning spec.configPatches[4].match.listener.filterChain.filter: has no effect with applyTo LISTENER',
      '15:79 error spec.configPatches[4].match.proxy.proxyVersion: no regular expression: missing closing ): `(`',
    ],
  ],
  [
    'only one kind of match',
    `
configPatches:
- applyTo: HTTP_FILTER
  match: {cluster: {name: a}, listener: {name: a}}
  patch: {operation: REMOVE}`,
    [
      '3:20 error spec.configPatches[0].match.cluster: only one of listener, routeConfiguration, cluster, waypoint may be set',
    ],
  ],
  [
    'a filter behind the router',
    `
configPatches:
- applyTo: HTTP_FILTER
  patch: {operation: ADD, value: {name: a}}`,
    [
      '3:22 warning spec.configPatches[0].patch.operation: appends behind the router, which Envoy refuses: write INSERT_BEFORE, with a subFilter match on envoy.filters.http.router',
    ],
  ],
  [
    'operations that istiod does not apply',
    `
configPatches:
- applyTo: ROUTE_CONFIGURATION
  patch: {operation: REMOVE}
- applyTo: HTTP_ROUTE
  patch: {operation: REPLACE, value: {}}
- applyTo: NETWORK_FILTER
  patch: {operation: MERGE_AND_REPLACE_LIST, value: {}}
- applyTo: LISTENER_FILTER
  match: {listener: {portName: http}}
  patch: {operation: MERGE, value: {}}
- applyTo: HTTP_ROUTE
  patch: {operation: ADD, value: {}}
- applyTo: CLUSTER
  patch: {operation: INSERT_FIRST, value: {}}`,
    [
      '3:22 warning spec.configPatches[0].patch.operation: has no effect: istiod applies only MERGE, MERGE_AND_REPLACE_LIST to ROUTE_CONFIGURATION',
      '5:22 warning spec.configPatches[1].patch.operation: has no effect: istiod applies only MERGE, MERGE_AND_REPLACE_LIST, ADD, REMOVE, INSERT_BEFORE, INSERT_AFTER, INSERT_FIRST to HTTP_ROUTE',
      '7:22 warning spec.configPatches[2].patch.operation: has no effect: istiod applies only MERGE, ADD, REMOVE, REPLACE, INSERT_BEFORE, INSERT_AFTER, INSERT_FIRST to NETWORK_FILTER',
      '9:22 warning spec.configPatches[3].match.listener.portName: has no effect: istiod does not look at it',
      '10:22 warning spec.configPatches[3].patch.operation: has no effect without a match on listener.listenerFilter',
    ],
  ],
  [
    'a local rate limit that is not on',
    `
configPatches:
- applyTo: HTTP_FILTER
  patch:
    operation: INSERT_BEFORE
    value:
      name: envoy.filters.http.local_ratelimit
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
        stat_prefix: a
        token_bucket: {max_tokens: 1, fill_interval: 1s}`,
    [
      '7:7 warning spec.configPatches[0].patch.value.typed_config: a local rate limit without filter_enabled never limits: its default is 0 %',
    ],
  ],
  [
    'a TypedStruct of something unknown',
    `
configPatches:
- applyTo: HTTP_FILTER
  patch:
    operation: INSERT_BEFORE
    value:
      name: my.filter
      typed_config:
        "@type": type.googleapis.com/udpa.type.v1.TypedStruct
        a: b`,
    [
      '7:7 error spec.configPatches[0].patch.value.typed_config: a TypedStruct needs type_url, and its fields under value: Envoy refuses the listener with it',
    ],
  ],
])
