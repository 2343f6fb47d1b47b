import type { Cluster } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import { copyOf, TypeMismatch } from './merge.ts'
import { mergeConfigured, mergePatch } from './merge-patch.ts'
import { addsTo, merges, type Patch, type PatchContext, type PatchSet } from './patches.ts'

/**
 * A cluster after its patches; undefined when one removes it (networking/core/envoyfilter/cluster_patch.go). `hosts`: of an
 * inbound cluster, the services behind its port.
 */
export function patchCluster(
  context: PatchContext,
  patches: PatchSet,
  original: Cluster,
  hosts: readonly string[] = [],
): Cluster | undefined {
  let cluster = original
  for (const patch of patches.of('CLUSTER', context)) {
    if (patch.operation !== 'REMOVE' && !merges(patch.operation)) continue
    if (!clusterMatches(cluster, patch, hosts)) continue
    patch.hits++
    if (patch.operation === 'REMOVE') return undefined
    if (cluster === original) cluster = copyOf(original)
    try {
      if (!mergeTransportSocket(cluster, patch)) mergePatch(cluster, patch)
    } catch (error) {
      // The patch tells of it; istiod gives up on the cluster there, too.
      if (!(error instanceof TypeMismatch)) throw error
      return cluster
    }
  }
  return cluster
}

/** Clusters that patches add. */
export function addedClusters(context: PatchContext, patches: PatchSet): Cluster[] {
  return patches
    .of('CLUSTER', context)
    .filter((patch) => patch.operation === 'ADD' && addsTo(patch, context))
    .map((patch) => {
      patch.hits++
      return copyOf(patch.value)
    })
}

/**
 * A patch with a transport socket goes into the cluster's of the same name, or takes its place, and nothing else of it
 * counts; among several sockets by match without that name it has no effect at all.
 */
function mergeTransportSocket(cluster: Cluster, patch: Patch<'CLUSTER'>): boolean {
  const given = patch.value.transportSocket
  if (!given) return false
  const matches = cluster.transportSocketMatches
  const candidates = matches.length > 0 ? matches.map((match) => match.transportSocket) : [cluster.transportSocket]
  const own = candidates.find((socket) => socket?.name === given.name)
  if (!own) {
    if (matches.length === 0) cluster.transportSocket = copyOf(given)
    return true
  }
  mergeConfigured(own, given, patch)
  return true
}

function clusterMatches(cluster: Cluster, { match }: Patch, hosts: readonly string[]): boolean {
  const wanted = match.cluster
  if (!wanted) return true
  if (wanted.name) return wanted.name === cluster.name
  const [direction = '', port = '', subset = '', host = ''] = cluster.name.split('|')
  const services = direction === 'inbound' && hosts.length > 0 ? hosts : [host]
  if (wanted.subset && wanted.subset !== subset) return false
  if (wanted.service && !services.includes(wanted.service)) return false
  return !wanted.portNumber || wanted.portNumber === Number(port)
}
