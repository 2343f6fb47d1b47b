import { afterEach, describe, expect, it } from 'vitest'
import { loadText } from '../src/api/load.ts'
import { makeAuthority, makeIdentity } from './support/certificates.ts'
import { ask, gatewayYaml, secretYaml } from './support/gateway.ts'
import { pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const base = gatewayYaml() + service('reviews') + pod('reviews', 'v1') + service('ratings') + pod('ratings', 'v1')
const path = (text: string, type: string, to = 'ratings', port = 'number: 9080') =>
  `{path: "${text}", pathType: ${type}, backend: {service: {name: ${to}, port: {${port}}}}}`
const ingress = (spec: string, more = 'annotations: {kubernetes.io/ingress.class: istio}', name = 'shop') => `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: ${name}, ${more}}
spec: {${spec}}
---`

describe('Ingress', () => {
  let mesh: TestMesh | undefined
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })
  const who = async (host: string, at = '/') => {
    const answer = await ask(mesh as TestMesh, host, { path: at })
    return answer.status === 200 ? answer.echo.workload : answer.status
  }

  it('longer paths come first, exact ones before prefixes, and prefixes are of whole segments', async () => {
    mesh = await startMesh(
      base +
        ingress(
          `rules: [{host: a.com, http: {paths: [${path('/', 'Prefix')}, ${path('/x', 'Prefix', 'reviews')}, ${path('/x', 'Exact')}, ${path('/named', 'Prefix', 'reviews', 'name: http')}]}}]`,
        ),
    )
    expect(await who('a.com', '/x')).toBe('ratings-v1')
    expect(await who('a.com', '/x/y')).toBe('reviews-v1')
    expect(await who('a.com', '/xy')).toBe('ratings-v1')
    expect(await who('a.com', '/named/z')).toBe('reviews-v1')
    expect(await who('b.com')).toBe(404)
  })

  it('a rule without a host is for all, and a default backend for none', async () => {
    mesh = await startMesh(
      base +
        ingress(
          `rules: [{http: {paths: [${path('/a/*', 'ImplementationSpecific')}]}}], defaultBackend: {service: {name: reviews, port: {number: 9080}}}`,
        ),
    )
    expect([await who('any.com', '/a/b'), await who('any.com', '/b')]).toEqual(['ratings-v1', 404])
    const words = mesh.events
      .flatMap((event) => (event.type === 'problems' ? event.problems : []))
      .map((p) => p.message)
    expect(words.join()).toContain('Istio ignores it')
  })

  it('tls ends with the certificate of its secret', async () => {
    const authority = await makeAuthority('CN=ca')
    const identity = await makeIdentity(authority, 'CN=a', [{ type: 'dns', value: 'a.com' }])
    mesh = await startMesh(
      base +
        secretYaml('cert', { 'tls.crt': identity.cert, 'tls.key': identity.key }) +
        ingress(
          `tls: [{hosts: [a.com], secretName: cert}], rules: [{host: a.com, http: {paths: [${path('/', 'Prefix')}]}}]`,
        ),
    )
    const answer = await ask(mesh, 'a.com', { tls: { ca: authority.cert, rejectUnauthorized: true } })
    expect([answer.status, answer.echo.workload]).toEqual([200, 'ratings-v1'])
    expect(await who('a.com')).toBe('ratings-v1')
  })

  it('only classes of Istio are served', async () => {
    const rules = (host: string) => `rules: [{host: ${host}, http: {paths: [${path('/', 'Prefix')}]}}]`
    const className = (name: string, controller: string, more = '') => `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: ${name}${more}}
spec: {controller: ${controller}}
---`
    mesh = await startMesh(
      {
        'mesh.yaml':
          base +
          className('mine', 'istio.io/ingress-controller') +
          className('nginx', 'k8s.io/ingress-nginx') +
          ingress(`ingressClassName: mine, ${rules('mine.com')}`, 'labels: {}', 'one') +
          ingress(`ingressClassName: nginx, ${rules('nginx.com')}`, 'labels: {}', 'two') +
          ingress(rules('none.com'), 'labels: {}', 'three') +
          ingress(rules('other.com'), 'annotations: {kubernetes.io/ingress.class: nginx}', 'four'),
        'default.yaml': '',
      },
      { watch: true },
    )
    expect([await who('mine.com'), await who('nginx.com'), await who('none.com'), await who('other.com')]).toEqual([
      'ratings-v1',
      404,
      404,
      404,
    ])
    // A default class is what the API server gives to those that name none.
    const isDefault = ', annotations: {ingressclass.kubernetes.io/is-default-class: "true"}'
    await mesh.write('default.yaml', className('fallback', 'istio.io/ingress-controller', isDefault))
    expect([await who('none.com'), await who('other.com')]).toEqual(['ratings-v1', 404])
  })

  it('without a gateway in the files one stands in', async () => {
    mesh = await startMesh(
      service('ratings') +
        pod('ratings', 'v1') +
        ingress(`rules: [{host: a.com, http: {paths: [${path('/', 'Prefix')}]}}]`),
    )
    expect(await who('a.com')).toBe('ratings-v1')
  })

  it.each([
    [
      'neither rules nor a default backend',
      ingress('ingressClassName: x', 'labels: {}'),
      'either defaultBackend or rules',
    ],
    ['a path that is none', ingress(`rules: [{http: {paths: [${path('x', 'Prefix')}]}}]`), 'must start with "/"'],
    [
      'a path with an empty segment',
      ingress(`rules: [{http: {paths: [${path('/a//b', 'Exact')}]}}]`),
      'must not hold "//"',
    ],
    [
      'an address for a host',
      ingress(`rules: [{host: 1.2.3.4, http: {paths: [${path('/', 'Prefix')}]}}]`),
      'no IP address',
    ],
    [
      'a backend without a port',
      ingress(`rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a}}}]}}]`),
      'port.number or port.name',
    ],
    [
      'no pathType',
      ingress(`rules: [{http: {paths: [{path: /, backend: {service: {name: a, port: {number: 1}}}}]}}]`),
      'pathType',
    ],
    [
      'a class twice',
      ingress(`ingressClassName: x, rules: [{http: {paths: [${path('/', 'Prefix')}]}}]`),
      'only one of it and the annotation',
    ],
  ])('%s is refused', (_, yaml, words) => {
    const errors = loadText('ingress.yaml', yaml).problems.filter((problem) => problem.severity === 'error')
    expect(errors.map((problem) => problem.message).join()).toContain(words)
  })
})
