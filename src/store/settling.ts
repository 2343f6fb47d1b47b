import { stat } from 'node:fs/promises'

/** What tells that a file has been written to: its size, its times, and which file it is. */
export type Signature = string

/** The signature of a file; one of its own for a file that is not there. */
export async function signatureOf(file: string): Promise<Signature> {
  try {
    const { ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true })
    return `${ino} ${size} ${mtimeNs} ${ctimeNs}`
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code)
  }
}

/** Since when files look as they do. */
export class Settling {
  readonly #seen = new Map<string, { signature: Signature; since: number }>()

  /** Takes a look at a file, at a time in ms: for how long it has looked like that, in ms. */
  look(file: string, signature: Signature, now: number): number {
    const seen = this.#seen.get(file)
    if (seen?.signature === signature) return now - seen.since
    this.#seen.set(file, { signature, since: now })
    return 0
  }

  /** For how long a file has looked as at the last look, in ms. */
  rested(file: string, now: number): number {
    const seen = this.#seen.get(file)
    return seen ? now - seen.since : 0
  }

  /** Nobody asks about these files any more. */
  keepOnly(files: { has(file: string): boolean }): void {
    for (const file of this.#seen.keys()) if (!files.has(file)) this.#seen.delete(file)
  }
}
