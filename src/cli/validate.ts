import type { Command } from 'commander'
import { NOT_ENFORCED } from '../api/not-enforced.ts'
import { hasErrors } from '../api/problems.ts'
import { SystemRuntime } from '../runtime-system.ts'
import { openFiles } from '../store/files.ts'
import { createStore } from '../store/store.ts'
import { countProblems, reportProblems } from './problems.ts'
import { table } from './table.ts'

interface Options {
  strict: boolean
  notEnforced: boolean
}

/** `dinghy validate FILES…`: what is wrong with the files, and what of them has no effect yet. */
export function validateCommand(program: Command): void {
  program
    .command('validate')
    .summary('check files, without running anything')
    .argument('[files...]', 'YAML or JSON files, folders, or - for standard input')
    .option(
      '--strict',
      'refuse what the real API server or Envoy would refuse, instead of taking its obvious meaning',
      false,
    )
    .option('--not-enforced', 'list every field that is understood but not enforced yet', false)
    .action(async (files: string[], options: Options) => {
      if (options.notEnforced || files.length === 0) printNotEnforced()
      if (files.length > 0) await check(files, options.strict)
    })
}

async function check(paths: string[], strict: boolean): Promise<void> {
  const runtime = new SystemRuntime()
  const store = createStore(runtime)
  const { report } = await openFiles({ store, runtime, paths, strict })
  reportProblems(report.problems)
  const found = countProblems(report.problems)
  const read = `${report.files.length} file${report.files.length === 1 ? '' : 's'}`
  process.stdout.write(found ? `${read}: ${found}\n` : `${read}: no problems\n`)
  if (hasErrors(report.problems)) process.exitCode = 1
}

function printNotEnforced(): void {
  process.stdout.write('Understood and checked, but not enforced yet:\n')
  process.stdout.write(
    `${table(
      ['FIELD', 'WHAT DOES NOT HAPPEN'],
      NOT_ENFORCED.map((row) => [row.pattern, row.words]),
    )}\n`,
  )
}
