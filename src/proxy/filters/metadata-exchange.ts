import type { Config, Config_DiscoveryMethod, Config_PropagationMethod } from '#gen/istio/peer_metadata_pb.js'
import { Problems } from '../http/config.ts'
import type { FilterSlot } from '../http/filter-slot.ts'
import { type HeaderMap, headerName, type RequestHead, type ResponseHead } from '../http/headers.ts'
import type { Cluster, ClusterManager } from '../upstream/cluster.ts'
import { HeadersStatus, type HttpFilter, type HttpFilterKind } from './filter.ts'
import {
  decodeWorkload,
  encodeWorkload,
  endpointWorkload,
  type WorkloadMetadata,
  workloadMetadata,
} from './workload-metadata.ts'

const PEER = headerName('x-envoy-peer-metadata')
const PEER_ID = headerName('x-envoy-peer-metadata-id')

/** Keys of the filter state under which the peers are found. */
export const DOWNSTREAM_PEER = 'downstream_peer'
export const UPSTREAM_PEER = 'upstream_peer'

/** Most peers remembered, so that a value is decoded once. */
const CACHE_LIMIT = 500

interface Settings {
  readonly id: string
  readonly value: string
  readonly extraLabels: readonly string[]
  readonly clusters: ClusterManager
  readonly readRequest: boolean
  readonly readResponse: boolean
  readonly endpointMetadata: boolean
  readonly tellUpstream: boolean
  readonly tellDownstream: boolean
  readonly upstreamInMesh: boolean
}

/** What the caller said of itself, per exchange. */
interface Heard {
  readonly id: boolean
  readonly metadata: boolean
}

/**
 * `istio.metadata_exchange`: sidecars tell each other who they are, in headers that the apps never see (istio/proxy
 * source/extensions/filters/http/peer_metadata). One object serves all exchanges.
 */
class MetadataExchangeFilter implements HttpFilter {
  private readonly settings: Settings
  private readonly known = new Map<string, WorkloadMetadata | undefined>()

  constructor(settings: Settings) {
    this.settings = settings
  }

  decodeHeaders(head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const { settings } = this
    if (settings.readRequest) {
      const id = head.has(PEER_ID)
      const value = head.get(PEER)
      if (id || value !== undefined) {
        slot.memory = { id, metadata: value !== undefined } satisfies Heard
        this.remember(slot, DOWNSTREAM_PEER, value)
        head.remove(PEER_ID)
        head.remove(PEER)
      }
    }
    if (settings.tellUpstream && !(settings.upstreamInMesh && this.leavesMesh(slot))) {
      head.set(PEER_ID, settings.id)
      head.set(PEER, settings.value)
    }
    return HeadersStatus.CONTINUE
  }

  encodeHeaders(head: ResponseHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const { settings } = this
    if (settings.readResponse) {
      const value = head.get(PEER)
      if (value !== undefined) this.remember(slot, UPSTREAM_PEER, value)
      else if (settings.endpointMetadata) this.readEndpoint(slot)
      removePeer(head)
    }
    if (settings.tellDownstream) {
      const heard = slot.memory as Heard | undefined
      if (heard?.id === true) head.set(PEER_ID, settings.id)
      if (heard?.metadata === true) head.set(PEER, settings.value)
    }
    return HeadersStatus.CONTINUE
  }

  private remember(slot: FilterSlot, key: string, value: string | undefined): void {
    if (value === undefined) return
    let peer = this.known.get(value)
    if (peer === undefined && !this.known.has(value)) {
      peer = decodeWorkload(value, this.settings.extraLabels)
      if (this.known.size >= CACHE_LIMIT) this.known.clear()
      this.known.set(value, peer)
    }
    if (peer !== undefined) store(slot, key, peer)
  }

  private readEndpoint(slot: FilterSlot): void {
    const workload = slot.info.upstreamHost?.metadata.get('istio')?.workload
    const peer = typeof workload === 'string' ? endpointWorkload(workload) : undefined
    if (peer !== undefined) store(slot, UPSTREAM_PEER, peer)
  }

  /** The request goes to something that is no part of the mesh: it gets no headers of ours. */
  private leavesMesh(slot: FilterSlot): boolean {
    const name = slot.info.clusterName
    const cluster: Cluster | undefined = name === undefined ? undefined : this.settings.clusters.get(name)
    if (cluster === undefined) return false
    const external = cluster.metadata.get('istio')?.external
    return cluster.name === 'PassthroughCluster' || external === true || external === 'true'
  }
}

function removePeer(head: HeaderMap): void {
  head.remove(PEER_ID)
  head.remove(PEER)
}

function store(slot: FilterSlot, key: string, peer: WorkloadMetadata): void {
  slot.info.filterState ??= new Map()
  slot.info.filterState.set(key, peer)
}

const uses = (list: readonly Config_DiscoveryMethod[], method: Config_DiscoveryMethod['methodSpecifier']['case']) =>
  list.some((m) => m.methodSpecifier.case === method)

function headersTo(list: readonly Config_PropagationMethod[]): { on: boolean; inMesh: boolean } {
  const method = list.find((m) => m.methodSpecifier.case === 'istioHeaders')?.methodSpecifier
  return { on: method !== undefined, inMesh: method?.case === 'istioHeaders' && method.value.skipExternalClusters }
}

/** The filter as an entry of `http_filters`. */
export const metadataExchangeFilter: HttpFilterKind = {
  type: 'io.istio.http.peer_metadata.Config',
  name: 'istio.metadata_exchange',
  build(message, context) {
    const config = message as Config
    const problems = new Problems()
    for (const list of [config.downstreamDiscovery, config.upstreamDiscovery]) {
      if (uses(list, 'baggage')) problems.add('istio.metadata_exchange', 'discovery by baggage is not supported')
    }
    problems.throwIfAny()
    if (config.sharedWithUpstream) context.proxy.notEnforced?.('istio.metadata_exchange.shared_with_upstream')
    const { node, clusters } = context.proxy
    const own = workloadMetadata((node.metadata ?? {}) as Record<string, unknown>, config.additionalLabels)
    const upstream = headersTo(config.upstreamPropagation)
    const downstream = headersTo(config.downstreamPropagation)
    const filter = new MetadataExchangeFilter({
      id: node.id,
      value: encodeWorkload(own),
      extraLabels: config.additionalLabels,
      clusters,
      readRequest: uses(config.downstreamDiscovery, 'istioHeaders'),
      readResponse: uses(config.upstreamDiscovery, 'istioHeaders'),
      endpointMetadata: uses(config.upstreamDiscovery, 'workloadDiscovery'),
      tellUpstream: upstream.on,
      tellDownstream: downstream.on,
      upstreamInMesh: upstream.inMesh,
    })
    return { create: () => filter }
  },
}
