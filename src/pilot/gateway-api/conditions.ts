import type { Condition } from '../../api/kinds/gateway-api/status.ts'
import type { Path } from '../../api/objects.ts'

/** Why something does not work: the reason of a condition, and the words. */
export interface ConfigError {
  reason: string
  message: string
  /** Where in the object, as far as that is known. */
  path?: Path
}

/** A condition to report: as it is when all is well, or the error. */
export interface ConditionDraft {
  reason: string
  message: string
  /** When all is well; an error has the opposite. Default `True`. */
  status?: 'True' | 'False'
  error?: ConfigError
}

/** Conditions by type. */
export type ConditionDrafts = Record<string, ConditionDraft>

/**
 * Puts conditions into a list of them, in the place of those of the same type. Of one that says what it said before,
 * the time is kept; others have none yet (gatewaycommon SetListenerConditions, kstatus UpdateConditionIfChanged).
 */
export function setConditions(
  generation: number | undefined,
  existing: readonly Condition[] | undefined,
  drafts: ConditionDrafts,
): Condition[] {
  const out = [...(existing ?? [])]
  for (const type of Object.keys(drafts).sort()) {
    const draft = drafts[type] as ConditionDraft
    const status = draft.error ? (draft.status === 'False' ? 'True' : 'False') : (draft.status ?? 'True')
    const { reason, message } = draft.error ?? draft
    const condition: Condition = {
      type,
      status,
      ...(generation ? { observedGeneration: generation } : {}),
      reason,
      message,
    }
    const index = out.findIndex((known) => known.type === type)
    const known = out[index]
    if (!known) out.push(condition)
    else if (known.status !== status) out[index] = condition
    else if (known.message !== message || known.observedGeneration !== condition.observedGeneration)
      out[index] = { ...condition, lastTransitionTime: known.lastTransitionTime }
  }
  return out
}

/** Of two errors one that says both. */
export function joinErrors(a: ConfigError | undefined, b: ConfigError | undefined): ConfigError | undefined {
  if (!a || !b) return a ?? b
  return { ...a, message: `${a.message}; ${b.message}` }
}

/** `a`, `a and b`, `a, b, and c`. */
export function humanJoin(items: readonly string[]): string {
  if (items.length < 3) return items.join(' and ')
  return `${items.slice(0, -1).join(', ')}, and ${items.at(-1)}`
}
