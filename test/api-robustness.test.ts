import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { KINDS, writtenKind } from '../src/api/kinds-table.ts'
import { loadText } from '../src/api/load.ts'
import type { Kind } from '../src/api/objects.ts'
import { formatProblems } from '../src/api/problems.ts'

const containers = [{ name: 'a', image: 'a', ports: [{ name: 'http', containerPort: 80 }] }]
const template = { metadata: { labels: { app: 'a' } }, spec: { containers, restartPolicy: 'Always' } }
const selector = { matchLabels: { app: 'a' } }
const job = { template: { spec: { containers, restartPolicy: 'Never' } } }
const pool = {
  tcp: { maxConnections: 1, connectTimeout: '1s', tcpKeepalive: { probes: 1, time: '1s' } },
  http: { maxRetries: 1 },
}

/** A sound body for each kind, with many of its fields. */
const BODIES: Record<Kind, object> = {
  Namespace: {},
  Node: { spec: { podCIDR: '10.0.0.0/8' }, status: { addresses: [{ type: 'InternalIP', address: '10.0.0.1' }] } },
  Service: {
    spec: { ports: [{ name: 'http', port: 80, targetPort: 'http' }], selector: { app: 'a' }, clusterIP: '10.0.0.1' },
  },
  Pod: {
    spec: { containers, serviceAccountName: 'a' },
    status: { podIP: '10.0.0.1', conditions: [{ type: 'Ready', status: 'True' }] },
  },
  Deployment: { spec: { replicas: 2, selector, template } },
  StatefulSet: { spec: { replicas: 2, selector, template, serviceName: 'a' } },
  DaemonSet: { spec: { selector, template } },
  ReplicaSet: { spec: { selector, template } },
  Job: { spec: job },
  CronJob: { spec: { schedule: '* * * * *', jobTemplate: { spec: job } } },
  Endpoints: { subsets: [{ addresses: [{ ip: '10.0.0.1' }], ports: [{ name: 'http', port: 80 }] }] },
  EndpointSlice: {
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.0.0.1'], conditions: { ready: true } }],
    ports: [{ name: 'http', port: 80 }],
  },
  ServiceAccount: { automountServiceAccountToken: false },
  ConfigMap: { data: { a: 'b' } },
  Secret: { type: 'Opaque', data: { a: 'Yg==' }, stringData: { c: 'd' } },
  Ingress: {
    spec: {
      rules: [
        {
          host: 'a.com',
          http: {
            paths: [{ path: '/', pathType: 'Prefix', backend: { service: { name: 'a', port: { number: 80 } } } }],
          },
        },
      ],
      tls: [{ hosts: ['a.com'], secretName: 'a' }],
    },
  },
  IngressClass: { spec: { controller: 'istio.io/ingress-controller' } },
  VirtualService: {
    spec: {
      hosts: ['a', 'b.example.com'],
      gateways: ['mesh', 'ns/gw'],
      exportTo: ['.'],
      http: [
        {
          name: 'one',
          match: [
            {
              uri: { prefix: '/a' },
              headers: { x: { exact: 'y' } },
              queryParams: { q: { regex: '.*' } },
              port: 80,
              sourceLabels: { app: 'a' },
            },
          ],
          route: [
            {
              destination: { host: 'a', subset: 'v1', port: { number: 80 } },
              weight: 1,
              headers: { request: { set: { a: 'b' } } },
            },
          ],
          timeout: '1s',
          retries: { attempts: 1, perTryTimeout: '1s', retryOn: '5xx,503' },
          fault: {
            delay: { fixedDelay: '1s', percentage: { value: 1 } },
            abort: { httpStatus: 500, percentage: { value: 1 } },
          },
          mirrors: [{ destination: { host: 'b' }, percentage: { value: 1 } }],
          corsPolicy: { allowOrigins: [{ exact: '*' }], allowMethods: ['GET'], maxAge: '1s' },
          rewrite: { uri: '/' },
        },
        { match: [{ method: { exact: 'GET' } }], redirect: { uri: '/', redirectCode: 302 } },
        { directResponse: { status: 200, body: { string: 'ok' } } },
      ],
      tls: [{ match: [{ sniHosts: ['b.example.com'], port: 443 }], route: [{ destination: { host: 'a' } }] }],
      tcp: [{ match: [{ destinationSubnets: ['10.0.0.0/8'] }], route: [{ destination: { host: 'a' } }] }],
    },
  },
  DestinationRule: {
    spec: {
      host: 'a',
      trafficPolicy: {
        connectionPool: pool,
        loadBalancer: { localityLbSetting: { distribute: [{ from: 'a/*', to: { 'a/*': 80, 'b/*': 20 } }] } },
        outlierDetection: { consecutive5xxErrors: 1, interval: '1s' },
        tls: { mode: 'ISTIO_MUTUAL' },
        portLevelSettings: [
          { port: { number: 80 }, loadBalancer: { consistentHash: { httpCookie: { name: 'a', ttl: '0s' } } } },
        ],
        tunnel: { targetHost: 'a', targetPort: 80 },
      },
      subsets: [{ name: 'v1', labels: { version: 'v1' }, trafficPolicy: { loadBalancer: { simple: 'RANDOM' } } }],
    },
  },
  ServiceEntry: {
    spec: {
      hosts: ['a.example.com'],
      addresses: ['10.0.0.1'],
      ports: [{ number: 80, name: 'http', protocol: 'HTTP' }],
      resolution: 'STATIC',
      endpoints: [{ address: '10.0.0.2', ports: { http: 8080 }, labels: { app: 'a' }, locality: 'a/b/c', weight: 1 }],
    },
  },
  WorkloadEntry: { spec: { address: '10.0.0.1', ports: { http: 80 }, labels: { app: 'a' } } },
  WorkloadGroup: {
    spec: { template: { ports: { http: 80 } }, metadata: { labels: { app: 'a' } }, probe: { httpGet: { port: 80 } } },
  },
  Gateway: {
    spec: {
      selector: { istio: 'a' },
      servers: [
        {
          port: { number: 443, name: 'https', protocol: 'HTTPS' },
          hosts: ['*/a.example.com'],
          tls: { mode: 'SIMPLE', credentialName: 'a' },
        },
      ],
    },
  },
  Sidecar: {
    spec: {
      workloadSelector: { labels: { app: 'a' } },
      ingress: [
        { port: { number: 80, protocol: 'HTTP', name: 'http' }, defaultEndpoint: '127.0.0.1:80', connectionPool: pool },
      ],
      egress: [{ port: { number: 80, protocol: 'HTTP' }, hosts: ['./*'] }, { hosts: ['ns/*.example.com', '~/*'] }],
      outboundTrafficPolicy: { mode: 'ALLOW_ANY', egressProxy: { host: 'a', port: { number: 80 } } },
    },
  },
  PeerAuthentication: { spec: { selector, mtls: { mode: 'STRICT' }, portLevelMtls: { 80: { mode: 'DISABLE' } } } },
  RequestAuthentication: {
    spec: {
      selector,
      jwtRules: [
        {
          issuer: 'a',
          jwks: '{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"}]}',
          fromHeaders: [{ name: 'a', prefix: 'b' }],
          outputClaimToHeaders: [{ header: 'a', claim: 'b' }],
        },
      ],
    },
  },
  AuthorizationPolicy: {
    spec: {
      action: 'DENY',
      rules: [
        {
          from: [{ source: { principals: ['*'], ipBlocks: ['10.0.0.0/8'] } }],
          to: [{ operation: { paths: ['/a/{*}'], ports: ['80'], methods: ['GET'] } }],
          when: [{ key: 'request.headers[a]', values: ['b'] }],
        },
      ],
    },
  },
  EnvoyFilter: {
    spec: {
      workloadSelector: { labels: { app: 'a' } },
      configPatches: [
        {
          applyTo: 'HTTP_FILTER',
          match: {
            context: 'SIDECAR_INBOUND',
            listener: {
              filterChain: {
                filter: { name: 'envoy.filters.network.http_connection_manager', subFilter: { name: 'a' } },
              },
            },
          },
          patch: {
            operation: 'INSERT_BEFORE',
            value: {
              name: 'envoy.filters.http.local_ratelimit',
              typed_config: {
                '@type': 'type.googleapis.com/udpa.type.v1.TypedStruct',
                token_bucket: { max_tokens: 1 },
              },
            },
          },
        },
      ],
    },
  },
  Telemetry: {
    spec: {
      selector,
      tracing: [
        { providers: [{ name: 'a' }], randomSamplingPercentage: 1, customTags: { a: { literal: { value: 'b' } } } },
      ],
      metrics: [{ overrides: [{ match: { metric: 'REQUEST_COUNT' }, tagOverrides: { a: { value: 'b' } } }] }],
      accessLogging: [{ match: { mode: 'CLIENT' }, filter: { expression: 'response.code >= 400' } }],
    },
  },
  ProxyConfig: { spec: { selector, concurrency: 1, environmentVariables: { a: 'b' } } },
  GatewayClass: { spec: { controllerName: 'istio.io/gateway-controller', description: 'a' } },
  KubernetesGateway: {
    spec: {
      gatewayClassName: 'istio',
      addresses: [{ type: 'Hostname', value: 'a.b' }],
      listeners: [
        {
          name: 'http',
          port: 80,
          protocol: 'HTTP',
          allowedRoutes: { namespaces: { from: 'All' }, kinds: [{ kind: 'HTTPRoute' }] },
        },
        { name: 'https', port: 443, protocol: 'HTTPS', hostname: '*.a.b', tls: { certificateRefs: [{ name: 'a' }] } },
        { name: 'tls', port: 444, protocol: 'TLS', tls: { mode: 'Passthrough' } },
      ],
      tls: {
        frontend: { default: { validation: { caCertificateRefs: [{ group: '', kind: 'ConfigMap', name: 'a' }] } } },
      },
    },
  },
  ListenerSet: { spec: { parentRef: { name: 'a' }, listeners: [{ name: 'http', port: 80, protocol: 'HTTP' }] } },
  HTTPRoute: {
    spec: {
      parentRefs: [
        { name: 'a', sectionName: 'http' },
        { group: '', kind: 'Service', name: 'b', port: 80 },
      ],
      hostnames: ['*.a.b'],
      rules: [
        {
          name: 'one',
          matches: [
            {
              path: { type: 'PathPrefix', value: '/a' },
              headers: [{ name: 'x', value: 'y', type: 'RegularExpression' }],
              queryParams: [{ name: 'q', value: '1' }],
              method: 'GET',
            },
          ],
          filters: [
            {
              type: 'RequestHeaderModifier',
              requestHeaderModifier: { set: [{ name: 'a', value: 'b' }], remove: ['c'] },
            },
            { type: 'URLRewrite', urlRewrite: { path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/b' } } },
            {
              type: 'RequestMirror',
              requestMirror: { backendRef: { name: 'm', port: 80 }, fraction: { numerator: 1 } },
            },
            { type: 'CORS', cors: { allowOrigins: ['https://a.b'], allowMethods: ['GET'], maxAge: 10 } },
          ],
          backendRefs: [
            {
              name: 'b',
              port: 80,
              weight: 1,
              filters: [
                { type: 'ResponseHeaderModifier', responseHeaderModifier: { add: [{ name: 'a', value: 'b' }] } },
              ],
            },
          ],
          timeouts: { request: '2s', backendRequest: '1s' },
          retry: { attempts: 3, codes: [503], backoff: '100ms' },
        },
      ],
    },
  },
  GRPCRoute: {
    spec: {
      parentRefs: [{ name: 'a' }],
      rules: [{ matches: [{ method: { service: 'a.B', method: 'C' } }], backendRefs: [{ name: 'b', port: 80 }] }],
    },
  },
  TCPRoute: { spec: { parentRefs: [{ name: 'a' }], rules: [{ backendRefs: [{ name: 'b', port: 80, weight: 2 }] }] } },
  TLSRoute: {
    spec: { parentRefs: [{ name: 'a' }], hostnames: ['a.b'], rules: [{ backendRefs: [{ name: 'b', port: 80 }] }] },
  },
  ReferenceGrant: {
    spec: {
      from: [{ group: 'gateway.networking.k8s.io', kind: 'HTTPRoute', namespace: 'a' }],
      to: [{ group: '', kind: 'Service', name: 'b' }],
    },
  },
  BackendTLSPolicy: {
    spec: {
      targetRefs: [{ group: '', kind: 'Service', name: 'b', sectionName: 'https' }],
      validation: {
        wellKnownCACertificates: 'System',
        hostname: 'a.b',
        subjectAltNames: [{ type: 'URI', uri: 'a://b' }],
      },
    },
  },
  MeshConfig: {
    spec: {
      accessLogFile: '/dev/stdout',
      extensionProviders: [{ name: 'a', envoyExtAuthzHttp: { service: 'a.default.svc.cluster.local', port: 80 } }],
      defaultConfig: { tracing: { sampling: 1 }, drainDuration: '1s' },
      outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' },
    },
  },
}

const documentOf = (kind: Kind): { file: string; value: Record<string, unknown> } => {
  const { group, versions } = KINDS[kind]
  const body = BODIES[kind] as Record<string, unknown>
  if (kind === 'MeshConfig') return { file: 'mesh.yaml', value: body.spec as Record<string, unknown> }
  const apiVersion = group === '' ? versions[0]! : `${group}/${versions[0]}`
  return {
    file: 'f.yaml',
    value: {
      apiVersion,
      kind: writtenKind(kind),
      metadata: { name: 'a', labels: { 'kubernetes.io/service-name': 'a' } },
      ...body,
    },
  }
}

const kinds = Object.keys(BODIES) as Kind[]

describe('every kind', () => {
  it.each(kinds)('%s loads, strictly as well, but for what is loose', (kind) => {
    const { file, value } = documentOf(kind)
    const { objects, problems } = loadText(file, JSON.stringify(value))
    expect(problems.filter(({ severity }) => severity === 'error')).toEqual([])
    expect(objects).toMatchObject([{ kind, ...(kind === 'EnvoyFilter' ? {} : BODIES[kind]) }])
    const strict = loadText(file, JSON.stringify(value), { strict: true })
    expect(strict.problems.filter(({ severity }) => severity === 'error')).toHaveLength(kind === 'EnvoyFilter' ? 1 : 0)
  })
})

/** All paths of a value, the parts of maps and lists. */
const pathsOf = (value: unknown): (string | number)[][] => {
  if (typeof value !== 'object' || value === null) return [[]]
  const parts: [string | number, unknown][] = Array.isArray(value) ? [...value.entries()] : Object.entries(value)
  return [[], ...parts.flatMap(([key, part]) => pathsOf(part).map((path) => [key, ...path]))]
}

const replace = (value: unknown, path: readonly (string | number)[], by: unknown): unknown => {
  const [first, ...rest] = path
  if (first === undefined) return by
  if (Array.isArray(value)) return value.map((item, i) => (i === first ? replace(item, rest, by) : item))
  const fields = value as Record<string, unknown>
  return { ...fields, [first]: replace(fields[first as string], rest, by) }
}

describe('whatever stands in a field', () => {
  it.each(kinds)('of a %s, there are problems with a place, and never a crash', (kind) => {
    const { file, value } = documentOf(kind)
    const paths = pathsOf(value)
    const odd = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      fc.constantFrom(
        '',
        '*',
        'a/b',
        '%',
        '1s',
        -1,
        70000,
        1e12,
        null,
        [],
        {},
        [{}],
        { '': '' },
        { toString: '' },
        'constructor',
      ),
    )
    fc.assert(
      fc.property(fc.constantFrom(...paths), odd, fc.boolean(), (path, by, strict) => {
        const text = JSON.stringify(replace(value, path, by), null, 1)
        const { problems } = loadText(file, text, { strict })
        for (const { line, col } of problems) expect(Math.min(line, col)).toBeGreaterThanOrEqual(1)
        expect(formatProblems(problems)).toBeTypeOf('string')
      }),
      { numRuns: 30 },
    )
  })

  it('of a file of any text', () => {
    const piece = fc.oneof(
      fc.string(),
      fc.constantFrom(
        '\n',
        '---\n',
        '  ...\n',
        ': ',
        '- ',
        '&a ',
        '*a',
        '{',
        '}',
        '"',
        'kind: Pod\n',
        'apiVersion: v1\n',
        '\t',
        '|\n',
        '<<: ',
      ),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        loadText('f.yaml', pieces.join(''))
      }),
      { numRuns: 150 },
    )
  })
})
