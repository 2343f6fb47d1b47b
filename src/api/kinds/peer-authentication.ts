import type { z } from 'zod'
import { map, message, oneOf } from '../schema.ts'
import { PolicySelector } from './selector.ts'

/** A mode; UNSET inherits, and PERMISSIVE stands at the end. */
export const MutualTLS = message({
  mode: oneOf('UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'),
})
export type MutualTLS = z.infer<typeof MutualTLS>

/** Which transport a workload accepts (security/v1beta1/peer_authentication.proto). */
export const PeerAuthentication = message({
  selector: PolicySelector,
  mtls: MutualTLS,
  /** By port of the workload; needs a selector. */
  portLevelMtls: map(MutualTLS),
})
export type PeerAuthentication = z.infer<typeof PeerAuthentication>
