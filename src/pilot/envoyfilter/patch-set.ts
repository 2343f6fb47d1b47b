import type { ApplyTo, Patch, PatchContext } from './patch.ts'

/** The patches of one proxy, in the order of their application. */
export class PatchSet {
  private readonly patches: ReadonlyMap<ApplyTo, readonly Patch[]>
  private readonly ordered: readonly Patch[]
  /** Which patches changed a resource, by type URL and name. */
  private readonly touched = new Map<string, Map<string, Set<Patch>>>()

  constructor(patches: readonly Patch[]) {
    this.ordered = patches
    for (const patch of patches) patch.sought.proxies++
    const byKind = new Map<ApplyTo, Patch[]>()
    for (const patch of patches) byKind.set(patch.applyTo, [...(byKind.get(patch.applyTo) ?? []), patch])
    this.patches = byKind
  }

  /** Those to one kind of thing that are meant for a context. */
  of<A extends ApplyTo>(applyTo: A, context: PatchContext): readonly Patch<A>[] {
    const all = (this.patches.get(applyTo) ?? []) as readonly Patch<A>[]
    return all.filter(({ match }) => (match.context ?? 'ANY') === 'ANY' || match.context === context)
  }

  /** Those to some kinds of things, whatever context they are meant for. */
  all<A extends ApplyTo>(...kinds: A[]): readonly Patch<A>[] {
    return kinds.flatMap((kind) => (this.patches.get(kind) ?? []) as readonly Patch<A>[])
  }

  /** Runs what patches one resource, and takes note of the patches that changed it; also by the name that it has then. */
  during<T extends { readonly name: string } | undefined>(typeUrl: string, name: string, work: () => T): T {
    const before = this.ordered.map(({ hits }) => hits)
    let result: T | undefined
    try {
      result = work()
      return result
    } finally {
      const names = new Set([name, result?.name || name])
      for (const [i, patch] of this.ordered.entries())
        if (patch.hits !== before[i]) for (const one of names) this.touch(typeUrl, one, patch)
    }
  }

  /** Takes note that a patch made a resource, or changed it. */
  touch(typeUrl: string, name: string, patch: Patch): void {
    const byName = this.touched.get(typeUrl) ?? new Map<string, Set<Patch>>()
    this.touched.set(typeUrl, byName)
    byName.set(name, (byName.get(name) ?? new Set()).add(patch))
  }

  /**
   * The patches that a refusal is about: of the resources that it names (of all of the type, when it names none) those
   * whose own names or types it mentions, or else all.
   */
  blamed(typeUrl: string, refusal: string): readonly Patch[] {
    const byName = this.touched.get(typeUrl)
    if (!byName) return []
    const named = [...byName].filter(([name]) => refusal.includes(`${name}: `) || refusal.includes(`'${name}'`))
    const patches = [...new Set((named.length > 0 ? named : [...byName]).flatMap(([, set]) => [...set]))]
    const mentioned = patches.filter((patch) => wordsOf(patch).some((word) => refusal.includes(word)))
    return mentioned.length > 0 ? mentioned : patches
  }

  /** Whether there is anything for these kinds of things. */
  has(...kinds: ApplyTo[]): boolean {
    return kinds.some((kind) => this.patches.has(kind))
  }
}

/**
 * By what an error message may mention a patch: the names of the filters in its value, the types of their
 * configs, and the errors of these when they are not valid.
 */
function wordsOf({ value }: Patch): string[] {
  const words: string[] = []
  const look = (part: unknown): void => {
    if (typeof part !== 'object' || part === null || part instanceof Uint8Array) return
    if (Array.isArray(part)) {
      for (const item of part) look(item)
      return
    }
    const { configType, typedConfig, name } = part as {
      configType?: { value?: { typeUrl?: string } }
      typedConfig?: { typeUrl?: string }
      name?: unknown
    }
    if (configType !== undefined || typedConfig !== undefined) {
      if (typeof name === 'string' && name !== '') words.push(name)
      const type = configType?.value?.typeUrl ?? typedConfig?.typeUrl
      if (type)
        words.push(type.slice(type.lastIndexOf('/') + 1), `${type.slice(type.lastIndexOf('.') + 1)}ValidationError`)
    }
    for (const inner of Object.values(part)) look(inner)
  }
  look(value)
  return words
}
