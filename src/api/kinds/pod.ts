import { z } from 'zod'
import { bool, int32, intOrString, list, map, oneOf, open, quantity, text } from '../schema.ts'

/** A port that a container listens on. */
export const ContainerPort = open(
  {
    name: text,
    containerPort: int32,
    hostPort: int32,
    hostIP: text,
    protocol: oneOf('TCP', 'UDP', 'SCTP').default('TCP'),
  },
  ['containerPort', 'protocol'],
  '',
)
export type ContainerPort = z.infer<typeof ContainerPort>

/** An environment variable; `valueFrom` is kept as it is. */
export const EnvVar = open({ name: text, value: text }, ['name'])
export type EnvVar = z.infer<typeof EnvVar>

/** A probe over HTTP. */
export const HTTPGetAction = open(
  {
    path: text,
    port: intOrString,
    host: text,
    scheme: text,
    httpHeaders: list(open({ name: text, value: text }, ['name'])),
  },
  ['port'],
)
export type HTTPGetAction = z.infer<typeof HTTPGetAction>

/** A probe; seconds are whole ones. */
export const Probe = open({
  httpGet: HTTPGetAction,
  tcpSocket: open({ port: intOrString, host: text }, ['port']),
  grpc: open({ port: int32, service: text }, ['port']),
  exec: open({ command: list(text) }),
  initialDelaySeconds: int32,
  timeoutSeconds: int32,
  periodSeconds: int32,
  successThreshold: int32,
  failureThreshold: int32,
})
export type Probe = z.infer<typeof Probe>

/** A container: image, ports, environment and probes are what a mesh reads. */
export const Container = open(
  {
    name: text,
    image: text,
    command: list(text),
    args: list(text),
    workingDir: text,
    ports: list(ContainerPort),
    env: list(EnvVar),
    readinessProbe: Probe,
    livenessProbe: Probe,
    startupProbe: Probe,
    resources: open({ requests: map(quantity), limits: map(quantity) }),
    /** Of init containers: `Always` makes a native sidecar. */
    restartPolicy: text,
  },
  ['name'],
  'envFrom imagePullPolicy lifecycle resizePolicy restartPolicyRules securityContext stdin stdinOnce terminationMessagePath terminationMessagePolicy tty volumeDevices volumeMounts',
)
export type Container = z.infer<typeof Container>

/** The spec of a pod. */
export const PodSpec = open(
  {
    containers: list(Container),
    initContainers: list(Container),
    serviceAccountName: text,
    /** Deprecated alias of serviceAccountName. */
    serviceAccount: text,
    nodeName: text,
    nodeSelector: map(text),
    hostNetwork: bool,
    hostname: text,
    subdomain: text,
    restartPolicy: oneOf('Always', 'OnFailure', 'Never').default('Always'),
    terminationGracePeriodSeconds: int32,
    imagePullSecrets: list(open({ name: text })),
    volumes: list(open({ name: text }, ['name'])),
  },
  ['containers', 'restartPolicy'],
  'activeDeadlineSeconds affinity automountServiceAccountToken dnsConfig dnsPolicy enableServiceLinks ephemeralContainers hostAliases hostIPC hostPID hostUsers hostnameOverride os overhead preemptionPolicy priority priorityClassName readinessGates resourceClaims resources runtimeClassName schedulerName schedulingGates securityContext setHostnameAsFQDN shareProcessNamespace tolerations topologySpreadConstraints workloadRef',
)
export type PodSpec = z.infer<typeof PodSpec>

/** What the cluster says of a pod. `podIP` is the address that configuration and logs speak of. */
export const PodStatus = open({
  phase: text,
  podIP: text,
  podIPs: list(open({ ip: text }, ['ip'])),
  hostIP: text,
  conditions: list(open({ type: text, status: text }, ['type', 'status'])),
})
export type PodStatus = z.infer<typeof PodStatus>

/** The metadata of a pod template. */
export const TemplateMeta = open(
  { name: text, labels: map(text), annotations: map(text) },
  [],
  'creationTimestamp deletionGracePeriodSeconds deletionTimestamp finalizers generateName generation managedFields namespace ownerReferences resourceVersion selfLink uid',
)
export type TemplateMeta = z.infer<typeof TemplateMeta>

/** The template that a controller makes pods from. */
export const PodTemplateSpec = open({ metadata: TemplateMeta, spec: PodSpec }, ['spec'], '')
export type PodTemplateSpec = z.infer<typeof PodTemplateSpec>

/** What a Pod holds besides its metadata. */
export const PodBody = z.object({ spec: PodSpec, status: PodStatus.optional() })
