/** The audiences that a token may be for (source/common/jwt/check_audience.cc); none: any. */
export class Audiences {
  private readonly allowed: ReadonlySet<string>

  constructor(audiences: readonly string[]) {
    this.allowed = new Set(audiences.map(bare))
  }

  /** Whether a token for these audiences is welcome. */
  allows(audiences: readonly string[]): boolean {
    return this.allowed.size === 0 || audiences.some((audience) => this.allowed.has(bare(audience)))
  }
}

/** Without `http://` or `https://` and one slash at the end. */
function bare(audience: string): string {
  const start = audience.startsWith('http://') ? 7 : audience.startsWith('https://') ? 8 : 0
  return audience.slice(start, audience.endsWith('/') ? audience.length - 1 : audience.length)
}
