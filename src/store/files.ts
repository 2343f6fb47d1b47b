import { readdir, readFile, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { FSWatcher } from 'chokidar'
import type { Loaded, LoadOptions } from '../api/load.ts'
import { loadText } from '../api/load.ts'
import type { ApiObject } from '../api/objects.ts'
import type { Problem } from '../api/problems.ts'
import { hasErrors } from '../api/problems.ts'
import type { Runtime, Timer } from '../runtime.ts'
import type { Store } from './store.ts'

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

class Files {
  readonly #options: FilesOptions
  /** By absolute path: the path as shown in messages. */
  readonly #shown = new Map<string, string>()
  readonly #lastText = new Map<string, string>()
  #pending = new Set<string>()
  #timer: Timer | undefined
  #work: Promise<unknown> = Promise.resolve()
  #watcher: FSWatcher | undefined
  #closed = false

  constructor(options: FilesOptions) {
    this.#options = options
  }

  async readAll(): Promise<FilesReport> {
    const problems: Problem[] = []
    const update = new Map<string, readonly ApiObject[]>()
    const files: string[] = []
    for (const path of this.#options.paths) {
      const found = path === '-' ? [STDIN] : await filesIn(path, problems)
      if (found.length === 0 && path !== '-' && problems.at(-1)?.file !== path) {
        problems.push(about(path, 'warning', 'no *.yaml, *.yml or *.json file in this folder'))
      }
      for (const file of found) {
        const key = file === STDIN && path === '-' ? STDIN : resolve(file)
        if (update.has(key) || this.#shown.has(key)) continue
        this.#shown.set(key, file)
        files.push(file)
        const loaded = await this.#load(key, file, problems)
        if (loaded) update.set(key, loaded.objects)
      }
    }
    problems.push(...this.#options.store.apply(update))
    return { files, problems }
  }

  async follow(): Promise<void> {
    const paths = this.#options.paths.filter((path) => path !== '-')
    if (paths.length === 0) return
    const { watch } = await import('chokidar')
    const given = new Set(paths.map((path) => resolve(path)))
    const unwanted = (path: string, stats?: { isFile(): boolean }): boolean =>
      stats?.isFile() === true && !given.has(resolve(path)) && !WANTED.test(path)
    const watcher = watch([...paths], { ignoreInitial: true, ignored: unwanted })
    this.#watcher = watcher
    const touched = (path: string): void => this.#touched(resolve(path), path)
    watcher.on('add', touched).on('change', touched).on('unlink', touched)
    watcher.on('error', () => {})
    await new Promise<void>((done) => {
      watcher.once('ready', done)
    })
    // What changed between the first reading and now.
    for (const [key, file] of this.#shown) if (key !== STDIN) this.#touched(key, file)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    await this.#watcher?.close()
    await this.#work
  }

  #touched(key: string, file: string): void {
    if (!this.#shown.has(key)) this.#shown.set(key, file)
    this.#pending.add(key)
    this.#timer?.cancel()
    this.#timer = this.#options.runtime.after(this.#options.settleMs ?? 50, () => {
      this.#work = this.#work.then(() => this.#readAgain())
    })
  }

  async #readAgain(): Promise<void> {
    const pending = this.#pending
    this.#pending = new Set()
    const problems: Problem[] = []
    const update = new Map<string, readonly ApiObject[] | undefined>()
    const files: string[] = []
    for (const key of pending) {
      const file = this.#shown.get(key) as string
      const before = this.#lastText.get(key)
      const text = await readFile(key, 'utf8').catch((error: NodeJS.ErrnoException) => error)
      if (text instanceof Error && text.code === 'ENOENT') {
        this.#shown.delete(key)
        this.#lastText.delete(key)
        if (before === undefined) continue
        update.set(key, undefined)
        files.push(file)
        continue
      }
      if (text === before) continue
      files.push(file)
      if (typeof text === 'string' && text.trim() === '' && before !== undefined && !(await this.#stillEmpty(key))) {
        this.#touched(key, file)
        continue
      }
      const loaded = await this.#load(key, file, problems)
      if (loaded) update.set(key, loaded.objects)
    }
    if (this.#closed || files.length === 0) return
    problems.push(...this.#options.store.apply(update))
    this.#options.onReport?.({ files, problems })
  }

  /** Editors empty a file before they write it: nothing is deleted for that moment. */
  async #stillEmpty(key: string): Promise<boolean> {
    await new Promise<void>((done) => {
      this.#options.runtime.after(200, done)
    })
    return (await readFile(key, 'utf8').catch(() => '')).trim() === ''
  }

  /** The objects of a file, or nothing, if it has errors. */
  async #load(key: string, file: string, problems: Problem[]): Promise<Loaded | undefined> {
    try {
      const text = key === STDIN ? await this.#stdin() : await readFile(key, 'utf8')
      this.#lastText.set(key, text)
      const loaded = loadText(file, text, this.#options)
      problems.push(...loaded.problems)
      return hasErrors(loaded.problems) ? undefined : loaded
    } catch (error) {
      problems.push(about(file, 'error', `cannot be read: ${reason(error)}`))
      return undefined
    }
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
