/** What patches look for, from the outside in. */
export type Part =
  | 'listener'
  | 'route configuration'
  | 'cluster'
  | 'extension config'
  | 'filter chain'
  | 'virtual host'
  | 'listener filter'
  | 'network filter'
  | 'HTTP filter'
  | 'route'

const DEPTH: Readonly<Record<Part, number>> = {
  listener: 0,
  'route configuration': 0,
  cluster: 0,
  'extension config': 0,
  'filter chain': 1,
  'virtual host': 1,
  'listener filter': 1,
  'network filter': 2,
  route: 2,
  'HTTP filter': 3,
}

/** More names than these help nobody. */
const MOST = 200

/** How near a patch came to what it is for: the innermost part that it looked for in vain, and what there was of it. */
export class Sought {
  /** Proxies, by kind, for which the patch is at all. */
  proxies = 0
  part: Part | undefined
  readonly there = new Set<string>()

  /** Of these, none is what the patch looks for. */
  missed(part: Part, names: Iterable<string>): void {
    const deeper = this.part === undefined || DEPTH[part] > DEPTH[this.part]
    if (deeper) {
      this.part = part
      this.there.clear()
    } else if (part !== this.part) return
    for (const name of names) if (this.there.size < MOST) this.there.add(name)
  }
}
