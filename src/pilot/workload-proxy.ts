import type { Workload } from '../registry/model.ts'
import { type ProxyNode, proxyOf } from './proxy.ts'
import type { PushContext } from './scope/push-context.ts'

/** How the proxy of a workload is seen by generation, without one that is connected. */
export function proxyOfWorkload(push: PushContext, workload: Workload): ProxyNode {
  const type = workload.gateway ? 'router' : 'sidecar'
  const { namespace, name, ip } = workload
  const id = `${type}~${ip}~${name}.${namespace}~${namespace}.svc.${push.env.domain}`
  return proxyOf({ id, metadata: { NAMESPACE: namespace, INSTANCE_IPS: ip } }, push.registry, push.env.clusterId)
}
