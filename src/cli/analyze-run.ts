import path from 'node:path'
import { KINDS } from '../api/kinds-table.ts'
import type { ApiObject, Kind } from '../api/objects.ts'
import { hasErrors } from '../api/problems.ts'
import { analyzeSnapshot } from '../mesh/analysis.ts'
import { findMesh, NoMeshError } from '../mesh/control/running.ts'
import { allAnalyzers } from '../pilot/analysis/analyze.ts'
import { SCHEMA_VALIDATION_ERROR, typeOf } from '../pilot/analysis/catalogue.ts'
import { LEVELS, type Level, type Message, sortedMessages } from '../pilot/analysis/message.ts'
import { PROBLEM_TYPES, problemMessage } from '../pilot/analysis/problem-messages.ts'
import { SystemRuntime } from '../runtime-system.ts'
import { openFiles } from '../store/files.ts'
import { createStore } from '../store/store.ts'
import type { AnalyzeOptions } from './analyze.ts'
import { printMessages } from './analyze-print.ts'
import { suppressions } from './analyze-suppress.ts'
import { CliError } from './errors.ts'

/** Prints the analyzers, as `istioctl analyze --list-analyzers` does, with the codes that each may report. */
export function listAnalyzers(): void {
  for (const { name, description, types } of allAnalyzers(Date.now)) {
    const codes = types.map(({ code }) => code).join(' ')
    process.stdout.write(`* ${name}:\n${description} (${codes})\n`)
  }
  const codes = PROBLEM_TYPES.map(({ code }) => code).join(' ')
  process.stdout.write(`* schema.ValidationAnalyzer:\nRuns schema validation as files are read, always (${codes})\n`)
}

/** Analyzes files; sets the exit status: 1 when something is as bad as the threshold. */
export async function runAnalysis(files: readonly string[], options: AnalyzeOptions): Promise<void> {
  const runtime = new SystemRuntime()
  const known = allAnalyzers(() => runtime.wallNow())
  for (const name of options.analyzer)
    if (!known.some((analyzer) => analyzer.name === name))
      throw new CliError(`--analyzer ${name}: there is none; --list-analyzers shows which there are`, 2)
  const store = createStore(runtime)
  const paths = files.length > 0 ? files : sourcesOf(options.mesh)
  const { report } = await openFiles({ store, runtime, paths, strict: options.strict })
  const objects = (Object.keys(KINDS) as Kind[]).flatMap((kind): readonly ApiObject[] => store.list(kind))
  const read = options.analyzer.length > 0 ? [] : report.problems.map((problem) => problemMessage(problem, objects))
  const found = analyzeSnapshot(store.snapshot, {
    others: report.others ?? [],
    now: () => runtime.wallNow(),
    analyzers: options.analyzer,
    env: process.env,
  })
  const suppressed = suppressions(options.suppress, (code) => {
    if (typeOf(code)) return
    process.stderr.write(
      `Warning: Supplied message code '${code}' is an unknown message code and will not have any effect.\n`,
    )
  })
  const inNamespace = ({ subject }: Message): boolean =>
    options.namespace === undefined || !subject?.namespace || subject.namespace === options.namespace
  const messages = sortedMessages([...read, ...found]).filter((m) => inNamespace(m) && !suppressed(m))
  const shown = messages.filter((message) => isAsBad(message.level, options.outputThreshold))
  await printMessages(shown, options.output)
  if (shown.length === 0 && options.output === 'log')
    process.stderr.write(`✔ No validation issues found when analyzing ${shownFiles(report.files)}\n`)
  const unreadable = (message: Message): boolean =>
    options.ignoreUnknown && message.code === SCHEMA_VALIDATION_ERROR.code
  const failed = messages.some((m) => isAsBad(m.level, options.failureThreshold) && !unreadable(m))
  const unread = hasErrors(report.problems) && !options.ignoreUnknown
  if (failed || unread) process.exitCode = 1
}

const isAsBad = (level: Level, threshold: Level): boolean => LEVELS.indexOf(level) <= LEVELS.indexOf(threshold)

function sourcesOf(pid: number | undefined): string[] {
  try {
    const { sources, cwd } = findMesh(pid)
    return sources
      .filter((source) => source !== '-')
      .map((source) => path.relative('', path.resolve(cwd, source)) || '.')
  } catch (e) {
    if (e instanceof NoMeshError) throw new CliError(`name files to analyze, or start a mesh: ${e.message}`, 2)
    throw e
  }
}

function shownFiles(files: readonly string[]): string {
  return files.length === 1 ? `${files[0]}.` : `:\n  - ${files.join('\n  - ')}`.replace(/^:/, 'these files:')
}
