/**
 * The roots that are trusted, and until when certificates are out that one of them vouches for. Only those that are held
 * by others count: who is served over a stream is served anew, and says so.
 */
export class Trust {
  #roots: readonly string[]
  #pem: string
  /** Wall-clock milliseconds, by root. */
  readonly #needed = new Map<string, number>()

  constructor(roots: readonly string[]) {
    this.#roots = [...new Set(roots)]
    this.#pem = this.#roots.join('')
  }

  /** All of them in PEM. */
  get pem(): string {
    return this.#pem
  }

  get roots(): readonly string[] {
    return this.#roots
  }

  /** Trusts these too; false when they all were already. New ones come first, as the ones to stay. */
  add(roots: readonly string[]): boolean {
    const fresh = roots.filter((root) => !this.#roots.includes(root))
    if (fresh.length === 0) return false
    this.#set([...fresh, ...this.#roots])
    return true
  }

  drop(root: string): void {
    this.#needed.delete(root)
    this.#set(this.#roots.filter((known) => known !== root))
  }

  /** A certificate has gone out that ends at `until` and leads to these roots. */
  vouched(roots: readonly string[], until: number): void {
    for (const root of roots) this.#needed.set(root, Math.max(until, this.#needed.get(root) ?? 0))
  }

  /** Until when a root is needed, in wall-clock milliseconds; 0 when nobody holds a certificate of it. */
  neededUntil(root: string): number {
    return this.#needed.get(root) ?? 0
  }

  #set(roots: readonly string[]): void {
    this.#roots = roots
    this.#pem = roots.join('')
  }
}
