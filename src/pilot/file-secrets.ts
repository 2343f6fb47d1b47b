import { createPrivateKey, X509Certificate } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import type { Runtime, Timer } from '../runtime.ts'
import type { Snapshot } from '../store/snapshot.ts'
import { type Watch, watchPaths } from '../store/watch.ts'
import { type FileReference, fileReference } from './file-references.ts'
import { ToldOnce } from './told-once.ts'

/** How long files are left alone after a change before they are read, ms: a certificate and its key are two files. */
const SETTLE_MS = 100

/** What following certificate files needs. */
export interface FileSecretsOptions {
  readonly runtime: Pick<Runtime, 'after'>
  /** Takes a line for each file that cannot be used, with the place that names it. */
  readonly tell: (line: string) => void
  /** A file that proxies have was changed, made or removed. */
  readonly onChange: () => void
}

/**
 * The files behind the secrets `file-cert:…` and `file-root:…` that proxies ask for, as istio-agent follows them
 * (security/pkg/nodeagent/cache/secretcache.go): what is wrong with them is told once, and a change is served.
 */
export class FileSecrets {
  readonly #options: FileSecretsOptions
  readonly #watches = new Map<string, Promise<Watch>>()
  readonly #told: ToldOnce
  #snapshot: Snapshot | undefined
  #timer: Timer | undefined
  #closed = false

  constructor(options: FileSecretsOptions) {
    this.#options = options
    this.#told = new ToldOnce(options.tell)
  }

  /** These secrets are wanted by a proxy; `snapshot` says by which objects. Others cost nothing. */
  wanted(names: Iterable<string>, snapshot: Snapshot): void {
    let fresh = snapshot !== this.#snapshot
    for (const name of names) {
      const files = filesOf(name)
      if (files.length === 0 || this.#watches.has(name) || this.#closed) continue
      fresh = true
      // In a volume of Kubernetes each file is a link through `..data`, and that is what is replaced.
      const links = [...new Set(files.map((file) => path.join(path.dirname(file), '..data')))].filter((link) =>
        fs.existsSync(link),
      )
      const watch = watchPaths(
        [...files, ...links],
        () => true,
        () => this.#touched(),
      )
      this.#watches.set(name, watch)
    }
    this.#snapshot = snapshot
    if (fresh && this.#watches.size > 0) this.#check()
  }

  #touched(): void {
    if (this.#closed) return
    this.#timer?.cancel()
    this.#timer = this.#options.runtime.after(SETTLE_MS, () => {
      this.#check()
      this.#options.onChange()
    })
  }

  #check(): void {
    const lines = new Map<string, string>()
    for (const name of this.#watches.keys()) {
      const failure = failureOf(name)
      const at = failure && this.#snapshot && fileReference(this.#snapshot, failure.file)
      // What nothing names any more is nobody's trouble.
      if (failure && at) lines.set(name, lineOf(failure, at))
    }
    this.#told.update(lines)
  }

  /** Ends the following of files. */
  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    for (const watch of this.#watches.values())
      watch.then(
        (opened) => opened.close(),
        () => {},
      )
  }
}

/** The files of a secret by its name; none of one that is not of files. */
export function filesOf(name: string): string[] {
  const colon = name.indexOf(':')
  const [kind, where] = [name.slice(0, colon), name.slice(colon + 1)]
  if (kind === 'file-root') return where === 'system' ? [] : [where]
  return kind === 'file-cert' ? where.split('~') : []
}

interface Failure {
  readonly file: string
  readonly reason: string
}

const REASONS: Record<string, string> = {
  ENOENT: 'there is no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a folder',
}

/** Why a secret of files cannot be used; undefined when it can. */
function failureOf(name: string): Failure | undefined {
  const texts: string[] = []
  for (const file of filesOf(name)) {
    try {
      texts.push(fs.readFileSync(file, 'utf8'))
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      return { file, reason: `cannot be read: ${(code !== undefined && REASONS[code]) || message}` }
    }
  }
  const [first = '', second = ''] = filesOf(name)
  try {
    const certificate = new X509Certificate(texts[0] ?? '')
    if (!name.startsWith('file-cert:')) return undefined
    try {
      if (certificate.checkPrivateKey(createPrivateKey(texts[1] ?? ''))) return undefined
      return { file: second, reason: `is not the key of ${first}` }
    } catch {
      return { file: second, reason: 'holds no private key (PEM)' }
    }
  } catch {
    return { file: first, reason: 'holds no certificate (PEM)' }
  }
}

function lineOf({ file, reason }: Failure, { object, field, at }: FileReference): string {
  return `${at.file}:${at.line}:${at.col}: ${object}: ${field} ${file} ${reason}; connections that need it fail until it can be used`
}
