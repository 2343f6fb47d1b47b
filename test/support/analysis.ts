import { loadText } from '../../src/api/load.ts'
import { analyzeSnapshot } from '../../src/mesh/analysis.ts'
import { type Message, messageText } from '../../src/pilot/analysis/message.ts'
import { TestRuntime } from '../../src/runtime-test.ts'
import { createStore } from '../../src/store/store.ts'

/** What analyzers say of some YAML; `now`: the wall clock, ms since the epoch. */
export function analyzed(yaml: string, analyzers: readonly string[] = [], now = Date.now()): Message[] {
  const { objects, others } = loadText('mesh.yaml', yaml)
  const store = createStore(new TestRuntime())
  store.apply(new Map([['mesh.yaml', objects]]))
  return analyzeSnapshot(store.snapshot, { others, now: () => now, analyzers, env: {} })
}

/** Codes with the objects they are about: `IST0127 AuthorizationPolicy default/x`. */
export function found(messages: readonly Message[]): string[] {
  return messages.map(({ code, subject }) =>
    subject ? `${code} ${subject.kind} ${subject.namespace ? `${subject.namespace}/` : ''}${subject.name}` : code,
  )
}

/** Messages as istioctl writes them. */
export const lines = (messages: readonly Message[]): string[] => messages.map((message) => messageText(message))
