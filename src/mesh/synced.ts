import type { ControlPlane } from './control-plane.ts'

/** How long a change may take to reach the sidecars before what it replaces is stopped all the same, ms. */
const SYNC_TIMEOUT_MS = 5000

/** Resolves once every sidecar has taken what it was sent; an outside proxy that does not answer is not waited for. */
export async function synced({ pilot, ads }: ControlPlane): Promise<void> {
  const deadline = performance.now() + SYNC_TIMEOUT_MS
  for (let turns = 0; ; turns++) {
    // In-process sidecars answer within a few turns; a timer leaves the processor to others after that.
    if (turns < 20) await new Promise((resolve) => setImmediate(resolve))
    else await new Promise((resolve) => setTimeout(resolve, 5))
    if (!pilot.pushPending && ads.connections.every((connection) => connection.synced)) return
    if (performance.now() > deadline) return
  }
}
