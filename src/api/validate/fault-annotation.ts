import { FAULT_ANNOTATION, FaultSyntaxError, parseFault } from '../server-fault.ts'
import type { Scope } from './scope.ts'

/** What a pod's annotations say of its faults. `scope`: the place of the metadata. */
export function checkFaultAnnotation(
  scope: Scope,
  metadata: { annotations?: Readonly<Record<string, string>> | undefined } | undefined,
): void {
  const text = metadata?.annotations?.[FAULT_ANNOTATION]
  if (text === undefined) return
  try {
    parseFault(text)
  } catch (e) {
    if (!(e instanceof FaultSyntaxError)) throw e
    scope.at('annotations', FAULT_ANNOTATION).error(e.message)
  }
}
