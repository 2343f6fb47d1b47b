import { readdir, readFile, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Loaded, LoadOptions } from '../api/load.ts'
import { loadText } from '../api/load.ts'
import type { ApiObject, OtherObject } from '../api/objects.ts'
import type { Problem } from '../api/problems.ts'
import { hasErrors } from '../api/problems.ts'
import type { Runtime } from '../runtime.ts'
import { Settling, signatureOf } from './settling.ts'
import { keyOf } from './snapshot.ts'
import type { Store } from './store.ts'
import type { Watch } from './watch.ts'
import { watchPaths } from './watch.ts'

/** What a reading of files found. */
export interface FilesReport {
  /** The files read this time, and those that are gone. */
  files: string[]
  problems: Problem[]
  /** Of the first reading: objects of kinds that the mesh does not read. */
  others?: readonly OtherObject[]
}

/** Where objects come from, and how changes are followed. */
export interface FilesOptions extends LoadOptions {
  store: Store
  runtime: Runtime
  /** Files, folders (read to the bottom: *.yaml, *.yml, *.json) and `-` for the standard input. */
  paths: readonly string[]
  /** Follow changes. Default false. */
  watch?: boolean
  /**
   * What else is wrong with the objects of a file that is edited, as an admission webhook judges it: with an error the edit
   * is not applied, and what ran goes on.
   */
  admit?: (objects: readonly ApiObject[]) => readonly Problem[]
  /** Is told what each later reading found, also when that is nothing. */
  onReport?: (report: FilesReport) => void
  /** How long a file must have been left alone before it is read again. Default 50 ms. */
  settleMs?: number
  /** Gives the standard input; for tests. */
  readStdin?: () => Promise<string>
}

/** An open set of files. */
export interface FilesSource {
  /** What the first reading found. */
  readonly report: FilesReport
  /** Ends the following of changes. The objects stay in the store. */
  close(): Promise<void>
}

/** The name under which the standard input appears in messages. */
const STDIN = 'stdin'
const WANTED = /\.(ya?ml|json)$/i

/**
 * Reads files into a store, as one change, and follows them if asked to: each edit is one change. A file with an error
 * is not applied in part: its objects stay as they were before the edit (or out, the first time). Files that cannot be
 * read are problems with their name.
 */
export async function openFiles(options: FilesOptions): Promise<FilesSource> {
  const files = new Files(options)
  const report = await files.readAll()
  if (options.watch) await files.follow()
  return { report, close: () => files.close() }
}

/** How many times its settling time a change waits at most, while files go on changing. */
const PATIENCE = 10
/**
 * How long a file that is broken, gone, or lacks objects that it had must have been left alone, in ms: many programs empty
 * a file, then write it piece by piece.
 */
const WARY_MS = 200

/** A file that has changed, and what is in it. */
interface Edit {
  readonly key: string
  readonly file: string
  /** Undefined: it is gone. */
  readonly text: string | undefined
  /** Why it cannot be read. */
  readonly failure?: string
  readonly loaded?: Loaded
  /** Nothing was written while it was read. */
  readonly steady?: boolean
}

class Files {
  readonly #options: FilesOptions
  /** The text of each file as it was last read, by absolute path. */
  readonly #texts = new Map<string, string>()
  /** Why files could not be read the last time. */
  readonly #failures = new Map<string, string>()
  /** The objects of each file that are applied, by their keys. */
  readonly #applied = new Map<string, ReadonlySet<string>>()
  /** The path of each file as it is shown in messages. */
  readonly #shown = new Map<string, string>()
  readonly #settling = new Settling()
  readonly #others: OtherObject[] = []
  /** Something may have changed since the last look. */
  #hinted = false
  #busy = false
  #wake: (() => void) | undefined
  #work: Promise<void> = Promise.resolve()
  #watch: Watch | undefined
  #closed = false

  constructor(options: FilesOptions) {
    this.#options = options
  }

  async readAll(): Promise<FilesReport> {
    const problems: Problem[] = []
    const files = await this.#list(problems)
    if (this.#options.paths.includes('-')) files.set(STDIN, STDIN)
    const update = new Map<string, readonly ApiObject[] | undefined>()
    for (const [key, file] of files) {
      try {
        const text = key === STDIN ? await this.#stdin() : await readFile(key, 'utf8')
        const loaded = loadText(file, text, this.#options)
        this.#take({ key, file, text, loaded }, update, problems)
        // Only whoever reads once asks for these.
        if (!this.#options.watch) this.#others.push(...loaded.others)
      } catch (error) {
        this.#take({ key, file, text: '', failure: reason(error) }, update, problems)
      }
    }
    problems.push(...this.#options.store.apply(update))
    const others = this.#others.splice(0)
    return { files: [...files.values()], problems, ...(others.length > 0 ? { others } : {}) }
  }

  async follow(): Promise<void> {
    const paths = this.#options.paths.filter((path) => path !== '-')
    if (paths.length === 0) return
    this.#watch = await watchPaths(
      paths,
      (file) => WANTED.test(file),
      () => this.#touched(),
    )
    // For what changed between the first reading and now.
    this.#touched()
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#wake?.()
    await this.#watch?.close()
    await this.#work
  }

  #touched(): void {
    this.#hinted = true
    if (this.#busy || this.#closed) return
    this.#busy = true
    this.#work = this.#catchUp().finally(() => {
      this.#busy = false
    })
  }

  /** Applies what has changed, as soon as it is left alone. */
  async #catchUp(): Promise<void> {
    const { runtime, settleMs = 50 } = this.#options
    while (this.#hinted && !this.#closed) {
      const patient = runtime.now() + settleMs * PATIENCE
      for (const key of (await this.#list([])).keys()) await this.#look(key)
      let wait = settleMs
      while (wait > 0 && !this.#closed) {
        await this.#sleep(wait)
        this.#hinted = false
        wait = this.#closed ? 0 : await this.#readAgain(settleMs, runtime.now() >= patient)
      }
    }
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.runtime.after(ms, resolve)
      this.#wake = () => {
        timer.cancel()
        resolve()
      }
    })
  }

  /** For how long a file has looked as it does, in ms. */
  async #look(key: string): Promise<number> {
    const signature = await signatureOf(key)
    return this.#settling.look(key, signature, this.#options.runtime.now())
  }

  /**
   * Reads all files again, and applies those that have changed, as one change. While some are still being written all
   * wait: answers for how many ms; 0 when there is nothing to wait for. `impatient`: those that can be used wait no longer.
   */
  async #readAgain(settleMs: number, impatient: boolean): Promise<number> {
    const ready: Edit[] = []
    let wait = 0
    for (const edit of await this.#edits()) {
      const rested = this.#settling.rested(edit.key, this.#options.runtime.now())
      const suspect = this.#isSuspect(edit)
      const needed = suspect ? WARY_MS : settleMs
      if (rested >= needed || (impatient && !suspect && edit.steady)) ready.push(edit)
      else wait = Math.max(wait, needed - rested)
    }
    if (this.#closed || ready.length === 0 || (wait > 0 && !impatient)) return wait
    const update = new Map<string, readonly ApiObject[] | undefined>()
    const problems: Problem[] = []
    for (const edit of ready) this.#take(edit, update, problems)
    problems.push(...this.#options.store.apply(update))
    this.#options.onReport?.({ files: ready.map(({ file }) => file), problems })
    return wait
  }

  /** The files that are not as they were. */
  async #edits(): Promise<Edit[]> {
    const edits: Edit[] = []
    const present = await this.#list([])
    for (const [key, file] of present) {
      await this.#look(key)
      const text = await readFile(key, 'utf8').catch((error: NodeJS.ErrnoException) => error)
      // What was written to in between counts as just changed.
      const steady = (await this.#look(key)) > 0
      if (typeof text === 'string') {
        this.#failures.delete(key)
        if (text === this.#texts.get(key)) continue
        edits.push({ key, file, text, loaded: this.#admitted(text, loadText(file, text, this.#options)), steady })
      } else if (text.code === 'ENOENT') present.delete(key)
      else if (reason(text) !== this.#failures.get(key)) edits.push({ key, file, text: '', failure: reason(text) })
    }
    for (const key of this.#texts.keys()) {
      if (key === STDIN || present.has(key)) continue
      await this.#look(key)
      edits.push({ key, file: this.#shown.get(key) ?? key, text: undefined })
    }
    this.#settling.keepOnly({ has: (key) => present.has(key) || this.#texts.has(key) })
    return edits
  }

  /** An edit with the errors that only `admit` finds. */
  #admitted(text: string, loaded: Loaded): Loaded {
    const refused = (this.#options.admit?.(loaded.objects) ?? []).filter(({ severity }) => severity === 'error')
    if (refused.length === 0) return loaded
    const lines = text.split(/\r?\n/)
    const problems = refused.map((problem) => ({ excerpt: lines[problem.line - 1], ...problem }))
    return { ...loaded, problems: [...loaded.problems, ...problems] }
  }

  /** Whether an edit may be half of one: it is broken, or lacks objects that were there. */
  #isSuspect({ key, loaded }: Edit): boolean {
    if (!loaded || hasErrors(loaded.problems)) return true
    const names = namesOf(loaded)
    return [...(this.#applied.get(key) ?? [])].some((name) => !names.has(name))
  }

  /** Puts the objects of a file into the update, unless it has errors. */
  #take(edit: Edit, update: Map<string, readonly ApiObject[] | undefined>, problems: Problem[]): void {
    const { key, file, text, failure, loaded } = edit
    this.#failures.delete(key)
    if (failure !== undefined) {
      this.#failures.set(key, failure)
      problems.push(about(file, 'error', `cannot be read: ${failure}`))
    } else if (text === undefined || !loaded) {
      this.#texts.delete(key)
      this.#applied.delete(key)
      update.set(key, undefined)
    } else {
      this.#texts.set(key, text)
      this.#shown.set(key, file)
      problems.push(...loaded.problems)
      if (hasErrors(loaded.problems)) return
      this.#applied.set(key, namesOf(loaded))
      update.set(key, loaded.objects)
    }
  }

  /** The files that there are, in their order: absolute path to the path as shown. */
  async #list(problems: Problem[]): Promise<Map<string, string>> {
    const files = new Map<string, string>()
    for (const path of this.#options.paths) {
      if (path === '-') continue
      const before = problems.length
      const found = await filesIn(path, problems)
      if (found.length === 0 && problems.length === before) {
        problems.push(about(path, 'warning', 'no *.yaml, *.yml or *.json file in this folder'))
      }
      for (const file of found) if (!files.has(resolve(file))) files.set(resolve(file), file)
    }
    return files
  }

  async #stdin(): Promise<string> {
    if (this.#options.readStdin) return this.#options.readStdin()
    const parts: Buffer[] = []
    for await (const part of process.stdin) parts.push(part as Buffer)
    return Buffer.concat(parts).toString('utf8')
  }
}

const namesOf = ({ objects }: Loaded): ReadonlySet<string> =>
  new Set(objects.map(({ kind, metadata: { namespace, name } }) => keyOf(kind, namespace, name)))

/** A file by itself, or the files of a folder and of those in it, by name. */
async function filesIn(path: string, problems: Problem[]): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path]
    const found: string[] = []
    const entries = await readdir(path, { withFileTypes: true })
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const inside = join(path, entry.name)
      if (entry.isDirectory()) found.push(...(await filesIn(inside, problems)))
      else if (WANTED.test(entry.name)) found.push(inside)
    }
    return found
  } catch (error) {
    problems.push(about(path, 'error', `cannot be read: ${reason(error)}`))
    return []
  }
}

const REASONS: Record<string, string> = {
  ENOENT: 'no such file or folder',
  EACCES: 'permission denied',
  EISDIR: 'it is a folder',
}

function reason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return (code !== undefined && REASONS[code]) || message
}

function about(file: string, severity: 'error' | 'warning', message: string): Problem {
  return { severity, message, file, line: 0, col: 0 }
}
