import { NOT_ENFORCED } from '../api/not-enforced.ts'
import { hasErrors } from '../api/problems.ts'
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
  reportProblems(report.problems)
  const found = countProblems(report.problems)
  const read = `${report.files.length} file${report.files.length === 1 ? '' : 's'}`
  process.stdout.write(found ? `${read}: ${found}\n` : `${read}: no problems\n`)
  if (hasErrors(report.problems)) process.exitCode = 1
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
