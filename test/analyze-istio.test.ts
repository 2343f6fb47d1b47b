import { beforeAll, describe, expect, it } from 'vitest'
import { analyzed, found, lines } from './support/analysis.ts'
import { makeAuthority, makeIdentity } from './support/certificates.ts'
import { pod, service } from './support/mesh.ts'

const base64 = (text: string) => Buffer.from(text).toString('base64')
const policy = (kind: string, name: string, spec: string, namespace = 'default') => `
apiVersion: security.istio.io/v1
kind: ${kind}
metadata: {name: ${name}, namespace: ${namespace}}
spec: {${spec}}
---`
const gateway = (name: string, tls: string, selector = 'istio: ingressgateway', namespace = 'default') => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  selector: {${selector}}
  servers:
    - port: {number: 443, name: https, protocol: HTTPS}
      hosts: [a.test]
      tls: {mode: SIMPLE, ${tls}}
---`

// Istio's own cases for these analyzers (pkg/config/analysis/analyzers/testdata), condensed.
describe('what istioctl says of security', () => {
  it('AuthorizationPolicies that bind no workload, and namespaces that are not there', () => {
    const yaml = [
      pod('web', 'v1'),
      policy('AuthorizationPolicy', 'fits', 'selector: {matchLabels: {app: web}}'),
      policy('AuthorizationPolicy', 'wide', ''),
      policy('AuthorizationPolicy', 'mesh', '', 'istio-system'),
      policy('AuthorizationPolicy', 'nobody', 'selector: {matchLabels: {version: v9, app: web}}'),
      policy('AuthorizationPolicy', 'empty', '', 'empty'),
      policy('AuthorizationPolicy', 'bogus', 'rules: [{from: [{source: {namespaces: [default, "bog*"]}}]}]'),
    ].join('')
    expect(lines(analyzed(yaml, ['auth.AuthorizationPoliciesAnalyzer']))).toEqual([
      expect.stringMatching(
        /^Error \[IST0101\] \(AuthorizationPolicy default\/bogus mesh\.yaml:\d+:\d+\) Referenced namespace not found: "bog\*"$/,
      ),
      expect.stringMatching(
        /^Warning \[IST0127\] \(AuthorizationPolicy default\/nobody .*\) No matching workloads for this resource with the following labels: app=web,version=v9$/,
      ),
      expect.stringMatching(/^Warning \[IST0127\] \(AuthorizationPolicy empty\/empty .*with the following labels: $/),
    ])
  })

  it('a namespace that is told apart by its case is there', () => {
    const yaml =
      pod('web', 'v1') + policy('AuthorizationPolicy', 'p', 'rules: [{from: [{source: {namespaces: [Default]}}]}]')
    expect(analyzed(yaml, ['auth.AuthorizationPoliciesAnalyzer'])).toEqual([])
  })

  it('an istiod that fetches keys from anywhere, when there are RequestAuthentications', () => {
    const istiod = (env: string) => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: istiod, namespace: istio-system, labels: {app: istiod}}
spec:
  selector: {matchLabels: {app: istiod}}
  template:
    metadata: {labels: {app: istiod}}
    spec: {containers: [{name: discovery, image: pilot, env: [${env}]}]}
---`
    const authentication = policy('RequestAuthentication', 'jwt', 'jwtRules: [{issuer: a, jwks: \'{"keys":[]}\'}]')
    const name = ['authn.BlockedCIDRsAnalyzer']
    expect(found(analyzed(istiod('') + authentication, name))).toEqual(['IST0175 Deployment istio-system/istiod'])
    const set = '{name: BLOCKED_CIDRS_IN_JWKS_URIS, value: 10.0.0.0/8}'
    expect(analyzed(istiod(set) + authentication, name)).toEqual([])
    expect(analyzed(istiod(''), name)).toEqual([])
  })

  it('TLS of a DestinationRule without roots, of the whole and of a port', () => {
    const rule = (name: string, spec: string) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ${name}}
spec: {host: db.test, ${spec}}
---`
    const yaml = [
      rule('simple', 'trafficPolicy: {tls: {mode: SIMPLE}}'),
      rule('port', 'trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE}}]}'),
      rule('named', 'trafficPolicy: {tls: {mode: SIMPLE, credentialName: c}}'),
      rule(
        'selected',
        'workloadSelector: {matchLabels: {a: b}}, trafficPolicy: {tls: {mode: SIMPLE, credentialName: c}}',
      ),
      rule('rooted', 'trafficPolicy: {tls: {mode: SIMPLE, caCertificates: /ca.pem}}'),
    ].join('')
    expect(found(analyzed(yaml, ['destinationrule.CaCertificateAnalyzer']))).toEqual([
      'IST0128 DestinationRule default/named',
      'IST0128 DestinationRule default/simple',
      'IST0129 DestinationRule default/port',
    ])
  })

  describe('credentials of gateways', () => {
    let good: string
    let expired: string
    beforeAll(async () => {
      const authority = await makeAuthority('CN=ca')
      const secret = (name: string, { cert, key }: { cert: string; key: string }) => `
apiVersion: v1
kind: Secret
metadata: {name: ${name}, namespace: istio-system}
type: kubernetes.io/tls
data: {tls.crt: ${base64(cert)}, tls.key: ${base64(key)}}
---`
      const sans = [{ type: 'dns' as const, value: 'a.test' }]
      good = secret('good', await makeIdentity(authority, 'a', sans))
      expired = secret('expired', await makeIdentity(authority, 'a', sans, { from: -7_200_000, until: -3_600_000 }))
    })

    it('that are missing, elsewhere, of another form, or expired', () => {
      const yaml = [
        good,
        expired,
        '\napiVersion: v1\nkind: Secret\nmetadata: {name: text, namespace: istio-system}\nstringData: {cert: a, key: b}\n---',
        gateway('fine', 'credentialName: good'),
        gateway('missing', 'credentialName: nothing'),
        gateway('late', 'credentialName: expired'),
        gateway('garbage', 'credentialName: text'),
        gateway('alone', 'credentialName: good', 'istio: nowhere'),
      ].join('')
      expect(found(analyzed(yaml, ['gateway.SecretAnalyzer']))).toEqual([
        'IST0101 Gateway default/alone',
        'IST0101 Gateway default/missing',
        'IST0161 Gateway default/garbage',
        'IST0161 Gateway default/late',
      ])
    })

    it('that several gateways of one workload have', () => {
      const yaml = [
        gateway('one', 'credentialName: good', 'istio: ingressgateway', 'istio-system'),
        gateway('two', 'credentialName: good', 'istio: ingressgateway'),
        gateway('three', 'credentialName: other', 'istio: ingressgateway'),
      ].join('')
      expect(lines(analyzed(yaml, ['gateway.CertificateAnalyzer']))).toEqual([
        expect.stringContaining('multiple gateways [default/two istio-system/one]'),
        expect.stringContaining('multiple gateways [istio-system/one default/two]'),
      ])
    })
  })

  it('routes on claims of tokens that nothing validates', () => {
    const route = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: route}
spec:
  hosts: [a.test]
  gateways: [front]
  http: [{match: [{headers: {"@request.auth.claims.sub": {exact: x}}}], route: [{destination: {host: web}}]}]
---`
    const front = gateway('front', 'credentialName: c')
    const name = ['virtualservice.JWTClaimRouteAnalyzer']
    expect(lines(analyzed(route + front, name))).toEqual([
      expect.stringMatching(/^Error \[IST0149\] .*\(key: @request\.auth\.claims\.sub\).*\(default\/front\)/),
    ])
    const jwt = policy(
      'RequestAuthentication',
      'jwt',
      'selector: {matchLabels: {istio: ingressgateway}}',
      'istio-system',
    )
    expect(analyzed(route + front + jwt, name)).toEqual([])
  })

  it('routes to hosts, ports, subsets and gateways that are not there', () => {
    const route = (name: string, spec: string) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}}
spec: {${spec}}
---`
    const to = (destination: string, hosts = 'web') =>
      `hosts: [${hosts}], http: [{route: [{destination: {${destination}}}]}]`
    const two = service('two').replace('port: 9080}', 'port: 9080}, {name: http-b, port: 9090}')
    const yaml = [
      service('web'),
      two,
      gateway('front', 'credentialName: c'),
      `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}]}
---`,
      route('fine', to('host: web, subset: v1, port: {number: 9080}')),
      route('no-host', to('host: wbe')),
      route('no-port', to('host: web, port: {number: 1}')),
      route('which-port', to('host: two')),
      route('no-subset', to('host: web, subset: v2')),
      route('no-mirror', 'hosts: [web], http: [{route: [{destination: {host: web}}], mirror: {host: gone}}]'),
      route('no-gateway', `${to('host: web, subset: v1')}, gateways: [mesh, fornt]`),
      route('no-host-there', `${to('host: web, subset: v1', 'b.test')}, gateways: [front]`),
      route('passes-by', `${to('host: web', 'a.test')}, gateways: [front]`),
    ].join('')
    const names = ['DestinationHostAnalyzer', 'DestinationRuleAnalyzer', 'GatewayAnalyzer']
    const said = analyzed(
      yaml,
      names.map((name) => `virtualservice.${name}`),
    )
    expect(said.map(({ code, subject, text }) => [code, subject?.name, text.replace(/^.*?: /, '')])).toEqual([
      ['IST0101', 'no-gateway', '"fornt"'],
      ['IST0101', 'no-host', '"wbe"'],
      ['IST0101', 'no-mirror', '"gone"'],
      ['IST0101', 'no-port', '"web:1"'],
      ['IST0101', 'no-subset', '"web+v2"'],
      ['IST0112', 'which-port', expect.stringContaining('exposes multiple ports [9080 9090]')],
      ['IST0132', 'no-gateway', expect.stringContaining('not found in Gateway default/fornt')],
      ['IST0132', 'no-host-there', expect.stringContaining('[b.test]')],
      ...['fine', 'no-gateway', 'no-subset'].map((name) => [
        'IST0140',
        'passes-by',
        `Subset in virtual service default/${name} has no effect on ingress gateway default/passes-by requests`,
      ]),
    ])
  })

  it('namespaces and pods that an injector passes over', () => {
    const namespace = (name: string, labels = '') =>
      `\napiVersion: v1\nkind: Namespace\nmetadata: {name: ${name}, labels: {${labels}}}\n---`
    const yaml = [
      namespace('plain'),
      namespace('injected', 'istio-injection: enabled'),
      namespace('off', 'istio-injection: disabled'),
      namespace('revision', 'istio.io/rev: canary'),
      namespace('both', 'istio-injection: enabled, istio.io/rev: canary'),
      namespace('ambient', 'istio.io/dataplane-mode: ambient'),
      pod('bare', 'v1', { namespace: 'injected' }),
      pod('out', 'v1', { namespace: 'injected', annotations: 'sidecar.istio.io/inject: "false"' }),
      pod('elsewhere', 'v1', { namespace: 'off' }),
    ].join('')
    expect(found(analyzed(yaml, ['injection.Analyzer']))).toEqual([
      'IST0103 Pod injected/bare-v1',
      'IST0123 Namespace both',
      'IST0102 Namespace plain',
    ])
  })

  it('applications that run as the sidecar, past every policy', () => {
    const yaml = pod('web', 'v1', { spec: 'securityContext: {runAsUser: 1337}' }) + pod('db', 'v1')
    expect(found(analyzed(yaml, ['applicationUID.Analyzer']))).toEqual(['IST0144 Pod default/web-v1'])
  })

  it('policies that select a gateway of the Gateway API by its labels', () => {
    const yaml = [
      pod('gw', 'v1', { labels: 'gateway.networking.k8s.io/gateway-name: front' }),
      policy('AuthorizationPolicy', 'by-label', 'selector: {matchLabels: {app: gw}}'),
      policy(
        'RequestAuthentication',
        'by-name',
        'targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}]',
      ),
    ].join('')
    expect(found(analyzed(yaml, ['k8sgateway.SelectorAnalyzer']))).toEqual([
      'IST0166 AuthorizationPolicy default/by-label',
    ])
  })

  it('webhooks of a control plane elsewhere, and pods that wait for an injector', () => {
    const webhook = (name: string, config: string) => `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: ${name}}
webhooks: [{name: rev.namespace.sidecar-injector.istio.io, clientConfig: {${config}}, namespaceSelector: {matchLabels: {a: b}}}]
---`
    const yaml = [
      webhook('istio-sidecar-injector-a', 'url: "https://10.0.0.1/inject"'),
      webhook('istio-sidecar-injector-b', ''),
      webhook('istio-sidecar-injector-c', 'url: "https://istiod.test/inject"'),
      webhook('others', ''),
    ].join('')
    expect(found(analyzed(yaml, ['externalcontrolplane.ExternalControlPlaneAnalyzer']))).toEqual([
      'IST0163 MutatingWebhookConfiguration istio-sidecar-injector-b',
      'IST0164 MutatingWebhookConfiguration istio-sidecar-injector-a',
    ])
    const waiting = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: gw}
spec:
  selector: {matchLabels: {app: gw}}
  template: {metadata: {labels: {app: gw}}, spec: {containers: [{name: istio-proxy, image: auto}]}}
---`
    const name = ['injection.ImageAutoAnalyzer']
    expect(found(analyzed(yaml + waiting, name))).toEqual(['IST0146 Deployment default/gw'])
    const labelled = '\napiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {a: b}}\n---'
    expect(analyzed(yaml + waiting + labelled, name)).toEqual([])
  })

  it('an annotation of the object leaves messages out', () => {
    const yaml = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, annotations: {galley.istio.io/analyze-suppress: "IST0101, IST0127"}}
spec: {selector: {matchLabels: {app: none}}}
---`
    expect(found(analyzed(yaml + service('web')))).toEqual([])
  })
})
