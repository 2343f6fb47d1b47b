import type { ServiceEntry } from '../kinds/service-entry.ts'
import type { WorkloadEntry } from '../kinds/workload-entry.ts'
import type { ReadinessProbe, WorkloadGroup } from '../kinds/workload-group.ts'
import {
  checkExportTo,
  checkLabels,
  checkPort,
  checkPortName,
  checkProtocol,
  checkSelector,
  checkSubnet,
  checkUnixPath,
  fqdnFault,
  isAddress,
  isHttp,
  isTls,
  protocolOf,
  wildcardFault,
} from './names.ts'
import type { Scope } from './scope.ts'
import { each, eachEntry } from './scope.ts'
import { checkNotNegative } from './values.ts'

const UNIX = 'unix://'

/** ServiceEntry (ValidateServiceEntry). */
export function checkServiceEntry(
  scope: Scope,
  spec: ServiceEntry,
  meta: { namespace: string; labels: Record<string, string> },
): void {
  const { hosts, addresses = [], ports = [], endpoints = [], workloadSelector, resolution = 'NONE' } = spec
  if (workloadSelector) {
    checkSelector(scope.at('workloadSelector'), workloadSelector)
    if (spec.endpoints) scope.at('endpoints').errorAtKey('excludes workloadSelector')
  }
  if (hosts.length === 0) scope.at('hosts').errorAtKey('one host at least is needed')
  each(scope.at('hosts'), hosts, (at, host) => {
    const fault = wildcardFault(host)
    if (host === '*') at.error('"*" is no host of a ServiceEntry')
    else if (fault !== undefined) at.error(fault)
    else if (resolution !== 'DYNAMIC_DNS' && host.includes('*') && !host.startsWith('*.'))
      at.warn('a wildcard stands for whole labels ("*.")')
  })
  each(scope.at('addresses'), addresses, (at, address) => {
    checkSubnet(at, address)
    if (address.includes('/') && resolution !== 'NONE' && resolution !== 'STATIC')
      at.error(`a CIDR block goes with the resolutions NONE and STATIC alone, not ${resolution}`)
  })
  const names = checkPorts(scope, spec, meta.labels)
  if (resolution === 'NONE') {
    if (endpoints.length > 0)
      scope.at('endpoints').errorAtKey('the resolution NONE (the value when it is not set) has no endpoints')
    if (workloadSelector) scope.at('workloadSelector').warnAtKey('has no effect with the resolution NONE')
  } else if (resolution === 'STATIC') {
    each(scope.at('endpoints'), endpoints, (at, endpoint) => {
      checkEntry(at, endpoint, names)
    })
  } else if (resolution === 'DYNAMIC_DNS') checkDynamic(scope, spec, meta.labels)
  else checkDns(scope, spec, names)
  if (resolution !== 'NONE' && hosts.length > 1) {
    const bad = ports.findIndex(({ protocol }) => !isHttp(protocolOf(protocol)) && !isTls(protocolOf(protocol)))
    if (bad >= 0) scope.at('ports', bad).error('several hosts on one port can be told apart with HTTP and TLS alone')
  }
  checkExportTo(scope.at('exportTo'), spec.exportTo, { namespace: meta.namespace, serviceEntry: true })
}

function checkPorts(
  scope: Scope,
  { addresses, ports, resolution }: ServiceEntry,
  labels: Record<string, string>,
): Set<string> {
  const names = new Set<string>()
  const numbers = new Set<number>()
  const opted = labels['networking.istio.io/enable-autoallocate-ip']?.toLowerCase() !== 'false'
  const allotted = opted && resolution !== undefined && resolution !== 'NONE'
  each(scope.at('ports'), ports, (at, port) => {
    if (names.has(port.name)) at.at('name').error(`a port "${port.name}" is there already`)
    if (numbers.has(port.number)) at.at('number').error(`port ${port.number} is there already`)
    names.add(port.name)
    numbers.add(port.number)
    if (port.targetPort) checkPort(at.at('targetPort'), port.targetPort)
    if (!addresses?.length && !allotted && (!port.protocol || port.protocol === 'TCP')) {
      at.warn('without addresses, a TCP port takes the traffic of that port to any address')
    }
    checkPortName(at.at('name'), port.name)
    checkProtocol(at.at('protocol'), port.protocol)
    checkPort(at.at('number'), port.number)
  })
  return names
}

function checkDns(
  scope: Scope,
  { hosts, endpoints = [], resolution, addresses, ports }: ServiceEntry,
  names: Set<string>,
): void {
  if (endpoints.length === 0) {
    const bad = hosts.findIndex((host) => fqdnFault(host) !== undefined)
    if (bad >= 0)
      scope.at('hosts', bad).error(`must be a DNS name that can be resolved (no wildcard), as there are no endpoints`)
  }
  if (resolution === 'DNS_ROUND_ROBIN' && endpoints.length > 1)
    scope.at('endpoints').errorAtKey('the resolution DNS_ROUND_ROBIN has one endpoint at most')
  each(scope.at('endpoints'), endpoints, (at, endpoint) => {
    const address = endpoint.address ?? ''
    if (!isAddress(address) && fqdnFault(address) !== undefined)
      at.at('address').error(`"${address}" is neither a DNS name nor an IP address`)
    checkEndpointPorts(at, endpoint, names)
    checkLabels(at.at('labels'), endpoint.labels)
  })
  const tcp = (ports ?? []).some(({ protocol }) => {
    const known = protocolOf(protocol)
    return known !== undefined && !isHttp(known) && known !== 'udp'
  })
  if (addresses?.length && tcp && hosts.length > 1)
    scope.at('hosts').warnAtKey('several hosts with an address and a TCP port cannot be told apart')
}

function checkDynamic(scope: Scope, spec: ServiceEntry, labels: Record<string, string>): void {
  const { hosts, addresses, endpoints, ports, location } = spec
  each(scope.at('hosts'), hosts, (at, host) => {
    if (!host.startsWith('*')) at.error('the resolution DYNAMIC_DNS is for hosts with a wildcard')
  })
  if (addresses?.length) scope.at('addresses').errorAtKey('the resolution DYNAMIC_DNS has no addresses')
  if (endpoints?.length) scope.at('endpoints').errorAtKey('the resolution DYNAMIC_DNS has no endpoints')
  each(scope.at('ports'), ports, (at, { protocol }) => {
    if (!['http', 'tls', 'grpc', 'http2'].includes(protocolOf(protocol) ?? ''))
      at.error('the resolution DYNAMIC_DNS is for HTTP, TLS, GRPC and HTTP2 alone')
  })
  const waypoint = labels['istio.io/use-waypoint']
  if (location === 'MESH_INTERNAL' && waypoint && waypoint.toLowerCase() !== 'none') {
    scope.at('location').error('with a waypoint, the resolution DYNAMIC_DNS is for MESH_EXTERNAL alone')
  }
}

function checkEndpointPorts(scope: Scope, entry: WorkloadEntry, names: Set<string> | undefined): void {
  eachEntry(scope.at('ports'), entry.ports, (at, name, port) => {
    if (names && !names.has(name)) at.errorAtKey(`the ServiceEntry has no port "${name}"`)
    else if (!/^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$/.test(name)) at.errorAtKey(`"${name}" is no port name`)
    checkPort(at, port)
  })
}

/** An endpoint of a ServiceEntry (with the names of its ports), or a WorkloadEntry (validateWorkloadEntry). */
function checkEntry(scope: Scope, entry: WorkloadEntry, names?: Set<string>): void {
  const { address = '' } = entry
  if (address === '') {
    if (!entry.network) {
      scope.error('address is needed')
      return
    }
    scope.warn(`no address: reached through the gateways of the network "${entry.network}"`)
  } else if (address.startsWith(UNIX)) {
    checkUnixPath(scope.at('address'), address.slice(UNIX.length))
    if (Object.keys(entry.ports ?? {}).length > 0) scope.at('ports').errorAtKey('a unix socket has no ports')
    if (names && names.size !== 1)
      scope.at('address').error('a unix socket goes with a ServiceEntry with exactly one port')
  } else if (!isAddress(address) && names)
    scope.at('address').error(`"${address}" is no IP address, which the resolution STATIC needs`)
  else if (!isAddress(address) && fqdnFault(address) !== undefined) {
    scope.at('address').error(`"${address}" is neither a DNS name nor an IP address`)
  }
  checkEndpointPorts(scope, entry, names)
  checkLabels(scope.at('labels'), entry.labels)
}

/** WorkloadEntry (ValidateWorkloadEntry). */
export function checkWorkloadEntry(scope: Scope, spec: WorkloadEntry): void {
  checkEntry(scope, spec)
}

/** WorkloadGroup (ValidateWorkloadGroup). */
export function checkWorkloadGroup(scope: Scope, spec: WorkloadGroup): void {
  checkLabels(scope.at('metadata', 'labels'), spec.metadata?.labels)
  const { address, ports } = spec.template
  if (address?.startsWith(UNIX) && Object.keys(ports ?? {}).length > 0)
    scope.at('template', 'ports').errorAtKey('a unix socket has no ports')
  checkEndpointPorts(scope.at('template'), spec.template, undefined)
  if (spec.probe) checkProbe(scope.at('probe'), spec.probe)
}

function checkProbe(scope: Scope, probe: ReadinessProbe): void {
  for (const field of [
    'periodSeconds',
    'initialDelaySeconds',
    'timeoutSeconds',
    'successThreshold',
    'failureThreshold',
  ] as const) {
    checkNotNegative(scope.at(field), probe[field])
  }
  const { httpGet, tcpSocket, exec, grpc } = probe
  if (httpGet) {
    checkPort(scope.at('httpGet', 'port'), httpGet.port)
    if (httpGet.scheme && httpGet.scheme !== 'HTTP' && httpGet.scheme !== 'HTTPS')
      scope.at('httpGet', 'scheme').error('must be HTTP or HTTPS')
    each(scope.at('httpGet', 'httpHeaders'), httpGet.httpHeaders, (at, { name = '' }) => {
      if (!/^[-A-Za-z0-9]+$/.test(name)) at.at('name').error(`"${name}" is no header name`)
    })
  } else if (tcpSocket) checkPort(scope.at('tcpSocket', 'port'), tcpSocket.port)
  else if (grpc) checkPort(scope.at('grpc', 'port'), grpc.port)
  else if (!exec) scope.errorAtKey('one of httpGet, tcpSocket, exec and grpc is needed')
  else if (exec.command.length === 0) scope.at('exec', 'command').errorAtKey('must not be empty')
}
