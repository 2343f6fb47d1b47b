import type {
  JwtAuthentication,
  JwtRequirement,
  RequirementRule,
} from '#gen/envoy/extensions/filters/http/jwt_authn/v3/config_pb.js'
import { ConfigError } from '../../context.ts'
import { Problems } from '../../http/config.ts'
import type { HeaderName } from '../../http/headers.ts'
import type { HttpFilterContext } from '../filter.ts'
import { ownHeaders } from './locations.ts'
import { Providers } from './providers.ts'
import { compileRequirement, type Requirement } from './requirement.ts'
import { RuleMatch } from './rules.ts'
import { JwtStats } from './stats.ts'

/** A rule, compiled; without a requirement it lets its requests pass. */
export interface Rule {
  readonly match: RuleMatch
  readonly requirement: Requirement | undefined
}

/** Requirements by the text of an object in the filter state. */
export interface StateRules {
  readonly name: string
  readonly requirements: ReadonlyMap<string, Requirement>
}

/** A JwtAuthentication, compiled (source/extensions/filters/http/jwt_authn/filter_config.cc). */
export class JwtConfig {
  readonly stats: JwtStats
  readonly providers: Providers
  readonly rules: readonly Rule[]
  /** `requirement_map`. */
  readonly requirements: ReadonlyMap<string, Requirement>
  readonly stateRules: StateRules | undefined
  readonly bypassesPreflight: boolean
  readonly stripsFailures: boolean
  /** Headers that are taken out of every request, since only the filter may set them. */
  readonly ownHeaders: readonly HeaderName[]

  /** Throws ConfigError. */
  constructor(config: JwtAuthentication, { proxy, statPrefix }: HttpFilterContext) {
    const problems = new Problems()
    this.stats = new JwtStats(proxy.stats, `${statPrefix}jwt_authn.${joined(config.statPrefix)}`)
    this.providers = new Providers(config.providers, { proxy, stats: this.stats })
    const compileAll = (all: Readonly<Record<string, JwtRequirement>>, path: string): Map<string, Requirement> => {
      const out = new Map<string, Requirement>()
      for (const [name, requirement] of Object.entries(all)) {
        const compiled = problems.collect(`${path}[${name}]`, () => compileRequirement(requirement, this.providers))
        if (compiled !== undefined) out.set(name, compiled)
      }
      return out
    }
    this.requirements = compileAll(config.requirementMap, 'requirement_map')
    this.rules = config.rules.flatMap(
      (rule, i) =>
        problems.collect(`rules[${i}]`, () =>
          this.rule(rule, config.requirementMap, (field) =>
            proxy.notEnforced?.(`jwt_authn.rules[${i}].match.${field}: Envoy ignores it, too`),
          ),
        ) ?? [],
    )
    const { filterStateRules } = config
    this.stateRules = filterStateRules && {
      name: filterStateRules.name,
      requirements: compileAll(filterStateRules.requires, 'filter_state_rules.requires'),
    }
    this.bypassesPreflight = config.bypassCorsPreflight
    this.stripsFailures = config.stripFailureResponse
    const filterWide = proxy.runtimeFeatures?.get('jwt_authn_sanitize_payload_headers_filter_wide') ?? true
    this.ownHeaders = filterWide ? ownHeaders(Object.values(config.providers)) : []
    problems.throwIfAny()
  }

  private rule(
    rule: RequirementRule,
    named: Readonly<Record<string, JwtRequirement>>,
    noEffect: (field: string) => void,
  ): Rule {
    if (rule.match === undefined) throw new ConfigError(['match: is required'])
    const match = new RuleMatch(rule.match, noEffect)
    const type = rule.requirementType
    switch (type.case) {
      case 'requires':
        return { match, requirement: compileRequirement(type.value, this.providers) }
      case 'requirementName': {
        if (!Object.hasOwn(named, type.value)) {
          const known = Object.keys(named).sort().join(',')
          throw new ConfigError([`Wrong requirement_name: ${type.value}. It should be one of [${known}]`])
        }
        return { match, requirement: this.requirements.get(type.value) }
      }
      default:
        return { match, requirement: undefined }
    }
  }
}

/** A prefix with a dot at its end, as source/common/stats/utility.cc joins them. */
function joined(prefix: string): string {
  return prefix === '' || prefix.endsWith('.') ? prefix : `${prefix}.`
}
