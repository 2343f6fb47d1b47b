import { readdir, readFile, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { LoadOptions } from '../api/load.ts'
import { loadText } from '../api/load.ts'
import type { ApiObject } from '../api/objects.ts'
import type { Problem } from '../api/problems.ts'
import { hasErrors } from '../api/problems.ts'
import type { Runtime, Timer } from '../runtime.ts'
import type { Store } from './store.ts'
import type { Watch } from './watch.ts'
import { watchPaths } from './watch.ts'

/** What a reading of files found. */
export interface FilesReport {
  /** The files read this time, and those that are gone. */
  files: string[]
  problems: Problem[]
}

/** Where objects come from, and how changes are followed. */
export interface FilesOptions extends LoadOptions {
  store: Store
  runtime: Runtime
  /** Files, folders (read to the bottom: *.yaml, *.yml, *.json) and `-` for the standard input. */
  paths: readonly string[]
  /** Follow changes. Default false. */
  watch?: boolean
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
/** How long a file that has become empty is given to be filled again, in ms: editors empty before they write. */
const EMPTY_MS = 200

class Files {
  readonly #options: FilesOptions
  /** The text of each file as it was last read, by absolute path. */
  readonly #texts = new Map<string, string>()
  /** The path of each file as it is shown in messages. */
  readonly #shown = new Map<string, string>()
  /** Since when a file is empty that was not. */
  readonly #emptied = new Map<string, number>()
  #waitingSince: number | undefined
  #timer: Timer | undefined
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
        this.#load(key, file, text, update, problems)
      } catch (error) {
        problems.push(about(file, 'error', `cannot be read: ${reason(error)}`))
      }
    }
    problems.push(...this.#options.store.apply(update))
    return { files: [...files.values()], problems }
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
    this.#timer?.cancel()
    await this.#watch?.close()
    await this.#work
  }

  #touched(after = this.#options.settleMs ?? 50): void {
    if (this.#closed) return
    const { runtime } = this.#options
    this.#waitingSince ??= runtime.now()
    const most = this.#waitingSince + after * PATIENCE - runtime.now()
    this.#timer?.cancel()
    this.#timer = runtime.after(Math.max(0, Math.min(after, most)), () => {
      this.#waitingSince = undefined
      this.#work = this.#work.then(() => this.#readAgain())
    })
  }

  /** Reads all files again, and applies those that have changed, as one change. */
  async #readAgain(): Promise<void> {
    const problems: Problem[] = []
    const present = await this.#list([])
    const update = new Map<string, readonly ApiObject[] | undefined>()
    const files: string[] = []
    for (const [key, file] of present) {
      const text = await readFile(key, 'utf8').catch((error: NodeJS.ErrnoException) => error)
      if (text instanceof Error) {
        if (text.code !== 'ENOENT') problems.push(about(file, 'error', `cannot be read: ${reason(text)}`))
        else present.delete(key)
        continue
      }
      if (text === this.#texts.get(key) || this.#isBeingWritten(key, text)) continue
      files.push(file)
      this.#load(key, file, text, update, problems)
    }
    for (const key of this.#texts.keys()) {
      if (key === STDIN || present.has(key)) continue
      this.#texts.delete(key)
      update.set(key, undefined)
      files.push(this.#shown.get(key) ?? key)
    }
    if (this.#closed || (files.length === 0 && problems.length === 0)) return
    problems.push(...this.#options.store.apply(update))
    this.#options.onReport?.({ files, problems })
  }

  #isBeingWritten(key: string, text: string): boolean {
    if (text.trim() !== '' || (this.#texts.get(key) ?? '').trim() === '') {
      this.#emptied.delete(key)
      return false
    }
    const now = this.#options.runtime.now()
    const since = this.#emptied.get(key) ?? now
    if (now - since >= EMPTY_MS) {
      this.#emptied.delete(key)
      return false
    }
    this.#emptied.set(key, since)
    this.#touched(EMPTY_MS - (now - since) + 1)
    return true
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

  /** Puts the objects of a file into the update, unless it has errors. */
  #load(
    key: string,
    file: string,
    text: string,
    update: Map<string, readonly ApiObject[] | undefined>,
    problems: Problem[],
  ): void {
    this.#texts.set(key, text)
    this.#shown.set(key, file)
    const loaded = loadText(file, text, this.#options)
    problems.push(...loaded.problems)
    if (!hasErrors(loaded.problems)) update.set(key, loaded.objects)
  }

  async #stdin(): Promise<string> {
    if (this.#options.readStdin) return this.#options.readStdin()
    const parts: Buffer[] = []
    for await (const part of process.stdin) parts.push(part as Buffer)
    return Buffer.concat(parts).toString('utf8')
  }
}

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
