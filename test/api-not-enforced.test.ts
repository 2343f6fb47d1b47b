import { describe, expect, it } from 'vitest'
import { fieldNames } from '../src/api/issues.ts'
import { KINDS } from '../src/api/kinds-table.ts'
import { loadText } from '../src/api/load.ts'
import { NOT_ENFORCED, stepsOf } from '../src/api/not-enforced.ts'
import type { Kind } from '../src/api/objects.ts'
import { WITHOUT_EFFECT } from '../src/api/without-effect.ts'

describe('what is not enforced yet', () => {
  it.each([...NOT_ENFORCED, ...WITHOUT_EFFECT].map(({ pattern }) => pattern))(
    '%s names a kind and a field that exist',
    (pattern) => {
      const [kind, path = ''] = pattern.split(' ') as [Kind, string | undefined]
      expect(KINDS).toHaveProperty(kind)
      const steps = stepsOf(path)
      if (steps[0] === 'metadata') return // of all kinds
      const at: (string | number)[] = []
      for (const step of steps) {
        if (/^[=~]/.test(step) || at.at(-1) === 'annotations') break
        if (step !== '[]' && step !== '{}') expect(fieldNames(KINDS[kind].body, at)).toContain(step)
        at.push(step === '[]' ? 0 : step)
      }
    },
  )

  const rule = (name: string, pool: string) => `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ${name}}
spec:
  host: a
  subsets:
  - name: v1
    trafficPolicy:
      connectionPool:
        ${pool}
`
  const said = (text: string, file = 'f.yaml') =>
    loadText(file, text)
      .problems.filter(({ message }) => message.startsWith('not enforced yet'))
      .map(({ line, col, severity, message }) => `${line}:${col} ${severity} ${message}`)

  it('is said once for each field and file, with its first place', () => {
    const pod = (name: string) => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}}
spec: {containers: [{name: app, readinessProbe: {tcpSocket: {port: 80}}}]}
`
    const words = 'readiness probes (a pod is ready unless its status says otherwise)'
    expect(said(`${pod('a')}---\n${pod('b')}`)).toEqual([
      `5:33 warning not enforced yet: ${words} (spec.containers[].readinessProbe)`,
    ])
  })

  it('is not said of what is enforced', () => {
    expect(said(rule('a', 'tcp: {connectTimeout: 1s}'))).toEqual([])
  })

  it('may hang on a value', () => {
    const of = (mode: string) =>
      said(`{accessLogFile: /dev/stdout, defaultConfig: {interceptionMode: ${mode}}}`, 'mesh.yaml')
    expect(of('REDIRECT')).toEqual([])
    expect(of('TPROXY')).toEqual([
      "1:64 warning not enforced yet: the client's own address as the source of connections to the app (spec.defaultConfig.interceptionMode)",
    ])
  })

  it('is told apart from what has no effect in Istio either', () => {
    const text = `apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports: [{port: 80}]\n  sessionAffinity: ClientIP\n`
    expect(said(text)).toEqual([])
    expect(loadText('f.yaml', text).problems.map(({ line, col, message }) => `${line}:${col} ${message}`)).toEqual([
      "6:3 has no effect on sidecars: sidecars balance by themselves; a DestinationRule's consistentHash with useSourceIp keeps clients together (spec.sessionAffinity)",
    ])
  })

  it('is said of what a pod sets for its own proxy', () => {
    const pod = (settings: string) =>
      `apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    proxy.istio.io/config: "${settings}"\nspec: {containers: [{name: a, image: a}]}\n`
    expect(said(pod('drainDuration: 1s'))).toEqual([])
    expect(said(pod('{drainDuration: 1s, concurrency: 2}'))).toEqual([
      '6:5 warning not enforced yet: threads of a sidecar (concurrency)',
    ])
    const text = pod('{caCertificatesPem: [x]}')
    expect(said(text)).toEqual([])
    expect(loadText('f.yaml', text).problems.map(({ message }) => message)).toEqual([
      'has no effect on sidecars: agents take such roots from istiod alone, which sends those of MeshConfig caCertificates (caCertificatesPem)',
    ])
  })

  it('may hang on the form of a value', () => {
    const of = (name: string) =>
      said(`apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - {name: ${name}, port: 80}\n`)
    for (const name of ['http', 'grpc', 'http2-web', 'grpc-web', 'mongoose']) expect(of(name)).toEqual([])
    for (const name of ['mongo', 'mongo-db'])
      expect(of(name)).toEqual(['6:6 warning not enforced yet: statistics of MongoDB traffic (spec.ports[].name)'])
  })

  it('may hang on a key that holds dots', () => {
    const pod = (annotation: string) =>
      `apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    ${annotation}\nspec: {containers: [{name: a, image: a}]}\n`
    expect(said(pod('sidecar.istio.io/inject: "true"'))).toEqual([])
    expect(said(pod('sidecar.istio.io/extraStatTags: "a"'))).toEqual([
      '6:5 warning not enforced yet: the choice of statistics (metadata.annotations."sidecar.istio.io/extraStatTags")',
    ])
  })
})
