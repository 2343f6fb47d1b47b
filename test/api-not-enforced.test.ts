import { describe, expect, it } from 'vitest'
import { fieldNames } from '../src/api/issues.ts'
import { KINDS } from '../src/api/kinds-table.ts'
import { loadText } from '../src/api/load.ts'
import { NOT_ENFORCED, stepsOf } from '../src/api/not-enforced.ts'
import type { Kind } from '../src/api/objects.ts'

describe('what is not enforced yet', () => {
  it.each(NOT_ENFORCED.map(({ pattern }) => pattern))('%s names a kind and a field that exist', (pattern) => {
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
  })

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
  const said = (text: string) =>
    loadText('f.yaml', text)
      .problems.filter(({ message }) => message.startsWith('not enforced yet'))
      .map(({ line, col, severity, message }) => `${line}:${col} ${severity} ${message}`)

  it('is said once for each field and file, with its first place', () => {
    const probes = (n: number) => `tcp: {tcpKeepalive: {probes: ${n}}}`
    const words =
      'the number of keep-alive probes (spec.subsets[].trafficPolicy.connectionPool.tcp.tcpKeepalive.probes)'
    expect(said(`${rule('a', probes(1))}---\n${rule('b', probes(2))}`)).toEqual([
      `10:30 warning not enforced yet: ${words}`,
    ])
  })

  it('is not said of what is enforced', () => {
    expect(said(rule('a', 'tcp: {connectTimeout: 1s}'))).toEqual([])
  })

  it('may hang on a value', () => {
    const of = (type: string) =>
      said(
        `apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports: [{port: 80}]\n  sessionAffinity: ${type}\n`,
      )
    expect(of('None')).toEqual([])
    expect(of('ClientIP')).toEqual(['6:3 warning not enforced yet: session affinity (spec.sessionAffinity)'])
  })

  it('may hang on the form of a value', () => {
    const of = (name: string) =>
      said(`apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - {name: ${name}, port: 80}\n`)
    for (const name of ['http', 'https', 'tcp-grpc', 'grpcx']) expect(of(name)).toEqual([])
    for (const name of ['grpc', 'http2-web', 'grpc-webs'])
      expect(of(name)).toEqual(['6:6 warning not enforced yet: HTTP/2 and gRPC through a sidecar (spec.ports[].name)'])
    expect(of('grpc-web')).toEqual([
      '6:6 warning not enforced yet: gRPC-Web (the listeners of the port are refused) (spec.ports[].name)',
    ])
  })

  it('may hang on a key that holds dots', () => {
    const pod = (annotation: string) =>
      `apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    ${annotation}\nspec: {containers: [{name: a, image: a}]}\n`
    expect(said(pod('sidecar.istio.io/inject: "true"'))).toEqual([])
    expect(said(pod('traffic.sidecar.istio.io/excludeOutboundPorts: "80"'))).toEqual([
      '6:5 warning not enforced yet: exceptions from capture (metadata.annotations."traffic.sidecar.istio.io/excludeOutboundPorts")',
    ])
  })
})
