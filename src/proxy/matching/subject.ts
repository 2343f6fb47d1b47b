import type { RequestHead } from '../http/headers.ts'
import type { ConnectionInfo } from '../listener/connection.ts'
import type { StreamInfo } from '../stream-info.ts'

/** What is matched: a request, or a connection without one. */
export interface Subject {
  readonly connection: ConnectionInfo
  readonly head: RequestHead | undefined
  readonly info: StreamInfo
}
