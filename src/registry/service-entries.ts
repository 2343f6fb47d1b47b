import net from 'node:net'
import type { ServiceEntry, ServicePort } from '../api/kinds/service-entry.ts'
import type { WorkloadEntry } from '../api/kinds/workload-entry.ts'
import type { ApiObject } from '../api/objects.ts'
import type { AddressAllotter } from './addresses.ts'
import { isWildcard } from './host.ts'
import { type EndpointBase, trafficDistribution } from './kube-services.ts'
import { augmentLabels, type Labels } from './labels.ts'
import { type Endpoint, NO_ADDRESS, originOf, type Resolution, type Service } from './model.ts'
import { localityLabel } from './nodes.ts'
import { TLS_MODE_LABEL } from './pods.ts'
import { parseProtocol } from './protocol.ts'

/** What converting a ServiceEntry needs besides the object. */
export interface EntryContext {
  allotter: AddressAllotter
  clusterId: string
  trustDomain: string
  namespaceAnnotations(namespace: string): Record<string, string>
}

/** A workload of a WorkloadEntry, or of an entry in a ServiceEntry's list. */
export interface EntryWorkload {
  /** An IP, a host name, or the path of a unix socket. */
  address: string
  unix: boolean
  /** Numbers by the service's port names. */
  ports: Record<string, number>
  base: EndpointBase
}

const RESOLUTIONS: Record<NonNullable<ServiceEntry['resolution']>, Resolution> = {
  NONE: 'PASSTHROUGH',
  STATIC: 'EDS',
  DNS: 'DNS',
  DNS_ROUND_ROBIN: 'DNS_ROUND_ROBIN',
  DYNAMIC_DNS: 'DYNAMIC_DNS',
}

/** One service per host and address (pilot/pkg/serviceregistry/serviceentry/conversion.go convertServices). */
export function entryServices(object: ApiObject<'ServiceEntry'>, context: EntryContext): Service[] {
  const { spec, metadata } = object
  const resolution = RESOLUTIONS[spec.resolution ?? 'NONE']
  const ports = spec.ports ?? []
  const overrides = ports.filter((port) => resolution === 'PASSTHROUGH' && port.targetPort)
  return (spec.hosts ?? []).flatMap((hostname) =>
    addressesOf(object, hostname, context).map(({ address, autoAddress }) => ({
      hostname,
      name: hostname,
      namespace: metadata.namespace,
      registry: 'External' as const,
      address,
      autoAddress,
      ports: ports.map((port) => ({ name: port.name, port: port.number, protocol: parseProtocol(port.protocol) })),
      resolution,
      meshExternal: (spec.location ?? 'MESH_EXTERNAL') === 'MESH_EXTERNAL',
      creationTime: Date.parse(metadata.creationTimestamp ?? '') || 0,
      labels: metadata.labels,
      selector: spec.workloadSelector ? (spec.workloadSelector.labels ?? {}) : undefined,
      exportTo: spec.exportTo?.length ? spec.exportTo : undefined,
      serviceAccounts: spec.subjectAltNames ?? [],
      aliases: [],
      nodeLocal: false,
      publishNotReady: false,
      trafficDistribution: trafficDistribution(
        undefined,
        metadata.annotations,
        context.namespaceAnnotations(metadata.namespace),
      ),
      passthroughTargetPorts: new Map(overrides.map((port) => [port.number, port.targetPort as number])),
      raceDns: metadata.annotations['networking.istio.io/dns-connect-strategy'] === 'RACE_FIRST_TCP_CONNECT',
      origin: originOf(object),
    })),
  )
}

function addressesOf(
  object: ApiObject<'ServiceEntry'>,
  hostname: string,
  context: EntryContext,
): { address: string; autoAddress: string }[] {
  const { spec, metadata } = object
  if (spec.addresses?.length) {
    return spec.addresses.flatMap((written) => {
      const [address = '', bits] = written.split('/')
      const family = net.isIP(address)
      if (family === 0) return []
      const whole = bits === undefined || Number(bits) === (family === 4 ? 32 : 128)
      return [{ address: whole ? address : written, autoAddress: '' }]
    })
  }
  const wanted =
    spec.resolution !== undefined &&
    spec.resolution !== 'NONE' &&
    (!isWildcard(hostname) || spec.resolution === 'DYNAMIC_DNS') &&
    metadata.labels['networking.istio.io/enable-autoallocate-ip']?.toLowerCase() !== 'false'
  const stated = object.status?.addresses?.find((known) => known.host === hostname && net.isIPv4(known.value ?? ''))
  const autoAddress = wanted
    ? (stated?.value ?? context.allotter.external(`${metadata.namespace}/${metadata.name}/${hostname}`))
    : ''
  return [{ address: NO_ADDRESS, autoAddress }]
}

const UNIX = 'unix://'

/** The workload that an entry describes (convertWorkloadEntryToWorkloadInstance). */
export function entryWorkload(
  entry: WorkloadEntry,
  labels: Labels,
  meta: { name: string; namespace: string },
  context: EntryContext,
): EntryWorkload {
  const address = entry.address ?? ''
  const unix = address.startsWith(UNIX)
  const locality = entry.locality || localityLabel(labels)
  const network = entry.network ?? ''
  const account = entry.serviceAccount
  return {
    address: unix ? address.slice(UNIX.length) : address,
    unix,
    ports: entry.ports ?? {},
    base: {
      labels: augmentLabels(labels, context.clusterId, locality, '', network),
      serviceAccount: account ? `spiffe://${context.trustDomain}/ns/${meta.namespace}/sa/${account}` : '',
      tlsMode: labels[TLS_MODE_LABEL] ?? (account ? 'istio' : 'disabled'),
      locality,
      network,
      weight: entry.weight || undefined,
      namespace: meta.namespace,
      workloadName: labels['service.istio.io/workload-name'] ?? meta.name,
      nodeName: '',
      health: 'UNKNOWN',
    },
  }
}

/** The endpoints that a workload is for the ports of a ServiceEntry: unix socket, its port of that name, targetPort, number. */
export function entryEndpoints(workload: EntryWorkload, ports: readonly ServicePort[]): Endpoint[] {
  return ports.map((port) => ({
    ...workload.base,
    address: workload.address,
    port: workload.unix ? 0 : workload.ports[port.name] || port.targetPort || port.number,
    servicePortName: port.name,
  }))
}

/** A ServiceEntry resolved by DNS without endpoints stands for its own host. */
export function hostEndpoints(object: ApiObject<'ServiceEntry'>, hostname: string, context: EntryContext): Endpoint[] {
  const meta = { name: object.metadata.name, namespace: object.metadata.namespace }
  const workload = entryWorkload({ address: hostname }, {}, meta, context)
  const base = { ...workload.base, labels: {} }
  return entryEndpoints({ ...workload, base }, object.spec.ports ?? [])
}
