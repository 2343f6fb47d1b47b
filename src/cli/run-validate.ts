import fs from 'node:fs'
import { NOT_ENFORCED } from '../api/not-enforced.ts'
import { hasErrors, type Problem } from '../api/problems.ts'
import { envoyFilterProblems } from '../pilot/envoyfilter/problems.ts'
import { SystemRuntime } from '../runtime-system.ts'
import { openFiles } from '../store/files.ts'
import { createStore } from '../store/store.ts'
import { countProblems, reportProblems } from './problems.ts'
import { table } from './table.ts'

/** Prints what is wrong with some files; sets the exit status. */
export async function check(paths: string[], strict: boolean): Promise<void> {
  const runtime = new SystemRuntime()
  const store = createStore(runtime)
  const { report } = await openFiles({ store, runtime, paths, strict })
  const problems = [...report.problems, ...envoyFilterProblems(store.list('EnvoyFilter')).map(withLine)]
  reportProblems(problems)
  const found = countProblems(problems)
  const read = `${report.files.length} file${report.files.length === 1 ? '' : 's'}`
  process.stdout.write(found ? `${read}: ${found}\n` : `${read}: no problems\n`)
  if (hasErrors(problems)) process.exitCode = 1
}

/** With the line of the file that it is in; standard input has been read already. */
function withLine(problem: Problem): Problem {
  try {
    const excerpt = fs.readFileSync(problem.file, 'utf8').split(/\r?\n/)[problem.line - 1]
    return excerpt === undefined ? problem : { ...problem, excerpt }
  } catch {
    return problem // gone since, or standard input
  }
}

/** Prints every field that has no effect yet. */
export function printNotEnforced(): void {
  process.stdout.write('Understood and checked, but not enforced yet:\n')
  process.stdout.write(
    `${table(
      ['FIELD', 'WHAT DOES NOT HAPPEN'],
      NOT_ENFORCED.map((row) => [row.pattern, row.words]),
    )}\n`,
  )
}
