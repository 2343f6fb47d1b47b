import type { Command } from 'commander'

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
      const { check, printNotEnforced } = await import('./run-validate.ts')
      if (options.notEnforced || files.length === 0) printNotEnforced()
      if (files.length > 0) await check(files, options.strict)
    })
}
