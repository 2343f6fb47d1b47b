import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { hasErrors, type Problem } from '../api/problems.ts'
import type { Runtime, Timer } from '../runtime.ts'
import { Settling, signatureOf } from '../store/settling.ts'
import { type ConfigText, type LoadedLimits, loadLimits } from './config.ts'
import type { Stats } from './stats.ts'

/** Where limits come from. */
export interface LimitsSourceOptions {
  /** Files, and folders that are read to the bottom (*.yaml, *.yml, *.json). */
  readonly paths: readonly string[]
  /** Files and folders with names that begin with a dot are passed over. */
  readonly ignoreDotFiles: boolean
  /** A domain may be spread over several documents. */
  readonly merge: boolean
  readonly runtime: Runtime
  readonly stats: Stats
  /** Is told of what each later reading found. */
  readonly onReload: (loaded: LoadedLimits) => void
}

/** Limits from files, followed. */
export interface LimitsSource {
  readonly first: LoadedLimits
  close(): Promise<void>
}

/** How often the files are looked at, ms. Looking, rather than being told, sees swapped symlinks too (a mounted ConfigMap). */
const LOOK_MS = 200
/** How long files must have been left alone to be read again, ms; and how long if what is there now is broken. */
const SETTLE_MS = 50
const WARY_MS = 400
const WANTED = /\.(?:ya?ml|json)$/i
/** How deep folders are followed, for symlinks may lead in circles. */
const MAX_DEPTH = 16

/** Reads limits, and reads them again whenever a file has changed. Never rejects: what cannot be read is a problem. */
export async function openLimits(options: LimitsSourceOptions): Promise<LimitsSource> {
  const source = new Source(options)
  const first = await source.readFirst()
  return { first, close: () => source.close() }
}

class Source {
  readonly #options: LimitsSourceOptions
  readonly #settling = new Settling()
  /** How the files looked that were read last. */
  #read = ''
  #timer: Timer | undefined
  #work: Promise<void> = Promise.resolve()
  #closed = false

  constructor(options: LimitsSourceOptions) {
    this.#options = options
  }

  async readFirst(): Promise<LoadedLimits> {
    this.#read = await this.#look()
    const loaded = await this.#load()
    this.#schedule(LOOK_MS)
    return loaded
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    await this.#work
  }

  #schedule(ms: number): void {
    if (this.#closed) return
    this.#timer = this.#options.runtime.after(ms, () => {
      this.#work = this.#check().then((next) => this.#schedule(next))
    })
  }

  /** Looks at the files; answers in how many ms to look again. */
  async #check(): Promise<number> {
    const signature = await this.#look()
    if (signature === this.#read) return LOOK_MS
    const rested = this.#settling.look('', signature, this.#options.runtime.now())
    if (rested < SETTLE_MS) return SETTLE_MS
    const loaded = await this.#load()
    // Many programs empty a file, then write it piece by piece.
    if (hasErrors(loaded.problems) && rested < WARY_MS) return SETTLE_MS
    if ((await this.#look()) !== signature) return SETTLE_MS
    this.#read = signature
    if (!this.#closed) this.#options.onReload(loaded)
    return LOOK_MS
  }

  /** How all files look: their names, sizes and times. */
  async #look(): Promise<string> {
    const files = await this.#list([])
    const signatures = await Promise.all(files.map(async (file) => `${file} ${await signatureOf(file)}`))
    return signatures.join('\n')
  }

  async #load(): Promise<LoadedLimits> {
    const { stats, merge, paths } = this.#options
    const problems: Problem[] = []
    const texts: ConfigText[] = []
    for (const file of await this.#list(problems)) {
      try {
        texts.push({ file, text: await readFile(file, 'utf8') })
      } catch (error) {
        problems.push(unreadable(file, error))
      }
    }
    const loaded = loadLimits(texts, stats, merge)
    const all = [...problems, ...loaded.problems]
    if (loaded.sources === 0 && !hasErrors(all)) {
      const message = 'no rate limits here: every request passes'
      all.push({ severity: 'warning', message, file: paths.join(', '), line: 0, col: 0 })
    }
    return { ...loaded, limits: hasErrors(all) ? undefined : loaded.limits, problems: all }
  }

  async #list(problems: Problem[]): Promise<string[]> {
    const files: string[] = []
    for (const path of this.#options.paths) {
      try {
        if ((await stat(path)).isDirectory()) await this.#listFolder(path, files, 0)
        else files.push(path)
      } catch (error) {
        problems.push(unreadable(path, error))
      }
    }
    return [...new Set(files)]
  }

  async #listFolder(folder: string, files: string[], depth: number): Promise<void> {
    for (const name of (await readdir(folder)).sort()) {
      if (this.#options.ignoreDotFiles && name.startsWith('.')) continue
      const path = join(folder, name)
      // What has gone since the folder was read is not there.
      const found = await stat(path).catch(() => undefined)
      if (found?.isDirectory() && depth < MAX_DEPTH) await this.#listFolder(path, files, depth + 1)
      else if (found?.isFile() && WANTED.test(name)) files.push(path)
    }
  }
}

function unreadable(file: string, error: unknown): Problem {
  const { code, message } = error as NodeJS.ErrnoException
  const reason = code === 'ENOENT' ? 'no such file or folder' : code === 'EACCES' ? 'permission denied' : message
  return { severity: 'error', message: `cannot be read: ${reason}`, file, line: 0, col: 0 }
}
