import { z } from 'zod'
import { bool, list, open, text } from '../schema.ts'

/** The spec of a node. Region and zone are labels (`topology.kubernetes.io/region`, `…/zone`). */
export const NodeSpec = open({ podCIDR: text, podCIDRs: list(text), providerID: text, unschedulable: bool })
export type NodeSpec = z.infer<typeof NodeSpec>

/** What the cluster says of a node. */
export const NodeStatus = open({ addresses: list(open({ type: text, address: text }, ['type', 'address'])) })
export type NodeStatus = z.infer<typeof NodeStatus>

/** What a Node holds besides its metadata. */
export const NodeBody = z.object({ spec: NodeSpec.optional(), status: NodeStatus.optional() })
