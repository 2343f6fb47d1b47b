/** What the control interface of a running mesh takes and gives; JSON over HTTP on its own loopback address. */

/** One workload instance, as `dinghy up --json` and `GET /v1/workloads` show it. */
export interface WorkloadView {
  readonly namespace: string
  /** The pod's name. */
  readonly name: string
  /** The owner's name. */
  readonly workload: string
  /** The address that config and logs speak of. */
  readonly ip: string
  /** The loopback address beneath. */
  readonly address: string
  readonly sidecar: boolean
  /** How its app came to be: `stand-in`, `given`, `command`, `handler`; `none` without ports. */
  readonly app: string
  /** Container port to where it is reached from outside its pod. */
  readonly inbound: Readonly<Record<string, string>>
  /** `ip:port` of a service to where a program of the pod connects to reach it through its sidecar. */
  readonly outbound: Readonly<Record<string, string>>
  /** Of a gateway: the ports on which clients reach it, those of its services where they have them, and where. */
  readonly services?: Readonly<Record<string, string>>
  /** Where programs that honour `http_proxy` go; absent without a sidecar. */
  readonly httpProxy?: string
  readonly admin?: string
  /** It was killed. */
  readonly down?: true
}

/** The faults of one instance's app. */
export interface FaultView {
  readonly namespace: string
  /** The pod's name. */
  readonly name: string
  /** The owner's name. */
  readonly workload: string
  /** As `dinghy fault` takes it; '' without any. */
  readonly fault: string
  readonly rules: readonly {
    readonly rule: string
    /** Requests and connections that it was about, and those that it struck. */
    readonly matched: number
    readonly struck: number
    /** Its count or its time is used up. */
    readonly over: boolean
  }[]
}

/** Requests to send from inside the mesh. */
export interface CallRequest {
  /** A workload: `NAME` or `NAME.NAMESPACE`, where the name is a pod's, an owner's or an `app` label. */
  readonly from: string
  readonly url: string
  readonly method: string
  readonly headers: readonly (readonly [string, string])[]
  /** Base64. */
  readonly body: string
  readonly count: number
  /** How many at the same time. */
  readonly concurrency: number
  /** Milliseconds per request. */
  readonly timeout: number
}

/** What came of one request. */
export interface CallAnswer {
  /** 0 when there was no response. */
  readonly status: number
  readonly statusText: string
  readonly headers: readonly (readonly [string, string])[]
  /** Base64; only of a single request. */
  readonly body?: string
  /** Trailers, where there were some. */
  readonly trailers?: readonly (readonly [string, string])[]
  /** Why there was no response. */
  readonly error?: string
  /** Milliseconds from connecting to the last byte. */
  readonly ms: number
  /** The pod that answered, or the address when it is none of this mesh; absent when the sidecar answered itself. */
  readonly by?: string
  /** The owner of that pod. */
  readonly byWorkload?: string
  readonly cluster?: string
  readonly route?: string
  readonly flags?: string
  readonly details?: string
  /** Why the sidecar of that pod answered for its app, as Envoy's %RESPONSE_CODE_DETAILS%; absent when the app did. */
  readonly refusal?: string
  /** How often the sidecar sent it upstream. */
  readonly attempts?: number
  /** The pods (else addresses) that it was sent to, in order. */
  readonly tried?: readonly string[]
}

/** A token to issue, as for `kubectl create token`. */
export interface CreateTokenRequest {
  readonly namespace: string
  /** Of the service account. */
  readonly name: string
  /** Default: the API server's. */
  readonly audiences?: readonly string[]
  /** Default one hour. */
  readonly seconds?: number
}

/** What proxies of other processes have to know of the control plane. */
export interface ControlPlaneView {
  /** Where it serves ADS and certificates over TLS; absent unless asked for. */
  readonly tls?: string
  /** PEM of the roots that vouch for it. */
  readonly roots: string
}
