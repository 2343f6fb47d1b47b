import { describe, expect, it } from 'vitest'
import { pilotOf, podYaml, serviceYaml } from './support/pilot.ts'

const deployment = (name: string, spec: string, pod = '') => `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}}
spec:
  ${spec}
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata: {labels: {app: ${name}, version: v1}}
    spec: {containers: [{name: app, image: app, ports: [{name: web, containerPort: 8080}]}]${pod && `, ${pod}`}}
`

describe('workloads', () => {
  it('come from the replicas of a Deployment, each with its own address', () => {
    const { registry } = pilotOf(deployment('web', 'replicas: 2'))
    expect(registry.workloads).toHaveLength(2)
    const [first, second] = registry.workloads
    expect(first).toMatchObject({
      namespace: 'default',
      workloadName: 'web',
      ownerKind: 'Deployment',
      health: 'HEALTHY',
    })
    expect(first?.name).toMatch(/^web-[a-z0-9]+-[a-z0-9]{5}$/)
    expect(first?.ip).toMatch(/^10\.244\./)
    expect(second?.ip).not.toBe(first?.ip)
    expect(first?.labels).toMatchObject({ app: 'web', version: 'v1' })
  })

  it('are none for a Deployment of 0 replicas, and one when it does not say', () => {
    expect(pilotOf(deployment('web', 'replicas: 0')).registry.workloads).toHaveLength(0)
    expect(pilotOf(deployment('web', '')).registry.workloads).toHaveLength(1)
  })

  it('of a StatefulSet are numbered', () => {
    const { registry } = pilotOf(deployment('db', 'replicas: 3').replace('kind: Deployment', 'kind: StatefulSet'))
    expect(registry.workloads.map((workload) => workload.name)).toEqual(['db-0', 'db-1', 'db-2'])
    expect(registry.workloads[1]?.labels['statefulset.kubernetes.io/pod-name']).toBe('db-1')
  })

  it('of a DaemonSet run once on each node', () => {
    const nodes = ['a', 'b'].map((name) => `---\napiVersion: v1\nkind: Node\nmetadata: {name: ${name}}\n`).join('')
    const { registry } = pilotOf(nodes + deployment('agent', '').replace('kind: Deployment', 'kind: DaemonSet'))
    expect(registry.workloads.map((workload) => workload.nodeName).sort()).toEqual(['a', 'b'])
  })

  it('keep a podIP that is given, and nothing else gets it', () => {
    const { registry } = pilotOf(
      `${podYaml('one', 'app: a')}---
apiVersion: v1
kind: Pod
metadata: {name: given, labels: {app: b}}
spec: {containers: [{name: app, image: app}]}
status: {podIP: 10.244.0.2}
${podYaml('two', 'app: a')}`,
    )
    const ips = registry.workloads.map((workload) => workload.ip)
    expect(registry.workload('default', 'given')?.ip).toBe('10.244.0.2')
    expect(new Set(ips).size).toBe(3)
  })

  it('keep their addresses when others come before them', () => {
    const test = pilotOf(podYaml('one', 'app: a'))
    const { ip } = test.registry.workload('default', 'one') ?? {}
    test.apply(podYaml('another', 'app: a') + serviceYaml('a', 'http:80'))
    expect(test.registry.workload('default', 'one')?.ip).toBe(ip)
  })

  it('that ran to their end are gone', () => {
    const { registry } = pilotOf(`${podYaml('done', 'app: a').replace('spec:', 'status: {phase: Succeeded}\nspec:')}`)
    expect(registry.workloads).toHaveLength(0)
  })

  it.each([
    ['Ready false', 'status: {phase: Running, conditions: [{type: Ready, status: "False"}]}', 'UNHEALTHY'],
    ['Ready true', 'status: {phase: Running, conditions: [{type: Ready, status: "True"}]}', 'HEALTHY'],
    ['Pending', 'status: {phase: Pending}', 'UNHEALTHY'],
    ['no status', '', 'HEALTHY'],
  ])('with %s', (_, status, health) => {
    const { registry } = pilotOf(`${podYaml('p', 'app: a')}${status}\n`)
    expect(registry.workload('default', 'p')?.health).toBe(health)
  })

  it('take their locality from the node, or from the label istio-locality', () => {
    const { registry } = pilotOf(`
apiVersion: v1
kind: Node
metadata:
  name: n1
  labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: eu-1, topology.istio.io/subzone: rack}
${podYaml('on-node', 'app: a', 'nodeName: n1')}${podYaml('labelled', 'app: a, istio-locality: us.us-1', 'nodeName: n1')}`)
    expect(registry.workload('default', 'on-node')?.locality).toBe('eu/eu-1/rack')
    expect(registry.workload('default', 'labelled')?.locality).toBe('us/us-1')
  })
})

describe('injection', () => {
  const labelOf = (labels: string, before = '') => {
    const { registry } = pilotOf(before + podYaml('p', `app: a${labels}`))
    const { injected, labels: made } = registry.workload('default', 'p') ?? {}
    return { injected, tlsMode: made?.['security.istio.io/tlsMode'] }
  }

  it('gives each pod a sidecar and the labels of one', () => {
    expect(labelOf('')).toEqual({ injected: true, tlsMode: 'istio' })
    const { registry } = pilotOf(podYaml('p', 'app: a, version: v3'))
    expect(registry.workload('default', 'p')?.labels).toMatchObject({
      'service.istio.io/canonical-name': 'a',
      'service.istio.io/canonical-revision': 'v3',
    })
  })

  it('is refused by the pod', () => {
    expect(labelOf(', sidecar.istio.io/inject: "false"')).toEqual({ injected: false, tlsMode: undefined })
  })

  it('is refused by the namespace', () => {
    const namespace =
      'apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {istio-injection: disabled}}\n'
    expect(labelOf('', namespace)).toEqual({ injected: false, tlsMode: undefined })
  })

  it('leaves a pod without it what its own label says', () => {
    const stated = ', sidecar.istio.io/inject: "false", security.istio.io/tlsMode: istio'
    expect(labelOf(stated)).toEqual({ injected: false, tlsMode: 'istio' })
  })
})

describe('a pod dumped from a cluster', () => {
  const dumped = (meta: string) =>
    pilotOf(
      podYaml('web-5d9c6b7f4-abcde', 'app: web, pod-template-hash: 5d9c6b7f4').replace(
        'namespace: default,',
        `namespace: default, ${meta},`,
      ),
    ).registry.workloads[0]

  it('belongs to the Deployment that its ReplicaSet is of', () => {
    const owner =
      'ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5d9c6b7f4, controller: true, uid: x}]'
    expect(dumped(owner)).toMatchObject({ workloadName: 'web', ownerKind: 'Deployment' })
  })

  it('that is being deleted takes no new requests', () => {
    expect(dumped('deletionTimestamp: 2026-01-01T00:00:00Z')?.health).toBe('TERMINATING')
  })

  it('is not made a second time from the template of its owner', () => {
    const owned = (kind: string, name: string) =>
      `ownerReferences: [{apiVersion: apps/v1, kind: ${kind}, name: ${name}, controller: true, uid: x}]`
    const set = deployment('web-5d9c6b7f4', 'replicas: 1')
      .replace('kind: Deployment', 'kind: ReplicaSet')
      .replace('metadata: {name: web-5d9c6b7f4}', `metadata: {name: web-5d9c6b7f4, ${owned('Deployment', 'web')}}`)
    const pod = podYaml('web-5d9c6b7f4-abcde', 'app: web').replace(
      'namespace: default,',
      `namespace: default, ${owned('ReplicaSet', 'web-5d9c6b7f4')},`,
    )
    const { registry } = pilotOf(deployment('web', 'replicas: 1') + set + pod)
    expect(registry.workloads.map((workload) => workload.name)).toEqual(['web-5d9c6b7f4-abcde'])
  })
})
