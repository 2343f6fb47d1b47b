import { rulesOf } from './support/rules.ts'

rulesOf('Service', [
  [
    'ports are needed',
    `
selector: {app: a}`,
    ['spec error spec: ports are needed'],
  ],
  [
    'several ports have names',
    `
ports:
- {port: 80, targetPort: http}
- {port: 80, name: a, targetPort: 70000}
- {port: 81, name: a, targetPort: "8080"}`,
    [
      '2:3 error spec.ports[0]: name is needed, as there are several ports',
      '3:10 error spec.ports[1].port: port 80/TCP is there already',
      '3:35 error spec.ports[1].targetPort: a port is a number from 1 to 65535, not 70000',
      '4:20 error spec.ports[2].name: a port "a" is there already',
      '4:35 warning spec.ports[2].targetPort: "8080" is the name of no container port: taken as the number; write it without quotes',
    ],
  ],
  [
    'ExternalName needs a name',
    `
type: ExternalName`,
    ['spec error spec: the type ExternalName needs externalName'],
  ],
  [
    'addresses',
    `
clusterIP: x
ports: [{port: 80}]`,
    ['1:12 error spec.clusterIP: "x" is neither an IP address nor "None"'],
  ],
  [
    'headless and NodePort',
    `
type: NodePort
clusterIP: None
ports: [{port: 80}]`,
    ['2:12 error spec.clusterIP: a headless service cannot have the type NodePort'],
  ],
  [
    'port numbers',
    `
ports: [{port: 0}]`,
    ['1:16 error spec.ports[0].port: must be at least 1, is the number 0'],
  ],
])

rulesOf('Pod', [
  [
    'containers',
    `
containers: []`,
    ['1:1 error spec.containers: one container at least is needed'],
  ],
  [
    'names and ports of containers',
    `
containers:
- {name: A, image: a}
- {name: b, image: a, ports: [{containerPort: 0, name: way-too-long-a-name}, {containerPort: 1, name: "1"}]}
- {name: b, image: a}
- {name: c}`,
    [
      '2:10 error spec.containers[0].name: "A" is no name of a container (at most 63 lower-case letters, digits and "-")',
      '3:47 error spec.containers[1].ports[0].containerPort: a port is a number from 1 to 65535, not 0',
      '3:56 error spec.containers[1].ports[0].name: "way-too-long-a-name" is no port name (at most 15 lower-case letters, digits and "-")',
      '3:103 error spec.containers[1].ports[1].name: "1" is no port name (at most 15 lower-case letters, digits and "-")',
      '4:10 error spec.containers[2].name: a container "b" is there already',
      '5:3 warning spec.containers[3]: image is needed',
    ],
  ],
])

rulesOf('Deployment', [
  [
    'the selector selects the pods',
    `
selector: {matchLabels: {app: a}}
template:
  metadata: {labels: {app: b}}
  spec: {containers: [{name: a, image: a}]}`,
    ['1:31 error spec.selector.matchLabels.app: the labels of the template do not have app: a'],
  ],
  [
    'an empty selector',
    `
selector: {}
template:
  metadata: {labels: {app: b}}
  spec: {containers: [{name: a, image: a}]}`,
    ['1:1 error spec.selector: must not be empty'],
  ],
])

rulesOf('Job', [
  [
    'a Job says how it restarts',
    `
template:
  spec: {containers: [{name: a, image: a}]}`,
    [
      '2:9 warning spec.template.spec.restartPolicy: a Job restarts OnFailure or Never, and has to say so: taken as Never',
    ],
  ],
])
