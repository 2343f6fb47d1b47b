import type { CheckSubject } from './subject.ts'
import type { Verdict } from './verdict.ts'

/** Who is asked. */
export interface Authorizer {
  /** Asks. `done` is called once unless the check is cancelled, maybe before this returns. */
  check(subject: CheckSubject, done: (verdict: Verdict) => void): { cancel(): void }
}

/** ms that an authorizer has, if the config does not say (source/extensions/filters/http/ext_authz/config.h DefaultTimeout). */
export const DEFAULT_TIMEOUT_MS = 200
