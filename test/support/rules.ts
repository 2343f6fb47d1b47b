import { describe, expect, it } from 'vitest'
import { loadText } from '../../src/api/load.ts'

const API_VERSIONS: Record<string, string> = {
  AuthorizationPolicy: 'security.istio.io/v1',
  Deployment: 'apps/v1',
  DestinationRule: 'networking.istio.io/v1',
  EnvoyFilter: 'networking.istio.io/v1alpha3',
  Gateway: 'networking.istio.io/v1',
  Job: 'batch/v1',
  PeerAuthentication: 'security.istio.io/v1',
  Pod: 'v1',
  ProxyConfig: 'networking.istio.io/v1beta1',
  RequestAuthentication: 'security.istio.io/v1',
  Service: 'v1',
  ServiceEntry: 'networking.istio.io/v1',
  Sidecar: 'networking.istio.io/v1',
  Telemetry: 'telemetry.istio.io/v1',
  VirtualService: 'networking.istio.io/v1',
  WorkloadEntry: 'networking.istio.io/v1',
  WorkloadGroup: 'networking.istio.io/v1',
}

/** A rule: its name, a spec that breaks it, and what is said, with line and column within the spec. */
export type Rule = [name: string, spec: string, said: string[]]

/** The problems of an object with this spec, as `line:col severity message`; what is not enforced yet aside. */
export function saidOf(kind: string, spec: string, options: { strict?: boolean } = {}): string[] {
  const body = spec.replace(/^\n/, '').replace(/\n\s*$/, '')
  const lines = body.split('\n').map((line) => `  ${line}`)
  const text = `apiVersion: ${API_VERSIONS[kind]}\nkind: ${kind}\nmetadata: {name: x}\nspec:\n${lines.join('\n')}\n`
  return loadText('f.yaml', text, options)
    .problems.filter(({ message }) => !message.startsWith('not enforced yet'))
    .map(({ line, col, severity, message }) => {
      const place = line === 4 ? 'spec' : `${line - 4}:${col - 2}`
      return `${place} ${severity} ${message}`
    })
}

/** A table of rules of one kind, one test each. */
export function rulesOf(kind: string, rules: readonly Rule[]): void {
  describe(kind, () => {
    it.each(rules)('%s', (_, spec, said) => {
      expect(saidOf(kind, spec)).toEqual(said)
    })
  })
}
