import { rulesOf } from './support/rules.ts'

rulesOf('DestinationRule', [
  [
    'the host is a DNS name',
    `
host: "a b"`,
    ['1:7 error spec.host: "a b" is no DNS name ("a b" is no label)'],
  ],
  [
    'a traffic policy is not empty',
    `
host: a
trafficPolicy: {}`,
    ['2:1 error spec.trafficPolicy: must not be empty'],
  ],
  [
    'subsets',
    `
host: a
subsets:
- name: v1
  labels: {version: "a b"}
- name: v1
- name: v_2`,
    [
      '4:21 error spec.subsets[0].labels.version: "a b" is no label value',
      '5:9 error spec.subsets[1].name: a subset "v1" is there already',
      '6:9 error spec.subsets[2].name: "v_2" is no subset name (at most 63 letters, digits and "-")',
    ],
  ],
  [
    'port-level settings need a port and a block',
    `
host: a
trafficPolicy:
  portLevelSettings:
  - loadBalancer: {simple: RANDOM}
  - port: {number: 80}
  - port: {}
    tls: {mode: DISABLE}`,
    [
      '4:5 error spec.trafficPolicy.portLevelSettings[0]: port is needed',
      '5:5 error spec.trafficPolicy.portLevelSettings[1]: one of loadBalancer, connectionPool, outlierDetection and tls is needed',
      '6:11 error spec.trafficPolicy.portLevelSettings[2].port: a port is a number from 1 to 65535, not 0',
    ],
  ],
  [
    'tunnel excludes proxyProtocol',
    `
host: a
trafficPolicy:
  tunnel: {protocol: GET, targetHost: "a b", targetPort: 0}
  proxyProtocol: {version: V1}`,
    [
      '3:22 error spec.trafficPolicy.tunnel.protocol: must be CONNECT or POST, not "GET"',
      '3:39 error spec.trafficPolicy.tunnel.targetHost: "a b" is neither a DNS name nor an IP address',
      '3:58 error spec.trafficPolicy.tunnel.targetPort: a port is a number from 1 to 65535, not 0',
      '4:3 error spec.trafficPolicy.proxyProtocol: excludes tunnel',
    ],
  ],
  [
    'local origin failures need the split',
    `
host: a
trafficPolicy:
  outlierDetection: {consecutiveLocalOriginFailures: 1, maxEjectionPercent: 101, minHealthPercent: -1, consecutiveErrors: 1, interval: 0s, outlierDetectionHttpErrorCodes: [600]}`,
    [
      '3:22 error spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures: needs "splitExternalLocalOriginErrors: true" beside it',
      '3:77 error spec.trafficPolicy.outlierDetection.maxEjectionPercent: a percentage is a number from 0 to 100, not 101',
      '3:100 error spec.trafficPolicy.outlierDetection.minHealthPercent: a percentage is a number from 0 to 100, not -1',
      '3:104 warning spec.trafficPolicy.outlierDetection.consecutiveErrors: is deprecated, and has no effect: write consecutive5xxErrors or consecutiveGatewayErrors',
      '3:136 error spec.trafficPolicy.outlierDetection.interval: must be at least 1ms, is 0s',
      '3:173 error spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes[0]: a status is a number from 100 to 599, not 600',
    ],
  ],
  [
    'connection pools',
    `
host: a
trafficPolicy:
  connectionPool:
    tcp: {maxConnections: -1, connectTimeout: 0s, idleTimeout: 0s, tcpKeepalive: {time: 1us}}
    http: {http1MaxPendingRequests: -1, h2UpgradePolicy: UPGRADE, useClientProtocol: true, http2KeepAlive: {interval: 1s}}`,
    [
      '4:27 error spec.trafficPolicy.connectionPool.tcp.maxConnections: must not be negative, is -1',
      '4:47 error spec.trafficPolicy.connectionPool.tcp.connectTimeout: must be at least 1ms, is 0s',
      '4:89 error spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.time: must be at least 1ms, is 1us',
      '5:37 error spec.trafficPolicy.connectionPool.http.http1MaxPendingRequests: must not be negative, is -1',
      '5:67 error spec.trafficPolicy.connectionPool.http.useClientProtocol: excludes "h2UpgradePolicy: UPGRADE"',
      '5:92 error spec.trafficPolicy.connectionPool.http.http2KeepAlive: timeout is needed',
    ],
  ],
  [
    'an empty connection pool',
    `
host: a
trafficPolicy:
  connectionPool: {}`,
    ['3:3 error spec.trafficPolicy.connectionPool: http or tcp is needed'],
  ],
  [
    'a load balancer has one policy',
    `
host: a
trafficPolicy:
  loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}`,
    ['3:50 error spec.trafficPolicy.loadBalancer.consistentHash: only one of simple, consistentHash may be set'],
  ],
  [
    'consistent hashing',
    `
host: a
trafficPolicy:
  loadBalancer:
    consistentHash:
      httpCookie: {name: "", attributes: [{name: a}, {name: a}]}
      minimumRingSize: 10
      maglev: {tableSize: 65538}`,
    [
      '5:26 error spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.name: must not be empty',
      '5:61 error spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes[1].name: "a" is given twice',
      '6:7 warning spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize: is deprecated: write "ringHash: {minimumRingSize: …}"',
      '6:7 error spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize: excludes ringHash and maglev',
      '7:27 error spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: must be a prime number, which 65538 is not',
    ],
  ],
  [
    'maglev tables',
    `
host: a
trafficPolicy:
  loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 5000011}}}`,
    [
      '3:74 error spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: must be less than 5000011, is 5000011',
    ],
  ],
  [
    'one key to hash',
    `
host: a
trafficPolicy:
  loadBalancer: {consistentHash: {useSourceIp: true, httpHeaderName: x}}`,
    [
      '3:48 error spec.trafficPolicy.loadBalancer.consistentHash.useSourceIp: only one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName may be set',
    ],
  ],
  [
    'distribute excludes failover',
    `
host: a
trafficPolicy:
  loadBalancer:
    localityLbSetting:
      distribute: [{from: a, to: {a: 100}}]
      failover: [{from: a, to: b}]`,
    ['6:7 error spec.trafficPolicy.loadBalancer.localityLbSetting.failover: excludes distribute'],
  ],
  [
    'shares of distribute',
    `
host: a
trafficPolicy:
  loadBalancer:
    localityLbSetting:
      distribute:
      - from: "a/*"
        to: {"a/*": 80, "b/*": 10}
      - from: "b/*/c"
        to: {a: 0}`,
    [
      '5:7 error spec.trafficPolicy.loadBalancer.localityLbSetting.distribute: "b/*/c": "*" may stand once, at the end',
      '7:9 error spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to: the weights must make 100 together, not 90',
      '9:9 error spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[1].to: the weights must make 100 together, not 0',
      '9:17 error spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[1].to.a: a weight is a number from 1 to 100, not 0',
    ],
  ],
  [
    'failover is between regions',
    `
host: a
trafficPolicy:
  loadBalancer:
    localityLbSetting:
      failover: [{from: a, to: a}, {from: a/b, to: "*"}]`,
    [
      '4:5 warning spec.trafficPolicy.loadBalancer.localityLbSetting: failover needs outlierDetection beside it, and has no effect without',
      '5:18 error spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0]: from and to must be different regions',
      '5:36 error spec.trafficPolicy.loadBalancer.localityLbSetting.failover[1]: failover is between regions: no zone, no "/"',
      '5:36 error spec.trafficPolicy.loadBalancer.localityLbSetting.failover[1]: failover is between regions: no "*"',
    ],
  ],
  [
    'localityLbSetting excludes zoneAwareLbSetting',
    `
host: a
trafficPolicy:
  outlierDetection: {}
  loadBalancer:
    localityLbSetting: {enabled: true}
    zoneAwareLbSetting: {minClusterSize: 0, failoverPriority: [topology.kubernetes.io/zone]}`,
    [
      '6:5 error spec.trafficPolicy.loadBalancer.zoneAwareLbSetting: excludes localityLbSetting',
      '6:42 error spec.trafficPolicy.loadBalancer.zoneAwareLbSetting.minClusterSize: must be at least 1, is 0',
      '6:64 error spec.trafficPolicy.loadBalancer.zoneAwareLbSetting.failoverPriority[0]: "topology.kubernetes.io/zone" is taken care of already',
    ],
  ],
  [
    'warm-up',
    `
host: a
trafficPolicy:
  loadBalancer: {warmup: {duration: 0s, minimumPercent: 101, aggression: 0}}`,
    [
      '3:37 error spec.trafficPolicy.loadBalancer.warmup.duration: must be at least 1ms, is 0s',
      '3:57 error spec.trafficPolicy.loadBalancer.warmup.minimumPercent: a percentage is a number from 0 to 100, not 101',
      '3:74 error spec.trafficPolicy.loadBalancer.warmup.aggression: must be more than 0, is 0',
    ],
  ],
  [
    'client TLS',
    `
host: a
trafficPolicy:
  tls: {mode: MUTUAL, clientCertificate: a}
subsets:
- name: v1
  trafficPolicy:
    tls: {mode: SIMPLE, credentialName: a, caCertificates: b, insecureSkipVerify: true}`,
    [
      '3:3 error spec.trafficPolicy.tls: mode MUTUAL needs privateKey (or credentialName)',
      '7:25 error spec.subsets[0].trafficPolicy.tls.credentialName: excludes insecureSkipVerify',
      '7:44 error spec.subsets[0].trafficPolicy.tls.caCertificates: excludes insecureSkipVerify',
      '7:44 error spec.subsets[0].trafficPolicy.tls.caCertificates: excludes credentialName',
    ],
  ],
  [
    'a workloadSelector is for the own namespace',
    `
host: a
workloadSelector: {matchLabels: {app: "a*"}}
exportTo: ["*"]`,
    [
      '2:39 error spec.workloadSelector.matchLabels.app: a selector has no wildcards',
      '3:11 error spec.exportTo: a DestinationRule with a workloadSelector is for its own namespace alone: write "."',
    ],
  ],
])
