import { describe, expect, it } from 'vitest'
import { loadDocuments, loadText } from '../src/api/load.ts'

const said = (text: string, options = {}, file = 'f.yaml') =>
  loadText(file, text, options).problems.map(
    ({ line, col, severity, message }) => `${line}:${col} ${severity} ${message}`,
  )

const virtualService = (route: string) => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts: [reviews]
  http:
  - route:
    - destination:
        host: reviews
${route}`

describe('an object', () => {
  it('has its kind, its metadata with defaults, and its place', () => {
    const { objects, problems } = loadText('f.yaml', `# first\n${virtualService('      weight: 1\n')}`)
    expect(problems).toEqual([])
    const [object] = objects
    if (object?.kind !== 'VirtualService') throw new Error('a VirtualService was expected')
    expect(object.metadata).toEqual({ name: 'reviews', namespace: 'default', labels: {}, annotations: {} })
    expect(object.spec.http?.[0]?.route?.[0]).toEqual({ destination: { host: 'reviews' }, weight: 1 })
    expect(object.origin).toMatchObject({ file: 'f.yaml', line: 2, col: 1 })
    expect(object.origin.locate(['spec', 'http', 0, 'route', 0, 'weight'])).toEqual({
      file: 'f.yaml',
      line: 12,
      col: 15,
    })
  })

  it('keeps the metadata that it states', () => {
    const text = `apiVersion: v1
kind: Pod
metadata:
  name: a
  namespace: ns
  uid: 1-2
  creationTimestamp: 2026-01-01T00:00:00Z
  labels: {app: a}
  annotations: {dinghy.dev/app: "9080=127.0.0.1:1"}
spec:
  containers: [{name: a, image: a}]
status:
  podIP: 10.0.0.1
`
    const { objects, problems } = loadText('f.yaml', text)
    expect(problems).toEqual([])
    expect(objects[0]?.metadata).toEqual({
      name: 'a',
      namespace: 'ns',
      uid: '1-2',
      creationTimestamp: '2026-01-01T00:00:00Z',
      labels: { app: 'a' },
      annotations: { 'dinghy.dev/app': '9080=127.0.0.1:1' },
    })
    expect(objects[0]).toMatchObject({ spec: { restartPolicy: 'Always' }, status: { podIP: '10.0.0.1' } })
  })

  it('without a namespace has none', () => {
    const { objects } = loadText(
      'f.yaml',
      'apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {istio-injection: disabled}}\n',
    )
    expect(objects[0]?.metadata).toMatchObject({ name: 'a', namespace: '' })
  })

  it('gets the defaults of the API server', () => {
    const text = `apiVersion: v1
kind: Service
metadata: {name: a}
spec:
  ports: [{port: 80}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec:
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: a}}
    spec: {containers: [{name: a, image: a, ports: [{containerPort: 80}], volumeMounts: [{name: v, mountPath: /v}]}]}
`
    const { objects, problems } = loadText('f.yaml', text)
    expect(problems).toEqual([])
    expect(objects[0]).toMatchObject({
      spec: { type: 'ClusterIP', sessionAffinity: 'None', ports: [{ port: 80, protocol: 'TCP' }] },
    })
    const container = {
      ports: [{ containerPort: 80, protocol: 'TCP' }],
      volumeMounts: [{ name: 'v', mountPath: '/v' }],
    }
    expect(objects[1]).toMatchObject({ spec: { replicas: 1, template: { spec: { containers: [container] } } } })
  })

  it('may come in a List, each with its own place', () => {
    const text = `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: a}
- apiVersion: v1
  kind: PodList
  items:
  - apiVersion: v1
    kind: Pod
    metadata: {name: b}
    spec: {containers: []}
`
    const { objects, problems } = loadText('f.yaml', text)
    expect(objects.map(({ kind, origin }) => `${kind} ${origin.line}:${origin.col}`)).toEqual(['ConfigMap 4:3'])
    expect(problems.map(({ line, col, message }) => `${line}:${col} ${message}`)).toEqual([
      '13:12 spec.containers: one container at least is needed',
    ])
  })

  it('may have an empty spec, where Istio allows it', () => {
    const policy = 'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: allow-nothing}\n'
    for (const spec of ['', 'spec:\n', 'spec: {}\n'])
      expect(loadText('f.yaml', policy + spec).objects[0]).toMatchObject({ spec: {} })
  })

  it('may have fields that are null, which are as good as absent', () => {
    const { objects, problems } = loadText('f.yaml', virtualService('      weight:\n    timeout: ~\n'))
    expect(problems).toEqual([])
    expect(JSON.stringify(objects[0])).not.toContain('null')
  })

  it('may match the presence of a header by an empty condition', () => {
    const { objects } = loadText('f.yaml', virtualService('    match:\n    - headers: {x-a: , x-b: {}}\n'))
    expect(objects[0]).toMatchObject({ spec: { http: [{ match: [{ headers: { 'x-a': {}, 'x-b': {} } }] }] } })
  })

  it.each(['v1', 'v1beta1', 'v1alpha3'])('is read at networking.istio.io/%s', (version) => {
    const { objects } = loadText('f.yaml', virtualService('').replace('/v1', `/${version}`))
    expect(objects.map(({ apiVersion }) => apiVersion)).toEqual([`networking.istio.io/${version}`])
  })
})

describe('what is wrong with a field', () => {
  it('an unknown one, with the one that was meant', () => {
    expect(said(virtualService('      weigth: 90\n'))).toEqual([
      '11:7 error spec.http[0].route[0]: unknown field "weigth": did you mean "weight"?',
    ])
  })

  it('a snake_case one', () => {
    expect(said(virtualService('    mirror_percentage: {value: 1}\n'))).toEqual([
      '11:5 error spec.http[0]: unknown field "mirror_percentage": did you mean "mirrorPercentage"?',
    ])
  })

  it('one that is like no other', () => {
    expect(said(virtualService('    nonsense: 1\n'))).toEqual(['11:5 error spec.http[0]: unknown field "nonsense"'])
  })

  it('one beside the spec', () => {
    expect(said(`${virtualService('')}specs: {}\n`)).toEqual(['11:1 error unknown field "specs": did you mean "spec"?'])
  })

  it('numbers in quotes, and strings without', () => {
    expect(said(virtualService('      weight: "90"\n'))).toEqual([
      '11:15 error spec.http[0].route[0].weight: expected a number, got the string "90": write it without quotes',
    ])
    const labels = 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels:\n    version: 1\n    on: yes\n'
    expect(said(labels)).toEqual([
      '6:14 error metadata.labels.version: expected a string, got the number 1: write "1"',
      '7:9 error metadata.labels.true: expected a string, got the boolean true: write "true"',
    ])
  })

  it('fractions, maps and lists in the wrong place', () => {
    expect(said(virtualService('      weight: 1.5\n'))).toEqual([
      '11:15 error spec.http[0].route[0].weight: expected an integer, got the number 1.5',
    ])
    expect(said(virtualService('    timeout: {seconds: 5}\n'))).toEqual([
      '11:14 error spec.http[0].timeout: expected a string, got a map',
    ])
    expect(said(virtualService('    match: {port: 80}\n'))).toEqual([
      '11:12 error spec.http[0].match: expected a list, got a map',
    ])
  })

  it('a required one that is missing', () => {
    expect(
      said('apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec:\n  subsets: [{}]\n'),
    ).toEqual([
      '4:1 error spec: required field "host" is missing',
      '5:13 error spec.subsets[0]: required field "name" is missing',
    ])
  })

  it('a name that an enum has not', () => {
    const text =
      'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec:\n  mtls: {mode: strict}\n'
    expect(said(text)).toEqual([
      '5:16 error spec.mtls.mode: the string "strict" is not allowed: did you mean "STRICT"?',
    ])
    expect(said(text.replace('strict', 'NOPE'))).toEqual([
      '5:16 error spec.mtls.mode: the string "NOPE" is not allowed: one of UNSET, DISABLE, PERMISSIVE, STRICT',
    ])
  })

  it('a duration that is none', () => {
    expect(said(virtualService('    timeout: 5 seconds\n'))).toEqual([
      '11:14 error spec.http[0].timeout: expected a duration such as "5s", "100ms" or "1h30m", got the string "5 seconds"',
    ])
    expect(said(virtualService('    timeout: 5\n'))).toEqual([
      '11:14 error spec.http[0].timeout: expected a string, got the number 5: write "5"',
    ])
  })

  it('a type in a pod, while what a mesh does not read is left alone', () => {
    const pod = (rest: string) =>
      `apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  tolerations: [{key: 1}]\n  containers:\n  - {name: a, image: a, ${rest}}\n`
    expect(said(pod('tty: "yes"'))).toEqual([])
    expect(said(pod('ports: [{containerPort: "80"}]'))).toEqual([
      '7:49 error spec.containers[0].ports[0].containerPort: expected a number, got the string "80": write it without quotes',
    ])
  })

  it('one that Kubernetes does not have has no effect, which is worth a warning', () => {
    const text = `apiVersion: v1
kind: Service
metadata: {name: a}
spec:
  selctor: {app: a}
  healthCheckNodePort: 1
  ports: [{port: 80, targetport: 8080}]
`
    expect(said(text)).toEqual([
      '5:3 warning spec: unknown field "selctor", which has no effect: did you mean "selector"?',
      '7:22 warning spec.ports[0]: unknown field "targetport", which has no effect: did you mean "targetPort"?',
    ])
    expect(said(text, { strict: true }).map((line) => line.split(' ')[1])).toEqual(['error', 'error'])
  })

  it('all problems of all documents are found at once, and good documents stay', () => {
    const text = `${virtualService('      weigth: 1\n')}---\n${virtualService('      weight: 1\n')}---\n${virtualService('      weight: -1\n')}`
    const { objects, problems } = loadText('f.yaml', text)
    expect(objects).toHaveLength(1)
    expect(problems.map(({ line }) => line)).toEqual([11, 35])
  })
})

describe('what is no object', () => {
  it.each([
    [
      'http: []\n',
      'no apiVersion and kind: not an object that can be applied (it looks like the spec of a VirtualService: put it under spec)',
    ],
    [
      '- destination: {host: a}\n',
      'a list, not an object with apiVersion, kind and metadata (it looks like the "route" of a VirtualService: put it under spec.http[].route)',
    ],
    [
      '- route: []\n',
      'a list, not an object with apiVersion, kind and metadata (it looks like the "http" of a VirtualService: put it under spec.http)',
    ],
    [
      'fault: {}\n',
      'no apiVersion and kind: not an object that can be applied (it looks like a part of a VirtualService: put it under spec.http[])',
    ],
    ['kind: Pod\n', 'no apiVersion: not an object that can be applied'],
    ['apiVersion: v1\n', 'no kind: not an object that can be applied'],
    ['hello\n', 'a string, not an object with apiVersion, kind and metadata'],
  ])('%j', (text, message) => {
    expect(said(text)).toEqual([`1:1 error ${message}`])
  })
})

describe('kinds', () => {
  const of = (apiVersion: string, kind: string) =>
    said(`apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: a}\n`)

  it('that the mesh does not read are kept, with a note', () => {
    const text = 'apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: a}\nspec: {capacity: {storage: 1Gi}}\n'
    const { objects, others, problems } = loadText('f.yaml', text)
    expect(objects).toEqual([])
    expect(others[0]).toMatchObject({
      kind: 'PersistentVolume',
      metadata: { name: 'a', namespace: '' },
      body: { spec: { capacity: { storage: '1Gi' } } },
    })
    expect(problems.map(({ severity, message }) => `${severity} ${message}`)).toEqual([
      'info PersistentVolume has no meaning for the mesh: kept, and otherwise left alone',
    ])
    expect(of('cert-manager.io/v1', 'Certificate')).toEqual([
      '2:1 info Certificate has no meaning for the mesh: kept, and otherwise left alone',
    ])
  })

  it('that steer traffic, but are not enforced, are warned of', () => {
    expect(of('networking.k8s.io/v1', 'NetworkPolicy')).toEqual(['2:1 warning not enforced yet: NetworkPolicy'])
    expect(of('extensions.istio.io/v1alpha1', 'WasmPlugin')).toEqual(['2:1 warning not enforced yet: WasmPlugin'])
  })

  it('that do not exist are errors', () => {
    expect(of('networking.istio.io/v1', 'VirtualServcie')).toEqual([
      '2:7 error no kind VirtualServcie in networking.istio.io/v1: did you mean "VirtualService"?',
    ])
    expect(of('networking.istio.io/v2', 'VirtualService')).toEqual([
      '1:13 error VirtualService has no version v2: use networking.istio.io/v1, networking.istio.io/v1beta1, networking.istio.io/v1alpha3',
    ])
    expect(of('extensions/v1beta1', 'Deployment')).toEqual([
      '2:7 error no kind Deployment in extensions/v1beta1: it is in apps/v1',
    ])
    expect(of('v1', 'Deployment')).toEqual(['2:7 error no kind Deployment in v1: it is in apps/v1'])
    expect(of('apps/v1', 'Deploymnt')).toEqual(['2:7 error no kind Deploymnt in apps/v1: did you mean "Deployment"?'])
  })
})

describe('metadata', () => {
  const of = (metadata: string, kind = 'ConfigMap') => said(`apiVersion: v1\nkind: ${kind}\nmetadata: ${metadata}\n`)

  it.each([
    ['{}', '3:11 error metadata: required field "name" is missing'],
    ['{name: ""}', '3:18 error metadata.name: must not be empty'],
    ['{name: A_b}', '3:18 error metadata.name: "A_b" is no valid name: lower-case letters, digits, "-" and "."'],
    [
      '{name: a, namespace: A}',
      '3:32 error metadata.namespace: "A" is no valid name: at most 63 lower-case letters, digits and "-"',
    ],
    [
      '{name: a, labels: {a: "b c"}}',
      '3:33 error metadata.labels.a: the string "b c" is no label value: at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends',
    ],
    ['{name: a, labels: {a/b/c: d}}', '3:30 error metadata.labels["a/b/c"]: "a/b/c" is no label key'],
    ['{name: a, annotations: {"a b": d}}', '3:35 error metadata.annotations["a b"]: "a b" is no annotation key'],
    [
      '{name: a, creationTimestamp: yesterday}',
      '3:40 error metadata.creationTimestamp: "yesterday" is no time like 2026-01-31T12:00:00Z',
    ],
  ])('%s', (metadata, message) => {
    expect(of(metadata)).toEqual([message])
  })

  it('follows the rules of the kind', () => {
    expect(of('{name: a.b}')).toEqual([])
    expect(of('{name: a.b}', 'Namespace')[0]).toContain('is no valid name: at most 63 lower-case letters')
    expect(said('apiVersion: v1\nkind: Service\nmetadata: {name: 1a}\nspec: {ports: [{port: 80}]}\n')[0]).toContain(
      'with a letter first',
    )
  })

  it("keeps Istio's annotations to their place", () => {
    const policy = (annotation: string, action: string) =>
      said(
        `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a, annotations: {${annotation}}}\nspec: {action: ${action}, rules: [{}]}\n`,
      ).filter((line) => line.includes(' error '))
    expect(policy('istio.io/dry-run: "true"', 'DENY')).toEqual([])
    expect(policy('istio.io/dry-run: "maybe"', 'DENY')[0]).toContain('must be "true" or "false"')
    expect(policy('istio.io/dry-run: "true"', 'AUDIT')[0]).toContain('is for the actions ALLOW and DENY alone')
    expect(policy('internal.istio.io/parents: a', 'DENY')[0]).toContain("is Istio's own")
    const rule = `apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a, annotations: {istio.io/dry-run: "true"}}\nspec: {host: a}\n`
    expect(said(rule)[0]).toContain('is for AuthorizationPolicies alone')
  })
})

describe('MeshConfig', () => {
  const configMap = (mesh: string) => `apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |-
${mesh.replace(/^/gm, '    ')}
`

  it('comes from the ConfigMap istio-system/istio, with places in its file', () => {
    const { objects, problems } = loadText(
      'f.yaml',
      configMap('accessLogFile: /dev/stdout\noutboundTrafficPolicy:\n  mode: REGISTRY_ONLY'),
    )
    expect(problems).toEqual([])
    expect(objects.map(({ kind }) => kind)).toEqual(['ConfigMap', 'MeshConfig'])
    expect(objects[1]).toMatchObject({
      metadata: { name: 'istio', namespace: 'istio-system' },
      spec: { accessLogFile: '/dev/stdout', outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' } },
    })
    expect(objects[1]?.origin.locate(['spec', 'outboundTrafficPolicy', 'mode'])).toEqual({
      file: 'f.yaml',
      line: 8,
      col: 13,
    })
  })

  it('may be JSON in the ConfigMap', () => {
    const text = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"istio","namespace":"istio-system"},"data":{"mesh":"{\\"enableTracing\\":false}"}}`
    expect(loadText('f.json', text).objects[1]).toMatchObject({ kind: 'MeshConfig', spec: { enableTracing: false } })
  })

  it('comes from a file of its own', () => {
    for (const file of ['mesh.yaml', 'a/meshconfig.yml', 'a/mesh-config.yaml']) {
      expect(loadText(file, 'rootNamespace: root\n').objects).toMatchObject([
        { kind: 'MeshConfig', spec: { rootNamespace: 'root' } },
      ])
    }
    expect(loadText('other.yaml', 'rootNamespace: root\n').objects).toEqual([])
  })

  it('comes from an IstioOperator', () => {
    const text =
      'apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: a}\nspec:\n  meshConfig:\n    trustDomain: a_b\n'
    expect(said(text)).toEqual(['6:18 error trustDomain: "a_b" is no trust domain'])
    expect(loadText('f.yaml', text.replace('a_b', 'ab')).objects).toMatchObject([
      { kind: 'MeshConfig', spec: { trustDomain: 'ab' } },
    ])
  })

  it('takes snake_case as well, and warns of what it does not know', () => {
    const { objects, problems } = loadText('mesh.yaml', 'access_log_file: a\naccesslogfile: b\nnonsense: 1\n')
    expect(objects[0]).toMatchObject({ spec: { accessLogFile: 'a' } })
    expect(problems.map(({ line, severity, message }) => `${line} ${severity} ${message}`)).toEqual([
      '2 warning unknown field "accesslogfile" of MeshConfig, which has no effect: did you mean "accessLogFile"?',
      '3 warning unknown field "nonsense" of MeshConfig, which has no effect',
    ])
  })

  it('has its errors at their place in the ConfigMap', () => {
    expect(said(configMap('trustDomain: a_b\nconnectTimeout: 0s\naccessLogEncoding: XML'))).toEqual([
      '8:24 error accessLogEncoding: the string "XML" is not allowed: one of TEXT, JSON',
    ])
    expect(
      said(configMap('trustDomain: a_b\nconnectTimeout: 0s\ndefaultHttpRetryPolicy: {attempts: 1, retryOn: nope}')),
    ).toMatchObject([
      '6:18 error trustDomain: "a_b" is no trust domain',
      '7:21 error connectTimeout: must be at least 1ms, is 0s',
      expect.stringMatching(/^8:52 error defaultHttpRetryPolicy.retryOn: "nope" is no retry condition/),
    ])
    expect(said(configMap('a: [1'))).toEqual([expect.stringMatching(/^6:\d+ error YAML: /)])
  })
})

it('several files are read together', () => {
  const files = ['a', 'b'].map((name) => ({
    file: `${name}.yaml`,
    text: `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, nope: 1}\nbad`,
  }))
  const { problems } = loadDocuments([
    ...files,
    { file: 'c.yaml', text: 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n' },
  ])
  expect(problems.map(({ file, line }) => `${file}:${line}`)).toEqual(['a.yaml:4', 'b.yaml:4'])
})
