import { describe, expect, it } from 'vitest'
import { loadText } from '../src/api/load.ts'

/** What is said about a document, without the places. */
function said(kind: string, spec: string, version = 'v1'): string[] {
  const text = `apiVersion: gateway.networking.k8s.io/${version}\nkind: ${kind}\nmetadata: {name: a}\nspec: ${spec}\n`
  return loadText('f.yaml', text).problems.map(({ severity, message }) => `${severity} ${message}`)
}

const rule = (text: string) => `{parentRefs: [{name: g}], rules: [{${text}}]}`
const at = 'error spec.rules[0]'

describe('an HTTPRoute', () => {
  it('gets the defaults of the API server', () => {
    const text = `{apiVersion: gateway.networking.k8s.io/v1beta1, kind: HTTPRoute, metadata: {name: a}, spec: {parentRefs: [{name: g}]}}`
    expect(loadText('f.yaml', text).objects[0]).toMatchObject({
      kind: 'HTTPRoute',
      spec: {
        parentRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'g' }],
        rules: [{ matches: [{ path: { type: 'PathPrefix', value: '/' } }] }],
      },
    })
  })

  it.each([
    ['matches: [{path: {value: api}}]', `${at}.matches[0].path.value: must be an absolute path, for type PathPrefix`],
    ['matches: [{path: {value: /a//b}}]', `${at}.matches[0].path.value: must not contain "//", for type PathPrefix`],
    [
      'matches: [{path: {type: exact, value: /a}}]',
      `${at}.matches[0].path.type: the string "exact" is not allowed: did you mean "Exact"?`,
    ],
    [
      'matches: [{headers: [{name: "a b", value: x}]}]',
      `${at}.matches[0].headers[0].name: expected a header name, got the string "a b"`,
    ],
    ['backendRefs: [{name: b}]', `${at}.backendRefs[0]: must have a port, for a Service`],
    [
      'backendRefs: [{name: b, port: 80, wieght: 1}]',
      `${at}.backendRefs[0]: unknown field "wieght": did you mean "weight"?`,
    ],
    ['filters: [{type: CORS}]', `${at}.filters[0]: cors must be specified for type CORS`],
    [
      'filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}], matches: [{path: {type: Exact, value: /a}}]',
      `${at}: when using URLRewrite with path.replacePrefixMatch, exactly one PathPrefix match must be specified`,
    ],
    [
      'filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}], backendRefs: [{name: b, port: 80}]',
      `${at}: a RequestRedirect filter must not be used together with backendRefs`,
    ],
    [
      'timeouts: {request: 1s, backendRequest: 2s}',
      `${at}.timeouts.backendRequest: cannot be longer than the request timeout`,
    ],
    [
      'timeouts: {request: 1m30}',
      `${at}.timeouts.request: expected a duration such as "10s", "500ms" or "1h30m", got the string "1m30"`,
    ],
    [
      'sessionPersistence: {sessionName: s}',
      'warning spec.rules[0].sessionPersistence: has no effect: Istio does not do sessionPersistence',
    ],
  ])('with %s', (text, message) => {
    expect(said('HTTPRoute', rule(text))).toEqual([message])
  })

  it('refers to the same parent in different ways only', () => {
    expect(said('HTTPRoute', '{parentRefs: [{name: g}, {name: g, sectionName: s}]}')).toEqual([
      'error spec.parentRefs[1]: sectionName or port must be specified when parentRefs includes 2 or more references to the same parent',
    ])
    expect(said('HTTPRoute', '{parentRefs: [{name: g, sectionName: r}, {name: g, sectionName: s}]}')).toEqual([])
    expect(said('HTTPRoute', '{}')).toEqual(['warning spec: has no parentRefs, so it has no effect'])
  })
})

describe('a Gateway', () => {
  const listeners = (text: string) => said('Gateway', `{gatewayClassName: istio, listeners: [${text}]}`)

  it.each([
    [
      '{name: a, port: 80, protocol: HTTP, tls: {certificateRefs: [{name: c}]}}',
      ['spec.listeners[0].tls: must not be specified for protocol HTTP'],
    ],
    [
      '{name: a, port: 443, protocol: HTTPS, tls: {mode: Passthrough}}',
      ['spec.listeners[0].tls.mode: must be Terminate for protocol HTTPS'],
    ],
    ['{name: a, port: 443, protocol: TLS}', ['spec.listeners[0]: tls.mode must be set for protocol TLS']],
    [
      '{name: a, port: 90, protocol: TCP, hostname: a.b}',
      ['spec.listeners[0].hostname: must not be specified for protocol TCP'],
    ],
    [
      '{name: a, port: 443, protocol: HTTPS, tls: {}}',
      ['spec.listeners[0].tls: certificateRefs or options must be specified when mode is Terminate'],
    ],
    ['{name: a, port: 0, protocol: HTTP}', ['spec.listeners[0].port: must be at least 1, is the number 0']],
    [
      '{name: a, port: 80, protocol: HTTP}, {name: a, port: 80, protocol: HTTP}',
      [
        'spec.listeners[1].name: "a" is the name of another listener',
        'spec.listeners[1]: port, protocol and hostname must differ from those of every other listener',
      ],
    ],
  ])('with listeners %s', (text, messages) => {
    expect(listeners(text).sort()).toEqual(messages.map((message) => `error ${message}`).sort())
  })

  it('is told from Istio’s own by its group', () => {
    const [own, api] = loadText(
      'f.yaml',
      '{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a}, spec: {servers: [{port: {number: 80, name: h, protocol: HTTP}, hosts: ["*"]}]}}\n---\n{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: a}, spec: {gatewayClassName: istio, listeners: [{name: h, port: 80, protocol: HTTP}]}}',
    ).objects
    expect([own?.kind, api?.kind]).toEqual(['Gateway', 'KubernetesGateway'])
  })

  it('has the versions that are served', () => {
    expect(said('GRPCRoute', '{}', 'v1alpha2')).toEqual([
      'error GRPCRoute has no version v1alpha2: use gateway.networking.k8s.io/v1',
    ])
  })
})
