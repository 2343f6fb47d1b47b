import pc from 'picocolors'
import { formatProblem, type Problem, type Severity } from '../api/problems.ts'

const COLOURS: Record<Severity, (text: string) => string> = { error: pc.red, warning: pc.yellow, info: pc.cyan }

/** Prints problems to standard error, each with its place, its line and a caret. */
export function reportProblems(problems: readonly Problem[]): void {
  for (const problem of problems) {
    const text = formatProblem(problem)
    const mark = `${problem.severity}:`
    process.stderr.write(`${text.replace(mark, COLOURS[problem.severity](mark))}\n`)
  }
}

/** `2 errors, 1 warning`; '' when there is nothing. */
export function countProblems(problems: readonly Problem[]): string {
  const parts: string[] = []
  for (const severity of ['error', 'warning', 'info'] as const) {
    const n = problems.filter((p) => p.severity === severity).length
    if (n > 0) parts.push(`${n} ${severity}${n === 1 || severity === 'info' ? '' : 's'}`)
  }
  return parts.join(', ')
}
