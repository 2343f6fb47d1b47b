/** Tells lines, each once: again only when it has changed, or has been mended and broken anew. */
export class ToldOnce {
  readonly #tell: (line: string) => void
  #told: ReadonlyMap<string, string> = new Map()

  constructor(tell: (line: string) => void) {
    this.#tell = tell
  }

  /** All that is wrong now, by what it is about. */
  update(lines: ReadonlyMap<string, string>): void {
    const before = this.#told
    this.#told = new Map(lines)
    for (const [key, line] of lines) if (before.get(key) !== line) this.#tell(line)
  }
}
