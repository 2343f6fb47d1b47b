/** Who an app is, as stand-ins tell it and as commands get it in their environment. */
export interface AppIdentity {
  readonly namespace: string
  /** The pod's name. */
  readonly instance: string
  /** The owner's name: the Deployment's, or the pod's own. */
  readonly workload: string
  /** The `version` label, else ''. */
  readonly version: string
  readonly labels: Readonly<Record<string, string>>
  readonly serviceAccount: string
  readonly podIp: string
}

/** Where a program of a pod connects to reach `host:port` through its own sidecar. Rejects when the name does not exist. */
export type Reach = (host: string, port: number) => Promise<{ host: string; port: number }>
