/** Connections that sidecars have opened along some links. */
export interface ObservedConnections {
  /** With TLS. */
  tls: number
  plaintext: number
  /** That did not come about. */
  failed: number
}

/** Links that are alike, as `dinghy links` and `GET /v1/links` show them. */
export interface LinkView {
  /** Names of client workloads, or `*` for all that can reach the service. */
  readonly clients: string
  /** All of them, as `namespace/workload`. */
  readonly clientWorkloads: readonly string[]
  /** `reviews:9080`. */
  readonly target: string
  readonly host: string
  readonly port: number
  /** '' for the whole service. */
  readonly subset: string
  /** Workloads behind it, as `namespace/workload`. */
  readonly servers: readonly string[]
  readonly transport: 'mTLS' | 'TLS' | 'plaintext'
  /** What decides the transport. */
  readonly by: string
  /** How the server takes connections. */
  readonly mode: 'STRICT' | 'PERMISSIVE' | 'DISABLE' | 'no sidecar' | 'outside'
  /** The PeerAuthentication that decides the mode; '' for the default. */
  readonly modeBy: string
  /** Why connections fail. */
  readonly fails?: string
  /** Of links within the mesh that are no working mutual TLS: in one line, why. */
  readonly shortcoming?: string | undefined
  /** What the clients' sidecars have opened so far; absent where their statistics do not tell. */
  readonly observed?: ObservedConnections
}

/** All links of a mesh. */
export interface LinksView {
  /** Pairs of a client workload and a port of a service in the mesh. */
  readonly links: number
  /** Those that are mutual TLS, and work. */
  readonly mtls: number
  readonly rows: readonly LinkView[]
}
