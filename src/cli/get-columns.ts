import type { ObjectView } from '../mesh/object-views.ts'

/** A column of `dinghy get`; `wide` ones are for `-o wide`. */
export interface Column {
  head: string
  wide?: boolean
  cell: (object: ObjectView, now: number) => string
}

type Fields = Record<string, unknown>

const at = (value: unknown, path: string): unknown =>
  path.split('.').reduce<unknown>((part, key) => (part as Fields | undefined)?.[key], value)
const listAt = (value: unknown, path: string): Fields[] => (at(value, path) as Fields[] | undefined) ?? []

/** What a JSONPath column of a CRD shows: lists as JSON, nothing for nothing. */
function field(head: string, path: string, wide = false): Column {
  const cell = (object: ObjectView): string => {
    const value = at(object, path)
    if (value === undefined) return ''
    return typeof value === 'object' ? JSON.stringify(value) : String(value)
  }
  return { head, cell, ...(wide ? { wide } : {}) }
}

function condition(head: string, type: string): Column {
  const cell = (object: ObjectView): string =>
    String(listAt(object, 'status.conditions').find((entry) => entry.type === type)?.status ?? '')
  return { head, cell }
}

const AGE: Column = { head: 'AGE', cell: (object, now) => age(at(object, 'metadata.creationTimestamp'), now) }
const NONE = '<none>'

/** As kubectl shortens durations (k8s.io/apimachinery duration.HumanDuration). */
export function age(time: unknown, now: number): string {
  const since = Date.parse(String(time))
  if (Number.isNaN(since)) return '<unknown>'
  const seconds = Math.max(0, Math.floor((now - since) / 1000))
  const minutes = Math.floor(seconds / 60)
  const hours = Math.floor(minutes / 60)
  const days = Math.floor(hours / 24)
  const pair = (a: number, unit: string, b: number, small: string) => (b ? `${a}${unit}${b}${small}` : `${a}${unit}`)
  if (seconds < 120) return `${seconds}s`
  if (minutes < 10) return pair(minutes, 'm', seconds % 60, 's')
  if (minutes < 180) return `${minutes}m`
  if (hours < 8) return pair(hours, 'h', minutes % 60, 'm')
  if (hours < 48) return `${hours}h`
  if (hours < 192) return pair(days, 'd', hours % 24, 'h')
  if (days < 730) return `${days}d`
  return days < 2920 ? pair(Math.floor(days / 365), 'y', days % 365, 'd') : `${Math.floor(days / 365)}y`
}

function ports(object: ObjectView): string {
  const all = listAt(object, 'spec.ports').map(({ port, nodePort, protocol }) =>
    nodePort ? `${port}:${nodePort}/${protocol}` : `${port}/${protocol}`,
  )
  return all.join(',') || NONE
}

function externalIp(object: ObjectView): string {
  if (at(object, 'spec.type') === 'ExternalName') return String(at(object, 'spec.externalName'))
  const given = listAt(object, 'status.loadBalancer.ingress').map(({ ip, hostname }) => String(ip ?? hostname))
  const stated = (at(object, 'spec.externalIPs') as string[] | undefined) ?? []
  const all = [...given, ...stated]
  if (all.length > 0) return all.join(',')
  return at(object, 'spec.type') === 'LoadBalancer' ? '<pending>' : NONE
}

function selector(path: string): (object: ObjectView) => string {
  return (object) => {
    const labels = Object.entries((at(object, path) as Fields | undefined) ?? {})
    return labels.map(([key, value]) => `${key}=${String(value)}`).join(',') || NONE
  }
}

const replicas = (object: ObjectView): string => String(at(object, 'spec.replicas') ?? 1)
const count =
  (...paths: string[]) =>
  (object: ObjectView) =>
    String(paths.reduce((sum, path) => sum + Object.keys((at(object, path) as Fields | undefined) ?? {}).length, 0))
const isReady = (object: ObjectView): boolean =>
  listAt(object, 'status.conditions').every((entry) => entry.type !== 'Ready' || entry.status === 'True')

const POD: Column[] = [
  {
    head: 'READY',
    cell: (object) => {
      const containers = listAt(object, 'spec.containers').length
      return `${isReady(object) ? containers : 0}/${containers}`
    },
  },
  { head: 'STATUS', cell: (object) => String(at(object, 'status.phase') ?? 'Running') },
  { head: 'RESTARTS', cell: () => '0' },
  AGE,
  { head: 'IP', wide: true, cell: (object) => String(at(object, 'status.podIP') ?? NONE) },
  { head: 'NODE', wide: true, cell: (object) => String(at(object, 'spec.nodeName') ?? NONE) },
]

const HOSTNAMES = field('HOSTNAMES', 'spec.hostnames')

/** The columns after the name, by resource (`plural.group`); others have their age alone. */
const COLUMNS: Record<string, Column[]> = {
  pods: POD,
  services: [
    field('TYPE', 'spec.type'),
    { head: 'CLUSTER-IP', cell: (object) => String(at(object, 'spec.clusterIP') || NONE) },
    { head: 'EXTERNAL-IP', cell: externalIp },
    { head: 'PORT(S)', cell: ports },
    AGE,
    { head: 'SELECTOR', wide: true, cell: selector('spec.selector') },
  ],
  namespaces: [{ head: 'STATUS', cell: (object) => String(at(object, 'status.phase') ?? 'Active') }, AGE],
  configmaps: [{ head: 'DATA', cell: count('data', 'binaryData') }, AGE],
  secrets: [field('TYPE', 'type'), { head: 'DATA', cell: count('data', 'stringData') }, AGE],
  'deployments.apps': [
    { head: 'READY', cell: (object) => `${replicas(object)}/${replicas(object)}` },
    { head: 'UP-TO-DATE', cell: replicas },
    { head: 'AVAILABLE', cell: replicas },
    AGE,
  ],
  'statefulsets.apps': [{ head: 'READY', cell: (object) => `${replicas(object)}/${replicas(object)}` }, AGE],
  'replicasets.apps': [
    { head: 'DESIRED', cell: replicas },
    { head: 'CURRENT', cell: replicas },
    { head: 'READY', cell: replicas },
    AGE,
  ],
  'virtualservices.networking.istio.io': [field('GATEWAYS', 'spec.gateways'), field('HOSTS', 'spec.hosts'), AGE],
  'destinationrules.networking.istio.io': [field('HOST', 'spec.host'), AGE],
  'serviceentries.networking.istio.io': [
    field('HOSTS', 'spec.hosts'),
    field('LOCATION', 'spec.location'),
    field('RESOLUTION', 'spec.resolution'),
    AGE,
  ],
  'workloadentries.networking.istio.io': [AGE, field('ADDRESS', 'spec.address')],
  'peerauthentications.security.istio.io': [field('MODE', 'spec.mtls.mode'), AGE],
  'authorizationpolicies.security.istio.io': [field('ACTION', 'spec.action'), AGE],
  'gatewayclasses.gateway.networking.k8s.io': [
    field('CONTROLLER', 'spec.controllerName'),
    condition('ACCEPTED', 'Accepted'),
    AGE,
    field('DESCRIPTION', 'spec.description', true),
  ],
  'gateways.gateway.networking.k8s.io': [
    field('CLASS', 'spec.gatewayClassName'),
    { head: 'ADDRESS', cell: (object) => String(listAt(object, 'status.addresses')[0]?.value ?? '') },
    condition('PROGRAMMED', 'Programmed'),
    AGE,
  ],
  'listenersets.gateway.networking.k8s.io': [
    condition('ACCEPTED', 'Accepted'),
    condition('PROGRAMMED', 'Programmed'),
    AGE,
  ],
  'httproutes.gateway.networking.k8s.io': [HOSTNAMES, AGE],
  'grpcroutes.gateway.networking.k8s.io': [HOSTNAMES, AGE],
}

/** The columns of a resource, by `plural.group`. */
export function columnsOf(resource: string): readonly Column[] {
  return COLUMNS[resource] ?? [AGE]
}
