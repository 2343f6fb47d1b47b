import { GATEWAY_API_GROUP } from '../api/kinds/gateway-api/common.ts'
import type { PolicyTargetReference } from '../api/kinds/selector.ts'
import { type Labels, selects } from '../registry/labels.ts'
import { GATEWAY_NAME_LABEL } from './internal-names.ts'
import type { ProxyNode } from './proxy.ts'

/** What a policy says of whom it binds. */
export interface Attachment {
  readonly targetRefs?: readonly PolicyTargetReference[] | undefined
  /** Labels of its selector; none select every workload. */
  readonly labels?: Labels | undefined
}

/**
 * Whether a policy binds a proxy: by its selector, or by its targets, which only gateways of the Gateway API can be
 * (pilot/pkg/model/policyattachment.go).
 */
export function attachesTo(
  { targetRefs = [], labels }: Attachment,
  namespace: string,
  proxy: Pick<ProxyNode, 'namespace' | 'labels'>,
): boolean {
  if (targetRefs.length === 0) return selects(labels, proxy.labels)
  const gateway = proxy.labels[GATEWAY_NAME_LABEL]
  if (gateway === undefined || namespace !== proxy.namespace) return false
  return targetRefs.some(
    (target) =>
      target.group === GATEWAY_API_GROUP &&
      target.kind === 'Gateway' &&
      target.name === gateway &&
      (!target.namespace || target.namespace === proxy.namespace),
  )
}
