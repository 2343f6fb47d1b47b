import type { Runtime } from '../../../runtime.ts'
import type { RuntimeValues } from '../../runtime-values.ts'

/** What rate limits are compiled with. */
export interface RateLimitContext {
  readonly runtime: Runtime
  /** What the bootstrap's runtime layers set; undefined: nothing. */
  readonly values: RuntimeValues | undefined
}
