/** Requests that ended alike. */
export interface LoadGroup {
  readonly status: number
  /** Response flags joined by `,`; `-` without any. */
  readonly flags: string
  /** The pod that answered, or an address; undefined when the sidecar answered itself. */
  readonly instance: string | undefined
  readonly requests: number
}

/** Requests that failed for the same reason. */
export interface LoadFailure {
  readonly why: string
  /** Whether a policy could have saved them. */
  readonly savable: boolean
  readonly requests: number
  /** A few of them. */
  readonly examples: readonly {
    /** Seconds since the load began. */
    readonly at: number
    readonly status: number
    readonly flags: string
    readonly details: string
    readonly attempts: number
    /** The pods it was sent to, in order. */
    readonly tried: readonly string[]
  }[]
}

/** What a sidecar saw of a load. */
export interface Recording {
  readonly requests: number
  /** Requests by the number of times they were sent upstream. */
  readonly attempts: Readonly<Record<string, number>>
  readonly groups: readonly LoadGroup[]
  readonly failures: readonly LoadFailure[]
  /** Requests that the load itself gave up when it ended; they count nowhere else. */
  readonly abandoned: number
}

/** A recording that runs. */
export interface RecordingStarted {
  readonly id: string
  /** Where the workload's program connects. */
  readonly to: { readonly host: string; readonly port: number }
  readonly localAddress: string | undefined
  /** The user-agent by which requests are known to belong to it. */
  readonly userAgent: string
}

/** What to send. */
export interface LoadOptions {
  /** The workload that calls. */
  readonly from: string
  readonly url: string
  readonly method: string
  readonly headers: readonly (readonly [string, string])[]
  readonly body: Uint8Array | undefined
  readonly connections: number
  /** How long, ms; or how many requests. One of the two. */
  readonly duration: number | undefined
  readonly amount: number | undefined
  /** Requests per second over all connections; as many as they can when undefined. */
  readonly rate: number | undefined
  /** How long to wait for each answer, ms. */
  readonly timeout: number
}

/** What came of a load. */
export interface LoadReport {
  readonly from: string
  readonly url: string
  readonly connections: number
  readonly seconds: number
  /** Requests that ended while the load ran, answered or not. */
  readonly requests: number
  readonly requestsPerSecond: number
  readonly bytesPerSecond: number
  /** Of the whole answers, ms. */
  readonly latency: Readonly<Record<'mean' | 'p50' | 'p75' | 'p90' | 'p99' | 'p999' | 'max', number>>
  readonly groups: readonly LoadGroup[]
  readonly attempts: Readonly<Record<string, number>>
  /** Without a whole answer, or with a status of 500 and above. */
  readonly failed: number
  /** Of all, 0 to 1. */
  readonly errorRate: number
  /** The failed ones by reason, the most first. */
  readonly failures: readonly LoadFailure[]
}
