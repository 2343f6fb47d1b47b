import net from 'node:net'
import type { MeshDial } from '../pilot/authn/mesh-dial.ts'
import type { PushContext } from '../pilot/scope/push-context.ts'
import type { MeshAddresses } from './address-book.ts'
import { kubernetesService } from './names.ts'

/**
 * How the control plane reaches key servers that run in the mesh, as istiod does it from a pod of the root namespace:
 * through the cluster's resolver and kube-proxy, without a sidecar of its own, so in plaintext to theirs.
 */
export function keyServers(addresses: MeshAddresses, domain: string, context: () => PushContext): MeshDial {
  const view = addresses.viewOf('')
  const named = (host: string) => {
    const { registry, mesh } = context()
    return kubernetesService(registry, domain, mesh.rootNamespace, host)
  }
  return (host, port) => {
    const found = net.isIP(host) ? { address: host } : named(host)
    if (!found) return undefined
    const { address: ip } = found
    if (ip === undefined) {
      const name = 'service' in found ? found.service.externalName : undefined
      return name === undefined ? addresses.refusing : { host: name.replace(/\.$/, ''), port }
    }
    const at = view.dial({ ip, port }, undefined)
    // What nobody in the mesh has is an address like any other.
    return at.host === host && at.port === port ? undefined : { host: at.host, port: at.port, ip }
  }
}
