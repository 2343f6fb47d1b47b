import type { Path, Position } from './objects.ts'

/** How bad a problem is: an error keeps its object out, a warning and an info do not. */
export type Severity = 'error' | 'warning' | 'info'

/** Something to tell the author of a file. Line and column count from 1; 0 where there is no place in the file. */
export interface Problem extends Position {
  severity: Severity
  message: string
  /** The field concerned. */
  path?: Path
  /** The source line, for display. */
  excerpt?: string
}

const WIDTH = 160

/**
 * A problem as text: `file:line:col: error: message`, the source line, and a caret under the column. Of very long lines
 * (JSON on one line) only the part around the column is shown.
 */
export function formatProblem(problem: Problem): string {
  const { file, line, col, severity, message, excerpt } = problem
  const head = `${line > 0 ? `${file}:${line}:${col}` : file}: ${severity}: ${message}`
  if (excerpt === undefined || line === 0) return head
  const from = excerpt.length <= WIDTH ? 0 : Math.max(0, Math.min(col - 1 - WIDTH / 2, excerpt.length - WIDTH))
  const shown = excerpt.slice(from, from + WIDTH)
  const indent = shown.slice(0, col - 1 - from).replace(/[^\t]/g, ' ')
  return `${head}\n  ${shown}\n  ${indent}^`
}

/** All problems as text, in the order of files and lines as they were found. */
export function formatProblems(problems: readonly Problem[]): string {
  return problems.map(formatProblem).join('\n')
}

/** Whether any of them is an error. */
export function hasErrors(problems: readonly Problem[]): boolean {
  return problems.some((problem) => problem.severity === 'error')
}

/** A path as people write it: `spec.http[0].route[1].weight`, `metadata.labels["a.b/c"]`. */
export function pathText(path: Path): string {
  let text = ''
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`
    else if (/^[A-Za-z_$][\w$-]*$/.test(part)) text += text === '' ? part : `.${part}`
    else text += `[${JSON.stringify(part)}]`
  }
  return text
}
