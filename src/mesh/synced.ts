import type { Pilot } from '../pilot/pilot.ts'
import type { ControlPlane } from './control-plane.ts'

/** How long a change may take to reach the sidecars before what it replaces is stopped all the same, ms. */
const SYNC_TIMEOUT_MS = 5000

/** Resolves once every sidecar has taken what it was sent, or has refused it; an outside proxy that does not answer is not waited for. */
export async function synced({ pilot, ads }: ControlPlane): Promise<void> {
  const deadline = performance.now() + SYNC_TIMEOUT_MS
  for (let turns = 0; ; turns++) {
    // In-process sidecars answer within a few turns; a timer leaves the processor to others after that.
    if (turns < 20) await new Promise((resolve) => setImmediate(resolve))
    else await new Promise((resolve) => setTimeout(resolve, 5))
    if (!pilot.pushPending && ads.connections.every(hasAnswered)) return
    if (performance.now() > deadline) return
  }
}

function hasAnswered(connection: ControlPlane['ads']['connections'][number]): boolean {
  return connection.synced || connection.status().every(({ typeUrl }) => connection.answered(typeUrl))
}

/** How long the start of a mesh waits for keys of JWT issuers; the sidecars concerned go on waiting, as they would for istiod. */
const KEYS_TIMEOUT_MS = 15_000

/**
 * Resolves once pilot has the keys that sidecars wait for, or knows that it cannot get them. `again`: and has asked
 * once more those servers of the mesh that did not answer.
 */
export async function keysFetched(pilot: Pilot, again = false): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, KEYS_TIMEOUT_MS)
  })
  await Promise.race([late, again ? pilot.retryMeshKeys() : pilot.keysFetched()])
  clearTimeout(timer)
}
