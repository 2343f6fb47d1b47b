import type { Finding } from '../issues.ts'
import type { Path } from '../objects.ts'
import type { Severity } from '../problems.ts'
import { pathText } from '../problems.ts'

/** A finding with its weight. */
export interface Verdict extends Finding {
  severity: Severity
}

/** A place in an object, where findings can be said about it. */
export class Scope {
  readonly path: Path
  readonly #verdicts: Verdict[]
  readonly #strict: boolean

  /** `verdicts` takes up everything that is said here and below. */
  constructor(verdicts: Verdict[], strict: boolean, path: Path = []) {
    this.#verdicts = verdicts
    this.#strict = strict
    this.path = path
  }

  /** A place further down. */
  at(...parts: (string | number)[]): Scope {
    return new Scope(this.#verdicts, this.#strict, [...this.path, ...parts])
  }

  /** What the API server or Istio's webhook rejects. */
  error(message: string): void {
    this.#say('error', message, false)
  }

  /** What they accept with a warning, or what surely is not meant. */
  warn(message: string): void {
    this.#say('warning', message, false)
  }

  /** What they reject, but has one obvious meaning, which it takes here: an error only if strict. */
  loose(message: string): void {
    this.#say(this.#strict ? 'error' : 'warning', message, false)
  }

  /** An error about a field as such: its place is the key. */
  errorAtKey(message: string): void {
    this.#say('error', message, true)
  }

  /** A warning about a field as such: its place is the key. */
  warnAtKey(message: string): void {
    this.#say('warning', message, true)
  }

  #say(severity: Severity, message: string, atKey: boolean): void {
    const said = `${pathText(this.path)}: ${message}`
    this.#verdicts.push({ severity, path: this.path, message: said, ...(atKey && { atKey }) })
  }
}

/** Calls `check` for each entry of a list, with its place. */
export function each<T>(
  scope: Scope,
  items: readonly T[] | undefined,
  check: (scope: Scope, item: T, index: number) => void,
): void {
  items?.forEach((item, i) => {
    check(scope.at(i), item, i)
  })
}

/** Calls `check` for each entry of a map, with its place. */
export function eachEntry<T>(
  scope: Scope,
  items: Readonly<Record<string, T>> | undefined,
  check: (scope: Scope, key: string, item: T) => void,
): void {
  for (const [key, item] of Object.entries(items ?? {})) check(scope.at(key), key, item)
}
