/** Why a host was ejected, in the words of Envoy's statistics. */
export type EjectionReason =
  | 'consecutive_5xx'
  | 'consecutive_gateway_failure'
  | 'consecutive_local_origin_failure'
  | 'success_rate'
  | 'local_origin_success_rate'
  | 'failure_percentage'
  | 'local_origin_failure_percentage'

/** A sidecar has ejected a host from a cluster, or taken it back. */
export interface OutlierReport {
  /** The pod whose sidecar it is, and its namespace. */
  readonly workload: string
  readonly namespace: string
  readonly action: 'eject' | 'uneject'
  /** Envoy's name of the cluster: `outbound|9080||reviews.default.svc.cluster.local`. */
  readonly cluster: string
  /** The host as the cluster has it, `ip:port`, and the pod behind it if it is one of this mesh. */
  readonly host: string
  readonly instance: string | undefined
  /** Why it was ejected: `consecutive_5xx` and so on; undefined when it comes back. */
  readonly reason: EjectionReason | undefined
  /** How often it has been ejected so far. */
  readonly ejections: number
  /** Wall clock, ms. */
  readonly at: number
}
