import type { HeaderMutationRules } from '#gen/envoy/config/common/mutation_rules/v3/mutation_rules_pb.js'
import { Problems } from './config.ts'
import { compileFullMatch, type FullMatch } from './router/regex.ts'

/** What happens to a change of headers: it is made, left out, or the whole message is refused for it. */
export type MutationCheck = 'ok' | 'ignore' | 'fail'
/** The kind of a change. */
export type MutationKind = 'set' | 'append' | 'remove'

/** Names that say where a request goes. */
const ROUTING = new Set(['host', ':authority', ':method', ':scheme'])

/**
 * Rules about which headers an outside service may change (source/extensions/filters/common/mutation_rules/
 * mutation_rules.cc). Names are in lower case.
 */
export class MutationRules {
  private readonly config: HeaderMutationRules
  private readonly allowed: FullMatch | undefined
  private readonly disallowed: FullMatch | undefined

  /** Throws ConfigError. */
  constructor(config: HeaderMutationRules) {
    const problems = new Problems()
    const { allowExpression, disallowExpression } = config
    const compile = (name: string, regex: string | undefined): FullMatch | undefined =>
      regex === undefined ? undefined : problems.collect(name, () => compileFullMatch(regex))
    this.config = config
    this.allowed = compile('allow_expression', allowExpression?.regex)
    this.disallowed = compile('disallow_expression', disallowExpression?.regex)
    problems.throwIfAny()
  }

  /** `value` does not count where something is removed. */
  check(kind: MutationKind, name: string, value: string): MutationCheck {
    if (this.permits(kind, name) && (kind === 'remove' || fits(name, value))) return 'ok'
    return this.config.disallowIsError === true ? 'fail' : 'ignore'
  }

  private permits(kind: MutationKind, name: string): boolean {
    const { disallowAll, allowAllRouting, disallowSystem, allowEnvoy } = this.config
    const pseudo = name.startsWith(':')
    if (kind === 'remove' && (pseudo || name === 'host')) return false
    if (this.disallowed?.matches(name)) return false
    if (this.allowed?.matches(name)) return true
    if (disallowAll === true) return false
    if (allowAllRouting !== true && ROUTING.has(name)) return false
    if (pseudo && (kind === 'append' || disallowSystem === true)) return false
    return allowEnvoy === true || !name.startsWith('x-envoy')
  }
}

/** Whether a header may have this value. */
function fits(name: string, value: string): boolean {
  if (!name.startsWith(':') && !isHeaderValue(value)) return false
  if (name === 'host' || name === ':authority') return /^[A-Za-z0-9\-._~%!$&'()*+,;=:@[\]]*$/.test(value)
  if (name === ':scheme') return /^[A-Za-z][A-Za-z0-9+\-.]*$/.test(value)
  if (name === ':status') return /^\d{1,10}$/.test(value) && Number(value) >= 200
  return true
}

/** Whether a text can be a header's name (source/common/http/header_utility.cc headerNameIsValid). */
export function isHeaderName(name: string): boolean {
  return /^:?[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name)
}

/** Whether a text can be a header's value: no control characters but the tab. */
export function isHeaderValue(value: string): boolean {
  return !/[\x00-\x08\x0a-\x1f\x7f]/.test(value)
}
