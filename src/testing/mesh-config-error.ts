import type { MeshProblem } from './types.ts'

/** YAML that cannot be used: the message has every error with its file, line and column, and shows the line. */
export class MeshConfigError extends Error {
  /** All problems, warnings too. */
  readonly problems: readonly MeshProblem[]

  constructor(message: string, problems: readonly MeshProblem[]) {
    super(message)
    this.problems = problems
  }
}
