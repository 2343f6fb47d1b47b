import fs from 'node:fs'
import { InvalidArgumentError, Option } from 'commander'
import { isDuration, parseDuration } from '../api/duration.ts'
import { CliError } from './errors.ts'

/** A whole number of at least 1. */
export function positive(text: string): number {
  const n = Number(text)
  if (!Number.isInteger(n) || n < 1) throw new InvalidArgumentError('It must be a whole number of at least 1.')
  return n
}

/** `--mesh PID`, for when several meshes run. */
export function meshOption(): Option {
  return new Option('--mesh <pid>', 'which running mesh, when there are several').argParser(positive)
}

/** `HOST:PORT`, `[::1]:PORT` or `:PORT`; port 0 picks a free one. */
export function hostPort(text: string): { host: string; port: number } {
  const m = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text)
  const port = Number(m?.[3])
  if (!m || port > 65535) throw new InvalidArgumentError('It must be HOST:PORT.')
  return { host: m[1] ?? (m[2] || '127.0.0.1'), port }
}

/** A duration such as `500ms` or `1m30s`, or seconds as a bare number; in ms. */
export function duration(text: string): number {
  if (/^\d+(\.\d+)?$/.test(text) && Number(text) > 0) return Number(text) * 1000
  const ms = isDuration(text) ? parseDuration(text) : 0
  if (ms <= 0) throw new InvalidArgumentError('It must be a duration such as 30s or 500ms.')
  return ms
}

/** A share such as `0.5%` or `0.005`; 0 to 1. */
export function errorRate(text: string): number {
  const n = text.endsWith('%') ? Number(text.slice(0, -1)) / 100 : Number(text)
  if (text.trim() === '' || !(n >= 0 && n <= 1))
    throw new InvalidArgumentError('It must be a share such as 0.5% or 0.005.')
  return n
}

/** A header line, `name: value`. */
export function headerLine(line: string): [string, string] {
  const m = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*)$/s.exec(line)
  if (!m) throw new CliError(`-H ${JSON.stringify(line)} is no "name: value"`, 2)
  return [m[1]!, m[2]!]
}

/** What `--data` gives: the text itself, of a file (`@FILE`), or of the standard input (`@-`). */
export function bodyOf(data: string): Buffer {
  if (!data.startsWith('@')) return Buffer.from(data)
  const file = data.slice(1)
  try {
    return fs.readFileSync(file === '-' ? 0 : file)
  } catch (e) {
    throw new CliError(`--data ${data}: ${(e as Error).message}`, 2)
  }
}
