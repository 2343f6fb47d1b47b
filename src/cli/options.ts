import { InvalidArgumentError, Option } from 'commander'

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
