import { describe, expect, it } from 'vitest'
import { analyzed, found, lines } from './support/analysis.ts'
import { client, pod, service } from './support/mesh.ts'

const policy = (spec: string, namespace = 'default', kind = 'AuthorizationPolicy', name = 'p') => `
apiVersion: security.istio.io/v1
kind: ${kind}
metadata: {name: ${name}, namespace: ${namespace}}
spec: {${spec}}
---`
const mesh = (spec: string) => `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: '${spec}'}
---`
const web = service('web') + pod('web', 'v1') + client()
const strict = policy('mtls: {mode: STRICT}', 'default', 'PeerAuthentication', 'strict')
const jwt = policy('jwtRules: [{issuer: a, jwks: \'{"keys":[]}\'}]', 'default', 'RequestAuthentication', 'jwt')
const to = (operation: string, action = 'DENY') =>
  policy(`action: ${action}, rules: [{to: [{operation: {${operation}}}]}]`)
const from = (source: string, action = 'DENY') => policy(`action: ${action}, rules: [{from: [{source: {${source}}}]}]`)
const when = (condition: string, action = 'DENY') => policy(`action: ${action}, rules: [{when: [{${condition}}]}]`)
const own = (yaml: string) => lines(analyzed(web + yaml)).filter((line) => line.includes('[DGY'))
const text = (yaml: string) => own(yaml).join('\n')

describe('what Istio lets through without a word', () => {
  describe('refusals by path', () => {
    it('names spellings that pass, and the normalization that would catch them', () => {
      const said = text(to('paths: ["/admin", "/admin/*"]'))
      expect(said).toContain('Requests for //admin, /%2Fadmin pass the refusal of /admin under path normalization BASE')
      expect(said).toContain(
        'Set MeshConfig pathNormalization.normalization to DECODE_AND_MERGE_SLASHES, or write an ALLOW',
      )
      expect(said).toMatch(
        /Info \[DGY0102\].*Requests for \/ADMIN, \/admin;a=b, \/;\/admin, \/%2561dmin, \/admin%20, \/x\/%2e%2e;\/admin, \/x\/..%3b\/admin pass.*takes "..;" for ".."/,
      )
    })

    it('names what is missing beneath and above', () => {
      expect(text(to('paths: ["/admin"]'))).toContain('/admin/ pass the refusal of /admin under')
      expect(text(to('paths: ["/admin"]'))).toContain('name /admin/* as well')
      expect(text(to('paths: ["/admin/*"]'))).toContain('name /admin as well')
    })

    it('says less the more is normalized', () => {
      const rule = to('paths: ["/admin", "/admin/*"]')
      const normalized = (mode: string) => own(mesh(`pathNormalization: {normalization: ${mode}}`) + rule)
      expect(normalized('NONE').join()).toContain('/./admin')
      expect(normalized('MERGE_SLASHES').join()).not.toContain('//admin')
      expect(normalized('DECODE_AND_MERGE_SLASHES').filter((line) => line.startsWith('Warning'))).toEqual([])
    })

    it('an ALLOW by path has no such gap, one by notPaths has', () => {
      expect(text(to('paths: ["/public"]', 'ALLOW'))).not.toContain('DGY010')
      expect(text(to('notPaths: ["/admin"]', 'ALLOW'))).toContain('[DGY0101]')
      expect(text(to('notPaths: ["/public"]', 'DENY'))).not.toContain('DGY010')
    })

    it.each([
      ['/q?a=1', 'its query'],
      ['/a#b', 'its fragment'],
      ['admin', 'Write /admin.'],
      ['/a/../b', 'has resolved'],
      ['/%61dmin', 'has decoded'],
      ['/a|b', 'Write /a%7Cb.'],
    ])('%s never matches', (path, why) => {
      expect(text(to(`paths: ["${path}"]`))).toMatch(new RegExp(`DGY0103.*never matches.*${why.replace('.', '\\.')}`))
    })

    it('what looks like a pattern is compared as text', () => {
      expect(text(to('paths: ["/v[0-9]+", "/a/*/b"]')).match(/DGY0104/g)).toHaveLength(2)
      expect(text(to('paths: ["/a/{*}/b"]', 'ALLOW'))).not.toContain('DGY0104')
    })
  })

  it('refusals by host, header and method', () => {
    expect(text(to('hosts: [web.test]'))).toContain(
      'Host web.test:8080, web.test., u@web.test, x,web.test (two Host lines) passes the refusal of web.test:',
    )
    const thorough = text(to('hosts: ["web.test", "web.test:*", "web.test.*"]'))
    expect(thorough).toContain('Host u@web.test, x,web.test (two Host lines) passes')
    expect(thorough.match(/DGY0105/g)).toHaveLength(1)
    expect(text(to('hosts: ["web.test*"]'))).toContain('Host u@web.test, x,web.test (two Host lines) passes')
    expect(text(to('hosts: ["*.test"]'))).toContain('Host x.test:8080, x.test. passes')
    expect(text(to('hosts: ["web.test:80"]'))).toContain('Host web.test, web.test.:80, u@web.test:80, x,web.test:80 (')
    expect(text(to('hosts: ["*"]')) + text(to('hosts: [web.test]', 'ALLOW'))).not.toContain('DGY0105')
    expect(text(when('key: "request.headers[x-role]", values: [guest]'))).toContain(
      'sending x-role as "GUEST", as "guest,x", as x_role where',
    )
    expect(text(when('key: "request.headers[x-role]", values: [admin]', 'ALLOW'))).toContain('[DGY0107]')
    expect(text(to('methods: [GET]'))).toContain('HEAD passes the refusal of GET')
    expect(text(to('methods: [GET, HEAD]'))).not.toContain('DGY0108')
    expect(text(to('methods: [DELETE]'))).toContain('POST with X-HTTP-Method-Override: DELETE')
    expect(text(to('methods: [get]'))).toContain('Write GET.')
  })

  it('headers that are compared more loosely than it reads', () => {
    const role = (values: string, rule = '') =>
      text(policy(`rules: [{${rule}when: [{key: "request.headers[x-role]", ${values}}]}]`))
    const caller = 'from: [{source: {principals: ["cluster.local/ns/default/sa/client"]}}], '
    expect(role('values: ["*"]')).toContain('x-role is let in, with nothing in it as well:')
    expect(role('values: [admin]')).toContain('x-role is let in, with other values in further lines as well:')
    expect(role('values: ["*"]', caller)).toContain('[DGY0126]')
    expect(role('values: ["*"]', caller)).toContain('x-role that is empty. Name the values instead of "*".')
    expect(role('values: [admin]', caller)).toContain('x-role "admin" in one line and another value in the next')
    expect(role('notValues: [guest]', caller)).not.toContain('DGY0126')
    expect(text(when('key: "request.headers[x-role]", notValues: ["*"]'))).toContain('x-role that is empty')
    expect(text(when('key: "request.headers[x-role]", values: ["*"]'))).not.toContain('[DGY')
  })

  it('HTTP fields on TCP ports refuse too much, or allow nothing', () => {
    const tcp = service('db', 'default', { name: 'tcp', port: 5432 }) + pod('db', 'v1', { port: 5432 })
    expect(text(tcp + to('methods: [GET, HEAD]'))).toContain('it refuses every connection there')
    expect(text(tcp + to('methods: [GET, HEAD], ports: ["9080"]'))).not.toContain('DGY0110')
    expect(text(tcp + to('methods: [GET]', 'ALLOW'))).toMatch(/DGY0111.*TCP port 5432/)
    const opened = policy('rules: [{to: [{operation: {ports: ["5432"]}}]}]', 'default', 'AuthorizationPolicy', 'q')
    expect(text(tcp + to('methods: [GET]', 'ALLOW') + opened)).not.toContain('DGY0111')
  })

  it('ports are those of the workload', () => {
    const mapped = service('web').replace('port: 9080', 'port: 80, targetPort: 9080')
    const said = lines(analyzed(mapped + pod('web', 'v1') + to('ports: ["80"]'))).join()
    expect(said).toContain(
      "Port 80 never matches: it is the Service's, and policies go by the workload's own. Write 9080.",
    )
    expect(text(to('ports: ["9080"]'))).not.toContain('DGY0120')
  })

  it('principals that no caller has', () => {
    expect(text(from('principals: ["spiffe://cluster.local/ns/a/sa/b"]'))).toContain('Write cluster.local/ns/a/sa/b.')
    expect(text(from('principals: ["other.test/ns/a/sa/b"]'))).toContain('[DGY0113]')
    const aliased = mesh('trustDomainAliases: [other.test]')
    expect(text(aliased + from('principals: ["other.test/ns/a/sa/b"]'))).not.toContain('DGY0113')
    expect(text(from('principals: ["*/ns/a/sa/b", "cluster.local/ns/a/sa/b"]'))).not.toContain('DGY0113')
  })

  it.each([
    ['DENY', 'namespaces: [default]', true],
    ['DENY', 'notNamespaces: [default]', false],
    ['ALLOW', 'namespaces: [default]', false],
    ['ALLOW', 'notPrincipals: ["cluster.local/ns/a/sa/b"]', true],
  ])('%s %s is got past in plaintext: %s', (action, source, passes) => {
    expect(text(from(source, action)).includes('[DGY0114]')).toBe(passes)
    expect(text(strict + from(source, action))).not.toContain('DGY0114')
  })

  it('tokens that nothing reads, and that nothing asks for', () => {
    const allow = from('requestPrincipals: ["*"]', 'ALLOW')
    expect(text(allow)).toMatch(/DGY0115.*No RequestAuthentication binds .*the rule lets nothing in/)
    expect(text(from('notRequestPrincipals: ["*"]'))).toContain('every request is refused')
    expect(text(jwt)).toContain('[DGY0116]')
    expect(text(jwt + allow)).not.toContain('DGY011')
    expect(text(jwt + from('notRequestPrincipals: ["*"]'))).not.toContain('DGY0116')
  })

  it('tokens for others, and from places that are logged', () => {
    const rule = (more: string) =>
      text(policy(`jwtRules: [{issuer: a, ${more}}]`, 'default', 'RequestAuthentication', 'jwt'))
    expect(rule('jwksUri: "https://a.test"')).toContain(
      'Tokens of a are taken whomever they are for, and from the query (access_token), which is written to logs (',
    )
    expect(rule('jwksUri: "https://a.test"')).toContain('Name audiences, and fromHeaders.')
    expect(rule('audiences: [web]')).toContain('Tokens of a are taken from the query')
    expect(rule('audiences: [web], fromHeaders: [{name: x-token}]')).not.toContain('DGY0127')
  })

  it('addresses that the caller writes', () => {
    expect(text(from('remoteIpBlocks: ["10.0.0.0/8"]', 'ALLOW'))).toContain('[DGY0117]')
    expect(text(from('ipBlocks: ["10.0.0.0/8"]', 'ALLOW'))).not.toContain('DGY0117')
  })

  it('what policies bind', () => {
    const selector = 'selector: {matchLabels: {app: web}}'
    expect(text(policy(selector, 'istio-system'))).toContain('[DGY0118]')
    expect(text(policy(`${selector}, mtls: {mode: STRICT}`, 'istio-system', 'PeerAuthentication'))).toContain(
      'not read',
    )
    expect(text(strict + policy('mtls: {mode: DISABLE}', 'default', 'PeerAuthentication', 'z'))).toContain(
      'strict is older',
    )
    expect(text(policy('selector: {matchLabels: {app: wbe}}', 'default', 'RequestAuthentication'))).toContain('app=wbe')
    expect(text(policy('action: CUSTOM, provider: {name: opa}, rules: [{}]'))).toContain('[DGY0121]')
    const dry = policy('action: DENY, rules: [{}]').replace(
      '{name: p',
      '{annotations: {istio.io/dry-run: "true"}, name: p',
    )
    expect(text(dry)).toContain('[DGY0123]')
  })

  it('DestinationRules that the server does not take', () => {
    const rule = (mode: string) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, trafficPolicy: {tls: {mode: ${mode}}}}
---`
    expect(text(strict + rule('DISABLE'))).toMatch(/DGY0124.*PeerAuthentication default\/strict mesh\.yaml/)
    expect(text(strict + rule('ISTIO_MUTUAL'))).not.toContain('DGY012')
    const bare = pod('web', 'v1', { annotations: 'sidecar.istio.io/inject: "false"' })
    expect(found(analyzed(service('web') + client() + bare + rule('ISTIO_MUTUAL')))).toContain(
      'DGY0125 DestinationRule default/web',
    )
  })

  it('nothing of a mesh that is as it should be', () => {
    const allow = policy(
      'selector: {matchLabels: {app: web}}, rules: [{from: [{source: {principals: ["cluster.local/ns/default/sa/client"]}}], to: [{operation: {methods: [GET], paths: ["/info*"]}}]}]',
    )
    expect(own(strict + allow)).toEqual([])
  })
})
