import { nameNow } from '../../api/validate/old-filter-names.ts'
import type { Runtime, Timer } from '../../runtime.ts'
import { nearest } from '../../xds/problem.ts'
import type { Patch } from './patch.ts'
import { type EnvoyFilters, placeOf } from './patches.ts'
import { leftOut } from './problems.ts'
import type { Part } from './sought.ts'

/** How long after the last proxy was served the patches are looked at, and after the first one at the latest; ms. */
const PATIENCE = 1000
const LONGEST = 10_000
const UNDISCOVERED =
  'no EXTENSION_CONFIG of that name is for the proxies that have this filter: they wait for initial_fetch_timeout, then serve nothing past it but its default_config'
/** So many names are listed. */
const LISTED = 15

/**
 * Says, once for each set of EnvoyFilters, what of them has no effect: values that cannot be read or merged, and patches
 * that find nothing to patch, with what they looked for and what there was.
 */
export class PatchReport {
  readonly #runtime: Runtime
  readonly #log: (line: string) => void
  #filters: EnvoyFilters | undefined
  #timer: Timer | undefined
  #latest = 0

  constructor(runtime: Runtime, log: (line: string) => void) {
    this.#runtime = runtime
    this.#log = log
  }

  /** Resources were made with these. */
  served(filters: EnvoyFilters): void {
    if (filters !== this.#filters) {
      this.#filters = filters
      this.#timer?.cancel()
      this.#timer = undefined
      this.#latest = this.#runtime.now() + LONGEST
      for (const { object, path, text, field } of filters.flaws)
        this.#log(`${placeOf(object, path)}: ${leftOut(field ? 'it' : 'the patch', text)}`)
      if (filters.patches.length > 0) this.#wait(filters)
    } else if (this.#timer && this.#runtime.now() < this.#latest) {
      // More proxies come: perhaps those that the patches are for.
      this.#timer.cancel()
      this.#wait(filters)
    }
  }

  #wait(filters: EnvoyFilters): void {
    this.#timer = this.#runtime.after(PATIENCE, () => {
      this.#timer = undefined
      for (const patch of filters.patches) {
        if (patch.failure !== undefined) this.#log(`${patch.place}: ${patch.failure}`)
        else if (patch.undiscovered) this.#log(`${patch.place}: ${UNDISCOVERED}`)
        // Of operations that are never applied to such things the check of the YAML has told already.
        else if (patch.hits === 0 && !patch.idle) this.#log(`${patch.place}: ${inVain(patch)}`)
      }
    })
  }

  /** Ends what still waits. */
  close(): void {
    this.#timer?.cancel()
  }
}

/** `INSERT_BEFORE of HTTP_FILTER matches nothing …: no HTTP filter "a"; there: b, c; did you mean "b"?`. */
export function inVain({ applyTo, operation, match, value, sought }: Patch): string {
  const what = `${operation} of ${applyTo} matches nothing that any connected proxy has`
  if (sought.proxies === 0) return `${what}: none is one that it is for`
  const { part } = sought
  if (applyTo === 'BOOTSTRAP') return `${what} by the bootstraps that are made here: other proxies bring their own`
  if (applyTo === 'EXTENSION_CONFIG' && part === undefined) return `${what}: none has a filter with config_discovery`
  if (part === undefined) return `${what} for the context ${match.context ?? 'ANY'}`
  const there = [...sought.there].sort()
  const { name, text } = wanted(part, match, value)
  const listed = there.slice(0, LISTED).join(', ')
  const more = there.length > LISTED ? ` and ${there.length - LISTED} more` : ''
  const near = name === undefined ? undefined : (nameNow(name) ?? nearest(name, there))
  const hint = near === undefined || near === name ? '' : `; did you mean "${near}"?`
  return `${what}: no ${part}${text}; there: ${listed || 'none'}${more}${hint}`
}

type Match = Patch['match']

/** What of the match is about a part: in words, and its name if it has one. */
function wanted(
  part: Part,
  { listener, routeConfiguration, cluster }: Match,
  value: Patch['value'],
): { name?: string; text: string } {
  const chain = listener?.filterChain
  const named = (name: string | undefined) => (name ? { name, text: ` "${name}"` } : { text: '' })
  switch (part) {
    case 'listener':
      return described(listener?.name, { portNumber: listener?.portNumber })
    case 'filter chain': {
      const { filter: _, name, ...rest } = chain ?? {}
      return described(name, { ...rest, portNumber: listener?.portNumber })
    }
    case 'listener filter':
      return named(listener?.listenerFilter)
    case 'network filter':
      return named(chain?.filter?.name)
    case 'HTTP filter':
      return named(chain?.filter?.subFilter?.name)
    case 'route configuration': {
      const { vhost: _, name, ...rest } = routeConfiguration ?? {}
      return described(name, rest)
    }
    case 'virtual host':
      return described(routeConfiguration?.vhost?.name, { domainName: routeConfiguration?.vhost?.domainName })
    case 'route':
      return described(routeConfiguration?.vhost?.route?.name, { action: routeConfiguration?.vhost?.route?.action })
    case 'extension config':
      return named('name' in value ? value.name : undefined)
    case 'cluster': {
      const { name, ...rest } = cluster ?? {}
      return described(name, rest)
    }
  }
}

/** ` "name" with portNumber 80 and sni a.com`. */
function described(name: string | undefined, rest: object): { name?: string; text: string } {
  const parts = Object.entries(rest).filter(([, value]) => value !== undefined && value !== '' && value !== 0)
  const more = parts.map(([key, value]) => `${key} ${value}`).join(' and ')
  const text = `${name ? ` "${name}"` : ''}${more ? ` with ${more}` : ''}`
  return name ? { name, text } : { text }
}
