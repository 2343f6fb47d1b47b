import type { Cluster } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import { CLUSTER_TYPE } from '../../xds/resource-types.ts'
import { copyOf, TypeMismatch } from './merge.ts'
import { mergeConfigured, mergePatch } from './merge-patch.ts'
import { addsTo, merges, type Patch, type PatchContext } from './patch.ts'
import type { PatchSet } from './patch-set.ts'

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
    if (!clusterMatches(cluster, patch, hosts)) {
      patch.sought.missed('cluster', [cluster.name])
      continue
    }
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

/** Clusters that patches add to those that are there. Of two with one name the first counts. */
export function addedClusters(context: PatchContext, patches: PatchSet, there: readonly Cluster[]): Cluster[] {
  const names = new Set(there.map(({ name }) => name))
  const added: Cluster[] = []
  for (const patch of patches.of('CLUSTER', context)) {
    if (patch.operation !== 'ADD' || !addsTo(patch, context)) continue
    patch.hits++
    const { name } = patch.value
    if (names.has(name)) {
      patch.failure = `there is a cluster "${name}" already, which stays: it is not added`
      continue
    }
    names.add(name)
    patches.touch(CLUSTER_TYPE, name, patch)
    added.push(copyOf(patch.value))
  }
  return added
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
