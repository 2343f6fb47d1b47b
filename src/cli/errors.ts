/** An end with a message and an exit status: 1 for findings and failures, 2 for misuse. */
export class CliError extends Error {
  readonly status: number
  constructor(message: string, status = 1) {
    super(message)
    this.status = status
  }
}

/** Prints what went wrong, in one line, and sets the exit status. */
export function fail(e: unknown): void {
  const message = e instanceof Error ? e.message : String(e)
  process.stderr.write(`dinghy: ${message}\n`)
  process.exitCode = e instanceof CliError ? e.status : 1
}
