import { type Command, InvalidArgumentError } from 'commander'
import type { Level } from '../pilot/analysis/message.ts'
import { CliError } from './errors.ts'
import { meshOption } from './options.ts'

/** The options of `dinghy analyze`. */
export interface AnalyzeOptions {
  readonly listAnalyzers: boolean
  readonly analyzer: readonly string[]
  readonly output: string
  readonly outputThreshold: Level
  readonly failureThreshold: Level
  readonly suppress: readonly string[]
  readonly namespace?: string
  readonly allNamespaces: boolean
  readonly ignoreUnknown: boolean
  readonly strict: boolean
  readonly mesh?: number
}

const OUTPUTS = ['log', 'json', 'yaml']

/** `dinghy analyze [FILES…]`: what istioctl would say of the files, and what it does not say. */
export function analyzeCommand(program: Command): void {
  program
    .command('analyze')
    .summary('look for mistakes and gaps in the configuration, as istioctl analyze does')
    .description(
      "Looks for mistakes and gaps in the configuration. Messages with IST codes are Istio's own (not all of them: --list-analyzers shows which), those with DGY codes tell what Istio takes without a word and then does otherwise than it reads.",
    )
    .argument('[files...]', 'YAML or JSON files, folders, or - for standard input; none: those of the running mesh')
    .option('-L, --list-analyzers', 'list the analyzers, and do nothing else', false)
    .option('--analyzer <name>', 'run only this analyzer (again for more)', collect, [])
    .option('-o, --output <format>', OUTPUTS.join(', '), 'log')
    .option('--output-threshold <level>', 'show messages of this level and worse: Info, Warning, Error', level, 'Info')
    .option(
      '--failure-threshold <level>',
      'exit with status 1 for messages of this level and worse: Info, Warning, Error',
      level,
      'Error',
    )
    .option(
      '-S, --suppress <code=resource>',
      'leave out a message of a resource, as in "IST0102=Namespace foo" or "DGY0102=AuthorizationPolicy *.default" (again for more)',
      collect,
      [],
    )
    .option('-n, --namespace <namespace>', 'only what is in that namespace, or in none')
    .option('-A, --all-namespaces', 'what is in any namespace (the default)', false)
    .option('--ignore-unknown', 'do not fail for documents that cannot be read', false)
    .option(
      '--strict',
      'refuse what the real API server or Envoy would refuse, instead of taking its obvious meaning',
      false,
    )
    .addOption(meshOption())
    .action(async (files: string[], options: AnalyzeOptions) => {
      if (!OUTPUTS.includes(options.output))
        throw new CliError(`-o ${options.output}: there are ${OUTPUTS.join(', ')}`, 2)
      if (options.allNamespaces && options.namespace !== undefined)
        throw new CliError('-A and -n exclude each other', 2)
      const { listAnalyzers, runAnalysis } = await import('./analyze-run.ts')
      if (options.listAnalyzers) listAnalyzers()
      else await runAnalysis(files, options)
    })
}

const collect = (value: string, before: readonly string[]): string[] => [...before, value]

function level(text: string): Level {
  const found = (['Info', 'Warning', 'Error'] as const).find((known) => known.toLowerCase() === text.toLowerCase())
  if (!found) throw new InvalidArgumentError('It must be Info, Warning or Error.')
  return found
}
