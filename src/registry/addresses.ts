/** Gives addresses to what states none. The same key keeps its address for as long as the allotter lives. */
export interface AddressAllotter {
  /**
   * Told before each pass which addresses are given; an address that was allotted and is now given to something else
   * is taken back, and its key gets another.
   */
  reserve(given: Iterable<string>): void
  /** The address of a pod, by its `namespace/name`. */
  pod(key: string): string
  /** The ClusterIP of a service, by its `namespace/name`. */
  service(key: string): string
  /** The virtual address of a ServiceEntry's host, by `namespace/name/host`. */
  external(key: string): string
}

/** A /16 from which addresses are handed out in order. */
class Pool {
  readonly #prefix: string
  readonly #held = new Map<string, string>()
  readonly #taken = new Set<string>()
  #next: number

  constructor(prefix: string, first: number) {
    this.#prefix = prefix
    this.#next = first
  }

  evict(given: ReadonlySet<string>): void {
    for (const [key, address] of this.#held) if (given.has(address)) this.#held.delete(key)
  }

  allot(key: string, given: ReadonlySet<string>): string {
    const held = this.#held.get(key)
    if (held !== undefined) return held
    for (let tries = 0; tries < 0xffff; tries++) {
      const n = this.#next++ & 0xffff
      const last = n & 0xff
      const address = `${this.#prefix}.${n >>> 8}.${last}`
      if (last === 0 || last === 255 || given.has(address) || this.#taken.has(address)) continue
      this.#held.set(key, address)
      this.#taken.add(address)
      return address
    }
    throw new Error(`no address left in ${this.#prefix}.0.0/16`)
  }
}

/**
 * The addresses that an ordinary cluster would use: pods in 10.244.0.0/16, services in 10.96.0.0/16, and the virtual
 * addresses of ServiceEntries in 240.240.0.0/16, as istiod's controller does. The order in which things are first
 * seen decides, so the same files give the same addresses in each run.
 */
export class ClusterAllotter implements AddressAllotter {
  readonly #pods = new Pool('10.244', 2)
  // Below lie the API server's address and the resolver's (10.96.0.1, 10.96.0.10) and those that people write by hand.
  readonly #services = new Pool('10.96', 256 + 1)
  readonly #external = new Pool('240.240', 1)
  #given: ReadonlySet<string> = new Set()

  reserve(given: Iterable<string>): void {
    this.#given = new Set(given)
    this.#pods.evict(this.#given)
    this.#services.evict(this.#given)
    this.#external.evict(this.#given)
  }

  pod(key: string): string {
    return this.#pods.allot(key, this.#given)
  }

  service(key: string): string {
    return this.#services.allot(key, this.#given)
  }

  external(key: string): string {
    return this.#external.allot(key, this.#given)
  }
}
