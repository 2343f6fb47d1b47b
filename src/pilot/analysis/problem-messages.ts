import { writtenKind } from '../../api/kinds-table.ts'
import type { ApiObject } from '../../api/objects.ts'
import type { Problem } from '../../api/problems.ts'
import { messageType, SCHEMA_VALIDATION_ERROR, SCHEMA_WARNING } from './catalogue.ts'
import type { Message } from './message.ts'

const NOT_ENFORCED = messageType('DGY0001', 'Warning', 'NotEnforced', (problem: string) => problem)
const NOTED = messageType('DGY0002', 'Info', 'Noted', (problem: string) => problem)

/** The types of messages that reading files may give. */
export const PROBLEM_TYPES = [SCHEMA_VALIDATION_ERROR, SCHEMA_WARNING, NOT_ENFORCED, NOTED]

/** What reading a file found, as a message: what Istio's validation would say, or what this project cannot do yet. */
export function problemMessage(problem: Problem, objects: readonly ApiObject[]): Message {
  const type = typeFor(problem)
  const { file, line, col } = problem
  return {
    code: type.code,
    level: type.level,
    name: type.name,
    certain: false,
    text: type.text(problem.message),
    subject: problem.severity === 'error' ? undefined : subjectAt(problem, objects),
    at: { file, line, col },
  }
}

function typeFor({ severity, message }: Problem) {
  if (severity === 'error') return SCHEMA_VALIDATION_ERROR
  if (severity === 'info') return NOTED
  return message.startsWith('not enforced yet') ? NOT_ENFORCED : SCHEMA_WARNING
}

/** The object that stands at a place: the last one of the file that begins before it. */
function subjectAt({ file, line }: Problem, objects: readonly ApiObject[]): Message['subject'] {
  let found: ApiObject | undefined
  for (const object of objects)
    if (object.origin.file === file && object.origin.line <= line && object.origin.line >= (found?.origin.line ?? 0))
      found = object
  if (!found) return undefined
  const { namespace, name } = found.metadata
  return { kind: writtenKind(found.kind), namespace, name }
}
