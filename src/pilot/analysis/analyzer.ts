import type { AnalysisContext } from './context.ts'
import type { MessageType } from './message.ts'

/** One analyzer: what it looks for, and the codes that it may report. */
export interface Analyzer {
  /** As in `istioctl analyze --list-analyzers`, or `dinghy.…` for those of this project. */
  readonly name: string
  readonly description: string
  readonly types: readonly Pick<MessageType, 'code'>[]
  readonly analyze: (context: AnalysisContext) => void
}
