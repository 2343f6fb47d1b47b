import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { head, inboundOf, outboundOf, type Recorder, recordingApp, sendRaw } from '../support/attacker.ts'
import { client, pod, service, startMesh, type TestMesh } from '../support/mesh.ts'

const NORMALIZATIONS = ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const
type Normalization = (typeof NORMALIZATIONS)[number]

/** A path as the app gets it; 403 and 400 are refusals; `same` is what was sent. */
type Outcome = number | string
type Row = [sent: string, none: Outcome, base: Outcome, merged: Outcome, decoded: Outcome]

/**
 * What a real Envoy 1.40 did with each, set up as Istio sets it up, under `DENY paths: [/admin, /admin/*]`. What is not
 * 403 or 400 got past the rule: there, the app must not take the path for /admin.
 */
const table: Row[] = [
  ['/admin', 403, 403, 403, 403],
  ['/admin?x', 403, 403, 403, 403],
  ['/admin?', 403, 403, 403, 403],
  ['/admin/', 403, 403, 403, 403],
  ['/admin//x', 403, 403, 403, 403],
  ['/admin/.', 403, 403, 403, 403],
  ['/admin/x/..', 403, 403, 403, 403],
  ['/admin/%2e/x', 403, 403, 403, 403],
  // Doubled slashes.
  ['//admin', 'same', 'same', 403, 403],
  ['///admin', 'same', 'same', 403, 403],
  ['/..//admin', 'same', '//admin', 403, 403],
  ['/x/..//admin', 'same', '//admin', 403, 403],
  ['/a//../admin', 'same', '/a/admin', '/a/admin', '/a/admin'],
  ['//svc.test/admin', 'same', 'same', '/svc.test/admin', '/svc.test/admin'],
  ['//', 'same', 'same', 'same', 'same'],
  ['///', 'same', 'same', '//', '//'],
  // Dots.
  ['/./admin', 'same', 403, 403, 403],
  ['/x/../admin', 'same', 403, 403, 403],
  ['/../admin', 'same', 403, 403, 403],
  ['/x/%2e%2e/admin', 'same', 403, 403, 403],
  ['/x/%2E%2e/admin', 'same', 403, 403, 403],
  ['/x/.%2e/admin', 'same', 403, 403, 403],
  ['/.%2e/%2e./admin', 'same', 403, 403, 403],
  ['/.../admin', 'same', 'same', 'same', 'same'],
  ['/admin/..', 403, '/', '/', '/'],
  ['/admin/../x', 403, '/x', '/x', '/x'],
  // Escapes.
  ['/%61dmin', 'same', 403, 403, 403],
  ['/%41dmin', 'same', '/Admin', '/Admin', '/Admin'],
  ['/%2561dmin', 'same', 'same', 'same', 'same'],
  ['/x/%252e%252e/admin', 'same', 'same', 'same', 'same'],
  ['/admin%', 'same', 'same', 'same', 'same'],
  ['/admin%zz', 'same', 'same', 'same', 'same'],
  ['/admin%20', 'same', 'same', 'same', 'same'],
  ['/admin%0d%0aX:y', 'same', 'same', 'same', 'same'],
  ['/admin%23f', 'same', 'same', 'same', 'same'],
  ['/admin%3fx', 'same', 'same', 'same', 'same'],
  ['/%c0%afadmin', 'same', 'same', 'same', 'same'],
  ['/%u0061dmin', 'same', 'same', 'same', 'same'],
  ['/admin%00', 'same', 400, 400, 400],
  // Escaped slashes, and backslashes.
  ['/admin%2Fusers', 'same', 'same', 'same', 403],
  ['/%2fadmin', 'same', 'same', 'same', 403],
  ['/x%2f..%2fadmin', 'same', 'same', 'same', 403],
  ['/x/%2e%2e%2fadmin', 'same', '/x/..%2fadmin', '/x/..%2fadmin', 403],
  ['/admin%2f..%2fx', 'same', 'same', 'same', '/x'],
  ['/%5cadmin', 'same', 'same', 'same', 403],
  ['/x%5c..%5cadmin', 'same', 'same', 'same', 403],
  ['/x\\..\\admin', 'same', 403, 403, 403],
  ['/\\admin', 'same', '//admin', 403, 403],
  ['/admin\\', 'same', 403, 403, 403],
  ['\\admin', 400, 400, 400, 400],
  // Parameters of segments.
  ['/admin;a=b', 'same', 'same', 'same', 'same'],
  ['/;/admin', 'same', 'same', 'same', 'same'],
  ['/x/..;/admin', 'same', 403, 403, 403],
  ['/x/..;a=b/admin', 'same', 403, 403, 403],
  ['/x/%2e%2e;/admin', 'same', '/x/..;/admin', '/x/..;/admin', '/x/..;/admin'],
  ['/\\..;', 'same', '//..;', '/..;', '/..;'],
  ['/..;x%00/y', 'same', '/y', '/y', '/y'],
  ['/x/..%3b/admin', 'same', 'same', 'same', 'same'],
  // Case.
  ['/Admin', 'same', 'same', 'same', 'same'],
  ['/ADMIN', 'same', 'same', 'same', 'same'],
  // Fragments are cut off, as Istio has it.
  ['/admin#frag', 403, 403, 403, 403],
  ['/admin?#f', 403, 403, 403, 403],
  ['/#/../admin', '/', '/', '/', '/'],
  ['/x?#/../admin', '/x?', '/x?', '/x?', '/x?'],
  // Queries are nobody's path.
  ['/x?/../admin', 'same', 'same', 'same', 'same'],
  ['/x?/admin', 'same', 'same', 'same', 'same'],
  ['/x?a=%2e%2e/', 'same', 'same', 'same', 'same'],
  // Targets that are no path.
  ['http://reviews:9080/admin', 403, 403, 403, 403],
  ['HTTP://reviews:9080/admin', 403, 403, 403, 403],
  ['https://reviews:9080/admin', 403, 403, 403, 403],
  ['http://reviews:9080//admin', '//admin', '//admin', 403, 403],
  ['http://reviews:9080/x/../admin', '/x/../admin', 403, 403, 403],
  ['http://reviews:9080', '/', '/', '/', '/'],
  ['http://reviews:9080?x', 404, 404, 404, 404],
  ['ftp://reviews:9080/admin', 400, 400, 400, 400],
  ['*', 400, 400, 400, 400],
  ['admin', 400, 400, 400, 400],
  ['?x', 400, 400, 400, 400],
  ['./admin', 400, 400, 400, 400],
  ['reviews:9080', 400, 400, 400, 400],
  // Bytes.
  ['/a b', 400, 400, 400, 400],
  ['/admin\x7f', 400, 400, 400, 400],
  ['/ad\xc3\xa4', 400, 400, 400, 400],
  ['/a"<>^`{}|b', 'same', '/a%22%3C%3E%5E%60%7B%7D%7Cb', '/a%22%3C%3E%5E%60%7B%7D%7Cb', '/a%22%3C%3E%5E%60%7B%7D%7Cb'],
  ['/%7eadmin%2Dx%5fy%2ez', 'same', '/~admin-x_y.z', '/~admin-x_y.z', '/~admin-x_y.z'],
]

const config = (normalization: Normalization, denied: Recorder, allowed: Recorder) =>
  [
    client(),
    service('reviews'),
    pod('reviews', 'v1', { annotations: denied.annotation }),
    service('ratings', 'default', { name: 'http', port: 9081 }).replace('9081}', '9081, targetPort: 9080}'),
    pod('ratings', 'v1', { annotations: allowed.annotation }),
    `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    pathNormalization: {normalization: ${normalization}}
    defaultConfig: {runtimeValues: {envoy.reloadable_features.http_reject_path_with_fragment: "false"}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin}
spec:
  selector: {matchLabels: {app: reviews}}
  action: DENY
  rules: [{to: [{operation: {paths: [/admin, /admin/*]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ok}
spec:
  selector: {matchLabels: {app: ratings}}
  rules: [{to: [{operation: {paths: [/ok/*], hosts: [ratings, "ratings:*"], methods: [GET]}}]}]
---`,
  ].join('')

describe.each(NORMALIZATIONS)('path tricks under %s', (normalization) => {
  let mesh: TestMesh
  let denied: Recorder
  let allowed: Recorder
  beforeAll(async () => {
    denied = await recordingApp()
    allowed = await recordingApp()
    mesh = await startMesh(config(normalization, denied, allowed))
  })
  afterAll(async () => {
    await mesh?.stop()
    await denied?.close()
    await allowed?.close()
  })
  const ways = () => ({
    'past its sidecar': inboundOf(mesh, 'reviews-v1'),
    'through both sidecars': outboundOf(mesh, 'client', 9080),
  })

  it('each gets the answer of a real Envoy, and the app what the rule has judged', async () => {
    for (const [sent, ...outcomes] of table) {
      const outcome = outcomes[NORMALIZATIONS.indexOf(normalization)]!
      denied.seen.length = 0
      const { statuses } = await sendRaw(
        inboundOf(mesh, 'reviews-v1'),
        head(sent, 'reviews:9080', ['connection: close']),
      )
      const got = denied.seen[0]?.url ?? statuses[0]
      expect({ sent, got }).toEqual({ sent, got: outcome === 'same' ? sent : outcome })
      expect(statuses).toEqual([typeof outcome === 'number' ? outcome : 200])
    }
  })

  const piece = fc.oneof(
    fc.constantFrom('admin', 'Admin', 'ADMIN', 'ok', 'x', '%61dmin', 'adm%69n', '%6fk', 'admin%20', 'a b'),
    fc.constantFrom('/', '//', '/./', '/../', '\\', '%2f', '%2F', '%5c', '%5C', '/', '/'),
    fc.constantFrom('.', '..', '%2e', '%2E%2e', '.%2e', '...', '..;', '%2e%2e;', ';a=b', ';', '%3b'),
    fc.constantFrom('?', '#', '%', '%00', '%zz', '%25', '%252e', '%252f', '%c0%af', '%0a', '^', '|', '"', '\t', '\xe4'),
  )
  const target = fc
    .tuple(fc.constantFrom('/', '', '//', 'http://ratings', 'http://reviews:9080'), fc.array(piece, { maxLength: 8 }))
    .map(([start, pieces]) => start + pieces.join(''))
  const host = fc.constantFrom(
    ...[
      'ratings',
      'RATINGS',
      'ratings:9081',
      'ratings:1',
      'ratings.',
      'u@ratings',
      'reviews',
      'ratings/x',
      'ratings, x',
    ],
    ...['ratings.default', '', '[::1]', 'ratings:', 'ratings%00', 'ratings#', '127.0.0.1'],
  )
  const method = fc.constantFrom('GET', 'GET', 'GET', 'get', 'POST', 'HEAD', 'OPTIONS')
  const withoutQuery = (url: string) => url.split('?')[0]!

  it('no app ever receives a path that a DENY rule names, whatever was sent', async () => {
    for (const to of Object.values(ways())) {
      denied.seen.length = 0
      await fc.assert(
        fc.asyncProperty(target, async (sent) => {
          const { statuses } = await sendRaw(to, head(sent, 'reviews:9080', ['connection: close']))
          expect(statuses.length).toBeLessThanOrEqual(1)
          for (const { url } of denied.seen.splice(0)) expect(withoutQuery(url)).not.toMatch(/^\/admin(\/|$)/)
        }),
        { numRuns: 60 },
      )
    }
  })

  it('an app receives the paths, hosts and methods of its ALLOW rule alone, whatever was sent', async () => {
    let passed = 0
    for (const to of [inboundOf(mesh, 'ratings-v1'), outboundOf(mesh, 'client', 9081)]) {
      allowed.seen.length = 0
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom('', '/ok/', '/x/../ok/'),
          target,
          host,
          method,
          async (start, rest, name, verb) => {
            const bytes = head(start + rest, name, ['connection: close'], verb)
            const { statuses } = await sendRaw(to, bytes)
            expect(statuses.length).toBeLessThanOrEqual(1)
            for (const { url, method, headers } of allowed.seen.splice(0)) {
              passed++
              expect(url).toMatch(/^\/ok\//)
              expect(headers.host).toMatch(/^ratings(:.*)?$/i)
              expect(method).toBe('GET')
            }
          },
        ),
        { numRuns: 60, examples: [['/ok/', '', 'ratings', 'GET']] },
      )
    }
    expect(passed).toBeGreaterThan(1)
  })
})

it('a fragment is refused, unless runtimeValues have it cut', async () => {
  const recorder = await recordingApp()
  const mesh = await startMesh(
    [client(), service('reviews'), pod('reviews', 'v1', { annotations: recorder.annotation })].join(''),
  )
  try {
    for (const to of [inboundOf(mesh, 'reviews-v1'), outboundOf(mesh, 'client', 9080)]) {
      for (const sent of ['/admin#x', '/#/../admin', '/#']) {
        expect((await sendRaw(to, head(sent, 'reviews:9080'))).statuses).toEqual([400])
      }
    }
    expect(recorder.seen).toEqual([])
  } finally {
    await mesh.stop()
    await recorder.close()
  }
})
