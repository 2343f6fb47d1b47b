import type http from 'node:http'
import type { FaultView, WorkloadView } from '../mesh/control/api.ts'
import type { LoadReport } from '../mesh/load/types.ts'
import type { OutlierReport } from '../mesh/outlier-report.ts'

export type { FaultView, WorkloadView } from '../mesh/control/api.ts'
export type { LoadFailure, LoadGroup, LoadReport } from '../mesh/load/types.ts'
export type { EjectionReason, OutlierReport } from '../mesh/outlier-report.ts'

/** Answers for an app, as a handler of node:http; requests that come as HTTP/2 (gRPC) look the same. */
export type AppHandler = (request: http.IncomingMessage, response: http.ServerResponse) => void

/** A Kubernetes or Istio object, as one would write it in YAML. */
export interface MeshObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly [field: string]: unknown }
  readonly [field: string]: unknown
}

/** What a mesh of a test is made of. `files`, `yaml` and `objects` add up; later ones replace earlier ones. */
export interface TestMeshOptions {
  /** Files and folders (read to the bottom: *.yaml, *.yml, *.json), relative to the working directory. */
  readonly files?: readonly string[]
  /** YAML documents as text. */
  readonly yaml?: string | readonly string[]
  readonly objects?: readonly MeshObject[]
  /**
   * Handlers by workload: `NAME` or `NAME.NAMESPACE`, the name being a pod's, its owner's or its `app` label; the most
   * exact one counts. Workloads without one get what their annotations say, else a stand-in that echoes.
   */
  readonly apps?: Readonly<Record<string, AppHandler>>
  /** Makes splits, faults and all other chance repeatable. Default 1. */
  readonly seed?: number
  /** Refuse what the real API server or Envoy would refuse, instead of taking its obvious meaning. Default false. */
  readonly strict?: boolean
  /** istiod's switches. Default: none, whatever the environment says. */
  readonly env?: Readonly<Record<string, string>>
  /** Where what sidecars log to /dev/stdout goes, as `<namespace>/<pod>.log`; else it comes as events. */
  readonly logDir?: string
}

/** How to send a request. */
export interface CallInit {
  /** Default GET, or POST with a body. */
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>> | readonly (readonly [string, string])[]
  /** Objects are sent as JSON. */
  readonly body?: string | Uint8Array | object
  /** How long to wait for the answer, in real ms. Default 10,000. */
  readonly timeout?: number
}

/** What came of a request, and what the caller's sidecar did for it. */
export interface CallResult {
  /** 0 when there was no whole response; see `error`. */
  readonly status: number
  /** Names in lower case; of several values, joined by `, `. */
  readonly headers: Readonly<Record<string, string>>
  /** The headers one by one, as they came. */
  readonly rawHeaders: readonly (readonly [string, string])[]
  readonly trailers: Readonly<Record<string, string>>
  readonly body: string
  readonly bytes: Uint8Array
  /** The body as JSON. Throws when it is none. */
  json<T = unknown>(): T
  /** Why there was no whole response. */
  readonly error: string | undefined
  /** The pod that answered; undefined when the sidecar answered itself. */
  readonly instance: string | undefined
  /** The owner of that pod. */
  readonly workload: string | undefined
  /** How often the sidecar sent it upstream; 0 when it did not. */
  readonly attempts: number
  /** The pods (else `ip:port`s) that it was sent to, in order. */
  readonly tried: readonly string[]
  /** Envoy's response flags, such as `UO`, `URX`, `DI`; empty without any. */
  readonly flags: readonly string[]
  /** Envoy's response code details, such as `via_upstream`. */
  readonly details: string | undefined
  /** The upstream cluster, such as `outbound|9080||reviews.default.svc.cluster.local`. */
  readonly cluster: string | undefined
  readonly route: string | undefined
  /** Real ms. */
  readonly ms: number
}

/** A load to send. Either `duration` or `amount` says how much; default 1,000 requests. */
export interface LoadInit {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** Connections, each with one request at a time. Default 10. */
  readonly connections?: number
  /** Real ms, or a duration such as `10s`. */
  readonly duration?: number | string
  readonly amount?: number
  /** Requests per second over all connections; as many as possible by default. */
  readonly rate?: number
  /** How long to wait for each answer, in real ms. Default 10,000. */
  readonly timeout?: number
}

/** Which object is meant: its kind, its name and its namespace (`default` when left out). */
export interface ObjectRef {
  readonly kind: string
  readonly name: string
  readonly namespace?: string
}

/** An endpoint of a cluster as one sidecar sees it. */
export interface ClusterHost {
  /** `ip:port`. */
  readonly address: string
  /** The pod behind it. */
  readonly instance: string | undefined
  readonly ejected: boolean
  /** `healthy`, or Envoy's flags such as `/failed_outlier_check`. */
  readonly health: string
  readonly weight: number
  readonly priority: number
  /** Counters as `/clusters` shows them: `rq_total`, `rq_error`, `cx_active` and so on. */
  readonly stats: Readonly<Record<string, number>>
}

/** A cluster of a sidecar. */
export interface ClusterView {
  readonly name: string
  readonly hosts: readonly ClusterHost[]
}

/** Something to tell about the YAML. */
export interface MeshProblem {
  readonly severity: 'error' | 'warning' | 'info'
  readonly message: string
  readonly file: string
  readonly line: number
  readonly col: number
}

/** What happens in a mesh. */
export type TestMeshEvent =
  | ({ readonly type: 'outlier' } & OutlierReport)
  | ({ readonly type: 'problem' } & MeshProblem)
  /** Objects were added, changed or deleted. */
  | { readonly type: 'changed'; readonly summary: string }
  /** A workload has something to say: a missing app, a setting without effect. */
  | { readonly type: 'workload'; readonly workload: string; readonly message: string }
  /** The control plane has something to say. */
  | { readonly type: 'warning'; readonly message: string }
  /** A line that a workload's command wrote (`output`), or its sidecar (`log`: access logs to /dev/stdout). */
  | { readonly type: 'output' | 'log'; readonly workload: string; readonly line: string }
  /** A sidecar refused what the control plane sent it. */
  | {
      readonly type: 'rejected'
      readonly workload: string
      readonly typeUrl: string
      readonly message: string
      /** `FILE:LINE:COLUMN: EnvoyFilter …` of the patches that are in what was refused. */
      readonly patches: readonly string[]
    }

/** The events of one type. */
export type EventOf<T extends TestMeshEvent['type']> = Extract<TestMeshEvent, { type: T }>

/** The mesh's clock: it runs as time does, and can be moved besides. */
export interface MeshClock {
  /** The mesh's wall clock, ms since the epoch. */
  now(): number
  /**
   * Moves it forward by ms, or by a duration such as `3m` or `1m30s`. Timers that fall due on the way run in order, each
   * at its time, and what they set off in this process is over before the next one: a time-out of 10 s does not come
   * before the answer to a retry at 1 s. Resolves when all has happened.
   */
  advance(by: number | string): Promise<void>
}

/** A mesh that runs within a test. Names of workloads are as in `apps`. */
export interface TestMesh {
  readonly clock: MeshClock
  /** Everything that has happened so far. */
  readonly events: readonly TestMeshEvent[]
  /** All instances. */
  workloads(): readonly WorkloadView[]
  /** Sends a request as the workload's program would, through its sidecar. Rejects when workload or host do not exist. */
  call(from: string, url: string, init?: CallInit): Promise<CallResult>
  /**
   * Sends `count` requests, one after the other, and counts who answered: by version label, else workload; those that
   * no instance answered by status.
   */
  split(from: string, url: string, count: number, init?: CallInit): Promise<Record<string, number>>
  /**
   * Sends many requests as the workload's program would, in real time, and reports latencies, who answered, and for
   * every failed request why, and whether a policy could have saved it.
   */
  load(from: string, url: string, init?: LoadInit): Promise<LoadReport>
  /** Adds or replaces objects; resolves once every sidecar has taken them. Rejects, with all of them, on errors. */
  apply(what: string | MeshObject | readonly MeshObject[]): Promise<void>
  /** Deletes objects that are there, by reference or by YAML that names them; resolves once every sidecar knows. */
  delete(what: string | ObjectRef | readonly ObjectRef[]): Promise<void>
  /** Changes an object: `change` gets a copy as it was written, to change it or to return another. */
  edit(ref: ObjectRef, change: (object: MeshObject & Record<string, never>) => unknown): Promise<void>
  /** Waits until what was applied is in force everywhere. */
  settled(): Promise<void>
  /**
   * Makes the apps of a workload's instances fail, in the words of `dinghy fault`: `abort 503 50%`, `delay 2s`,
   * `reset first=3`. What they had before is gone.
   */
  fault(workload: string, fault: string): Promise<FaultView[]>
  /** Takes faults away: of a workload, or all. */
  clearFault(workload?: string): Promise<void>
  /** The faults that are set, and how often they have struck. */
  faults(): FaultView[]
  /** Ends an instance as a crash would: its connections are reset, new ones are refused; others go on trying it. */
  kill(instance: string): Promise<void>
  /** Starts a killed instance again; resolves once it serves. */
  restore(instance: string): Promise<void>
  /**
   * A counter or gauge of a workload's sidecar by Envoy's name, such as
   * `cluster.outbound|9080||reviews.default.svc.cluster.local.upstream_rq_retry` (the `;` that Istio puts after a
   * cluster's name may be left out); 0 when there is none.
   */
  stats(workload: string, name: string): number
  /** All counters and gauges whose names match. */
  stats(workload: string, names: RegExp): Record<string, number>
  /** The clusters of a workload's sidecar with their hosts. */
  clusters(workload: string): ClusterView[]
  /** The hosts that are ejected now, by any sidecar. */
  ejected(): { workload: string; cluster: string; address: string; instance: string | undefined }[]
  /** Calls `listener` for each event of a type from now on; returns the way to stop that. */
  on<T extends TestMeshEvent['type']>(type: T, listener: (event: EventOf<T>) => void): () => void
  /** The events of a type from now on, until the mesh is closed. */
  follow<T extends TestMeshEvent['type']>(type: T): AsyncIterableIterator<EventOf<T>>
  /**
   * The first event of the type that `matches`, of those that have been and those to come. Rejects after `timeout` real
   * ms (default 5,000), saying which came.
   */
  waitFor<T extends TestMeshEvent['type']>(
    type: T,
    matches?: (event: EventOf<T>) => boolean,
    options?: { timeout?: number },
  ): Promise<EventOf<T>>
  /** Stops everything. Safe to call again. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}
