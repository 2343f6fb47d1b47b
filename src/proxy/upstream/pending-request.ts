import type { ClientStreamHandler } from '../http/codec.ts'
import type { Pending, PoolCallbacks } from './cluster.ts'

/** Where a request waits. */
export interface RequestQueue {
  cancelPending(request: PendingRequest): void
}

/** A request in the queue of a pool. `pool` is set while it waits. */
export class PendingRequest implements Pending {
  pool: RequestQueue | undefined
  readonly handler: ClientStreamHandler
  readonly callbacks: PoolCallbacks
  cancelled = false
  previous: PendingRequest | undefined
  next: PendingRequest | undefined

  constructor(pool: RequestQueue, handler: ClientStreamHandler, callbacks: PoolCallbacks) {
    this.pool = pool
    this.handler = handler
    this.callbacks = callbacks
  }

  cancel(): void {
    this.cancelled = true
    this.pool?.cancelPending(this)
  }
}
