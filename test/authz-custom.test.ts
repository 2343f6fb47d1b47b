import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type App, startApp } from './support/app.ts'
import { type GrpcAuthorizer, startGrpcAuthorizer } from './support/grpc-authorizer.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

/** A policy that asks `provider`, with rules of its own. */
const custom = (provider: string, rules: string, name = 'ask', more = '') => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: default${more}}
spec:
  selector: {matchLabels: {app: reviews}}
  action: CUSTOM
  provider: {name: ${provider}}
  rules: ${rules}
---`

const policy = (name: string, spec: string) => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: default}
spec:
  selector: {matchLabels: {app: reviews}}
  ${spec}
---`

const ADMIN = '[{to: [{operation: {paths: ["/admin*"]}}]}]'

const provider = (name: string, kind: string, settings: string) =>
  `      - name: ${name}\n        envoyExtAuthz${kind}: {${settings}}\n`

const meshConfig = (providers: string) => `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    accessLogFormat: "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%\\n"
    extensionProviders:
${providers.replace(/^ {6}/gm, '    ')}---`

const HTTP = 'service: authz.default.svc.cluster.local, port: 9080'
const GRPC = 'service: default/grpc-authz.default.svc.cluster.local, port: 9080'

const PROVIDERS = [
  provider('plain', 'Http', HTTP),
  provider(
    'full',
    'Http',
    `${HTTP}, pathPrefix: /check, includeRequestHeadersInCheck: [x-token, "x-a-*"], includeAdditionalHeadersInCheck: {x-asked-by: mesh}, includeRequestBodyInCheck: {maxRequestBytes: 5, allowPartialMessage: true}, headersToUpstreamOnAllow: [x-user], headersToDownstreamOnDeny: [x-why], headersToDownstreamOnAllow: [x-seen]`,
  ),
  provider('grpc', 'Grpc', `${GRPC}, includeRequestBodyInCheck: {maxRequestBytes: 100, packAsBytes: true}`),
  provider('slow', 'Http', `${HTTP}, pathPrefix: /slow, timeout: 0.1s`),
  provider('slow-grpc', 'Grpc', `${GRPC}, timeout: 0.1s, statusOnError: "503"`),
  provider('slow-open', 'Http', `${HTTP}, pathPrefix: /slow, timeout: 0.1s, failOpen: true`),
  provider('down', 'Http', 'service: nobody.default.svc.cluster.local, port: 9080, statusOnError: "429"'),
  provider('outside', 'Http', 'service: authz.example.com, port: 80'),
  provider('unknown-service', 'Http', 'service: nowhere.example.com, port: 80'),
  provider('star', 'Http', `${HTTP}, headersToUpstreamOnAllow: ["*"]`),
].join('')

describe('AuthorizationPolicy with the action CUSTOM', () => {
  let mesh: TestMesh
  let authz: App
  let grpc: GrpcAuthorizer
  let entry: string
  const waiting: (() => void)[] = []
  beforeAll(async () => {
    authz = await startApp((request, response) => {
      const url = request.url ?? ''
      if (url.startsWith('/slow')) {
        waiting.push(() => response.end())
        return
      }
      let body = ''
      request.on('data', (chunk) => {
        body += chunk
      })
      request.on('end', () => {
        const allowed = request.headers['x-token'] === 'good' || body === 'allow'
        response.setHeader('x-why', 'because')
        response.setHeader('x-seen', 'yes')
        response.setHeader('x-user', 'anna')
        response.setHeader('x-other', 'no')
        response.writeHead(allowed ? 200 : 401).end(allowed ? '' : 'who are you?')
      })
    })
    grpc = await startGrpcAuthorizer(({ attributes }) => {
      const { path = '', headers = {} } = attributes?.request?.http ?? {}
      if (path.includes('slow')) return undefined
      if (headers['x-token'] === 'good') {
        const header = { key: 'x-user', value: 'otto' }
        return { status: { code: 0 }, httpResponse: { case: 'okResponse', value: { headers: [{ header }] } } }
      }
      const deniedResponse = { status: { code: 402 }, body: 'pay first' }
      return { status: { code: 7 }, httpResponse: { case: 'deniedResponse', value: deniedResponse } }
    })
    entry = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: authz, namespace: default}
spec:
  hosts: [authz.example.com]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, ports: {http: ${authz.port}}}]
---`
    mesh = await startMesh(
      {
        'mesh.yaml': meshConfig(PROVIDERS),
        'base.yaml': [
          client(),
          client('other'),
          service('reviews'),
          pod('reviews', 'v1'),
          service('authz'),
          pod('authz', 'v1', { annotations: authz.annotation }),
          service('grpc-authz', 'default', { name: 'grpc', port: 9080 }),
          pod('grpc-authz', 'v1', { annotations: grpc.annotation }),
          service('nobody'),
          entry,
          `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}}
---`,
        ].join(''),
        'policies.yaml': '',
      },
      { watch: true },
    )
  })
  afterEach(() => {
    authz.requests.length = 0
    grpc.asked.length = 0
    for (const answer of waiting.splice(0)) answer()
  })
  afterAll(async () => {
    await mesh?.stop()
    await authz?.close()
    grpc?.close()
  })
  const use = (...policies: string[]) => mesh.write('policies.yaml', policies.join(''))
  let asks = 0
  const ask = (path: string, send = {}) => {
    asks++
    return mesh.get('client', `http://reviews:9080${path}`, send)
  }
  const good = { headers: { 'x-token': 'good' } }
  const lastLog = async () => {
    const lines = await mesh.logLines('default', 'reviews-v1', asks)
    return lines.at(-1)
  }

  it('asks an HTTP authorizer about what its rules match, and about nothing else', async () => {
    await use(custom('plain', ADMIN))
    expect((await ask('/public')).status).toBe(200)
    expect(authz.requests).toHaveLength(0)
    const denied = await ask('/admin?x=1')
    expect([denied.status, denied.text]).toEqual([401, 'who are you?'])
    expect(authz.requests).toHaveLength(1)
    const [asked] = authz.requests
    expect(asked!.url).toBe('/admin?x=1')
    expect(asked!.headers.host).toBe('reviews:9080')
    expect(asked!.headers['content-length']).toBe('0')
    // The mesh's own mutual TLS leads to the authorizer: it comes from the server's sidecar.
    expect(asked!.headers['x-forwarded-client-cert']).toContain('URI=spiffe://cluster.local/ns/default/sa/reviews')
    // Headers of the request are not shown unless the provider says so.
    expect((await ask('/admin', good)).status).toBe(401)
  })

  it('shows the authorizer the headers and the body it may see, and passes on what it answers', async () => {
    await use(custom('full', ADMIN))
    const allowed = await ask('/admin', {
      headers: { 'x-token': 'good', 'x-a-b': '1', 'x-b': '2' },
      body: 'hello world',
    })
    expect(allowed.status).toBe(200)
    const [asked] = authz.requests
    expect(asked!.url).toBe('/check/admin')
    expect(asked!.method).toBe('POST')
    expect(asked!.headers).toMatchObject({
      'x-token': 'good',
      'x-a-b': '1',
      'x-asked-by': 'mesh',
      'content-length': '5',
    })
    expect(asked!.headers['x-b']).toBeUndefined()
    expect(asked!.headers['x-envoy-auth-partial-body']).toBe('true')
    expect(allowed.echo!.request.headers['x-user']).toBe('anna')
    expect(allowed.echo!.request.headers['x-other']).toBeUndefined()
    expect(allowed.headers['x-seen']).toBe('yes')
    const denied = await ask('/admin')
    expect(denied.status).toBe(401)
    expect(denied.headers['x-why']).toBe('because')
    expect(denied.headers['x-seen']).toBeUndefined()
    expect((await ask('/admin', { body: 'allow' })).status).toBe(200)
  })

  it('asks a gRPC authorizer, which is told who calls', async () => {
    await use(custom('grpc', ADMIN))
    const denied = await ask('/admin/x', { body: 'abc' })
    expect([denied.status, denied.text]).toEqual([402, 'pay first'])
    const allowed = await ask('/admin', good)
    expect(allowed.status).toBe(200)
    expect(allowed.echo!.request.headers['x-user']).toBe('otto')
    const { source, destination, request } = grpc.asked[0]!.attributes!
    expect(source!.principal).toBe('spiffe://cluster.local/ns/default/sa/client')
    expect(destination!.principal).toBe('spiffe://cluster.local/ns/default/sa/reviews')
    expect(request!.http).toMatchObject({ method: 'POST', path: '/admin/x', host: 'reviews:9080' })
    expect(Buffer.from(request!.http!.rawBody).toString()).toBe('abc')
    expect((await ask('/')).status).toBe(200)
    expect(grpc.asked).toHaveLength(2)
  })

  it('asks an authorizer outside the mesh, by a ServiceEntry', async () => {
    await use(custom('outside', ADMIN))
    expect((await ask('/admin')).status).toBe(401)
    expect(authz.requests).toHaveLength(1)
    expect(authz.requests[0]!.headers['x-forwarded-client-cert']).toBeUndefined()
  })

  it('without an answer in time: 403, or the status of the provider, or open', async () => {
    await use(custom('slow', ADMIN))
    expect((await ask('/admin')).status).toBe(403)
    expect(await lastLog()).toBe('403 ext_authz_error UAEX')
    await use(custom('slow-grpc', ADMIN))
    expect((await ask('/admin/slow')).status).toBe(503)
    await use(custom('slow-open', ADMIN))
    expect((await ask('/admin')).status).toBe(200)
    await use(custom('down', ADMIN))
    expect((await ask('/admin')).status).toBe(429)
    expect((await ask('/')).status).toBe(200)
  })

  it('comes before DENY and ALLOW, which still have their say', async () => {
    await use(
      custom('plain', '[{}]'),
      policy('never', 'action: DENY\n  rules: [{to: [{operation: {paths: ["/never"]}}]}]'),
    )
    expect((await ask('/never')).status).toBe(401)
    expect(await lastLog()).toBe('401 ext_authz_denied UAEX')
    await use(
      custom('full', '[{}]'),
      policy('never', 'action: DENY\n  rules: [{to: [{operation: {paths: ["/never"]}}]}]'),
      policy('some', 'rules: [{to: [{operation: {paths: ["/some", "/never"]}}]}]'),
    )
    expect((await ask('/never', good)).text).toBe('RBAC: access denied')
    expect((await ask('/other', good)).status).toBe(403)
    expect((await ask('/some', good)).status).toBe(200)
    expect(authz.requests).toHaveLength(4)
  })

  it('nobody to ask: what the policy matches is denied, and a warning names the line', async () => {
    const seen = mesh.events.length
    await use(custom('nobody', ADMIN))
    expect((await ask('/admin', good)).text).toBe('RBAC: access denied')
    expect(await lastLog()).toBe(
      '403 rbac_access_denied_matched_policy[istio-ext-authz-nobody-ns[default]-policy[ask]-rule[0]-deny-due-to-bad-CUSTOM-action] -',
    )
    expect((await ask('/public')).status).toBe(200)
    const warned = async (name: string) => {
      await use(custom(name, ADMIN))
      expect((await ask('/admin', good)).status).toBe(403)
    }
    await warned('unknown-service')
    await warned('star')
    const problems = mesh.events.slice(seen).flatMap((event) => (event.type === 'problems' ? event.problems : []))
    expect(problems.map(({ line, message }) => [line, message.replace(/\[.*\]$/, '').trim()])).toEqual([
      [8, expect.stringContaining('"nobody"')],
      [8, expect.stringContaining('no service "nowhere.example.com"')],
      [8, expect.stringContaining('headersToUpstreamOnAllow: "*" alone is not supported')],
    ])
  })

  it.each(['plain', 'grpc'])('out of the reach of its Sidecar, %s cannot be asked: denied', async (name) => {
    const narrow = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: default}
spec: {workloadSelector: {labels: {app: reviews}}, egress: [{hosts: ["istio-system/*"]}]}
---`
    await use(custom(name, ADMIN), narrow)
    expect((await ask('/admin', good)).status).toBe(403)
    expect(await lastLog()).toBe('403 ext_authz_error UAEX')
    expect((await ask('/public')).status).toBe(200)
  })

  it('two providers on one workload: both are denied, since one cannot be chosen', async () => {
    const seen = mesh.events.length
    await use(custom('plain', ADMIN, 'a'), custom('grpc', '[{to: [{operation: {paths: ["/b"]}}]}]', 'b'))
    expect((await ask('/admin', good)).status).toBe(403)
    expect((await ask('/b', good)).status).toBe(403)
    expect((await ask('/c')).status).toBe(200)
    expect(authz.requests.length + grpc.asked.length).toBe(0)
    const problems = mesh.events.slice(seen).flatMap((event) => (event.type === 'problems' ? event.problems : []))
    expect(problems.map(({ message }) => message)).toEqual([
      expect.stringContaining('PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS'),
      expect.stringContaining('more than one provider (grpc, plain)'),
    ])
  })
})

describe('AuthorizationPolicy with the action CUSTOM, of several providers', () => {
  it('asks each about its own rules once that is switched on', async () => {
    const one = await startApp((_request, response) => response.writeHead(200).end())
    const two = await startApp((_request, response) => response.writeHead(418).end())
    const providers = [
      provider('one', 'Http', 'service: one.default.svc.cluster.local, port: 9080'),
      provider('two', 'Http', 'service: two.default.svc.cluster.local, port: 9080'),
    ].join('')
    const mesh = await startMesh(
      [
        meshConfig(providers),
        client(),
        service('reviews'),
        pod('reviews', 'v1'),
        service('one'),
        pod('one', 'v1', { annotations: one.annotation }),
        service('two'),
        pod('two', 'v1', { annotations: two.annotation }),
        custom('one', '[{to: [{operation: {paths: ["/1", "/12"]}}]}]', 'first'),
        custom('two', '[{to: [{operation: {paths: ["/2", "/12"]}}]}]', 'second'),
      ].join(''),
      { env: { PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS: 'true' } },
    )
    try {
      const status = async (path: string) => (await mesh.get('client', `http://reviews:9080${path}`)).status
      expect([await status('/1'), await status('/2'), await status('/12'), await status('/')]).toEqual([
        200, 418, 418, 200,
      ])
      expect(one.requests.map(({ url }) => url)).toEqual(['/1', '/12'])
      expect(two.requests.map(({ url }) => url)).toEqual(['/2', '/12'])
    } finally {
      await mesh.stop()
      await one.close()
      await two.close()
    }
  })
})
