import type http from 'node:http'
import type { GivenCa } from '../ca/authority.ts'
import type { Resolver } from '../proxy/upstream/resolver.ts'
import type { Workload } from '../registry/model.ts'
import type { Runtime } from '../runtime.ts'
import type { SourceUpdate } from '../store/store.ts'
import type { DoorPlaces } from './doors/doors.ts'
import type { MeshEvent } from './mesh-event.ts'

/** How to run a mesh. */
export interface MeshOptions extends DoorPlaces {
  /** Files, folders and `-` (standard input). */
  readonly sources: readonly string[]
  /** Objects that come from elsewhere, by where that is. */
  readonly objects?: SourceUpdate | undefined
  /** Where what sidecars write to /dev/stdout goes, by namespace and pod; nowhere but to this process's own when absent. */
  readonly logDir?: string | undefined
  /** The CA that signs workload certificates. Default: one among the objects, the kept one, or one that is made. */
  readonly ca?: GivenCa | undefined
  /** Keeps a root certificate that is made between runs. */
  readonly dataDir?: string | undefined
  readonly strict?: boolean | undefined
  /** Follow changes to the files. Default false. */
  readonly watch?: boolean | undefined
  /** Makes random choices repeatable. */
  readonly seed?: number | undefined
  /** For tests; else the machine's clock. */
  readonly runtime?: Runtime | undefined
  /** What answers for a workload's app, by the workload itself; undefined leaves it to annotations and stand-ins. */
  readonly handler?: ((workload: Workload) => http.RequestListener | undefined) | undefined
  /** Resolves names outside the mesh for sidecars. Default: the system. */
  readonly resolver?: Resolver | undefined
  /** istiod's switches. Default: the process's environment. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
  /**
   * Stand in for the gateways that files speak of without bringing them, as an installation of Istio would. Default
   * true.
   */
  readonly gateways?: boolean | undefined
  /** Announce the mesh to `dinghy call` and `exec`. Default true. */
  readonly announce?: boolean | undefined
  readonly onEvent?: ((event: MeshEvent) => void) | undefined
}

/** The files have errors, which were told by a `problems` event; nothing was started. */
export class ConfigurationError extends Error {}
