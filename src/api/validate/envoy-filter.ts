import { RE2JS } from 're2js'
import { idleOperation } from '../envoy-filter-operations.ts'
import type { EnvoyConfigObjectMatch, EnvoyConfigObjectPatch, EnvoyFilter } from '../kinds/envoy-filter.ts'
import { checkSelector } from './names.ts'
import { nameNow } from './old-filter-names.ts'
import type { Scope } from './scope.ts'
import { each } from './scope.ts'
import { checkTargets } from './values.ts'

type Fields = Record<string, unknown>

const MANAGERS = ['envoy.filters.network.http_connection_manager', 'envoy.http_connection_manager']

/**
 * EnvoyFilter (envoyfilter.ValidateEnvoyFilter). Whether the values are messages that Envoy knows is found out where
 * they are applied.
 */
export function checkEnvoyFilter(scope: Scope, spec: EnvoyFilter): void {
  checkSelector(scope.at('workloadSelector'), spec.workloadSelector)
  checkTargets(scope, { targetRefs: spec.targetRefs })
  if (spec.workloadSelector && spec.targetRefs?.length) scope.at('targetRefs').errorAtKey('excludes workloadSelector')
  each(scope.at('configPatches'), spec.configPatches, checkPatch)
}

function checkPatch(scope: Scope, { applyTo = 'INVALID', match, patch }: EnvoyConfigObjectPatch): void {
  const waypoint = match?.context === 'WAYPOINT'
  if (match?.waypoint && !waypoint) scope.at('match', 'waypoint').errorAtKey('needs "context: WAYPOINT"')
  if (applyTo === 'INVALID') scope.error('applyTo is needed')
  if (!patch) {
    scope.error('patch is needed')
    return
  }
  const { operation = 'INVALID', value } = patch
  const at = scope.at('patch')
  if (operation === 'INVALID') at.errorAtKey('operation is needed')
  else if (operation !== 'REMOVE' && !value) at.errorAtKey(`value is needed for the operation ${operation}`)
  if (match?.proxy?.proxyVersion) checkVersion(scope.at('match', 'proxy', 'proxyVersion'), match.proxy.proxyVersion)
  if (match && !waypoint) checkMatch(scope.at('match'), match, applyTo)
  if (value) checkValue(at.at('value'), value)
  const idle = operation === 'INVALID' ? undefined : idleOperation({ applyTo, match, patch })
  if (idle !== undefined) at.at('operation').warn(idle)
  if (applyTo === 'HTTP_FILTER' && operation === 'ADD') {
    at.at('operation').warn(
      'appends behind the router, which Envoy refuses: write INSERT_BEFORE, with a subFilter match on envoy.filters.http.router',
    )
  }
}

function checkVersion(scope: Scope, regex: string): void {
  if (regex.length > 1024) scope.warn('is longer than 1024 characters, and has no effect')
  else {
    try {
      RE2JS.compile(regex)
    } catch (error) {
      scope.error(`no regular expression: ${(error as Error).message.replace(/^error parsing regexp: /, '')}`)
    }
  }
}

const KINDS_OF_MATCH: Record<string, 'listener' | 'routeConfiguration' | 'cluster'> = {
  LISTENER: 'listener',
  FILTER_CHAIN: 'listener',
  NETWORK_FILTER: 'listener',
  HTTP_FILTER: 'listener',
  ROUTE_CONFIGURATION: 'routeConfiguration',
  VIRTUAL_HOST: 'routeConfiguration',
  HTTP_ROUTE: 'routeConfiguration',
  CLUSTER: 'cluster',
}

function checkMatch(scope: Scope, match: EnvoyConfigObjectMatch, applyTo: string): void {
  const wanted = KINDS_OF_MATCH[applyTo]
  for (const kind of ['listener', 'routeConfiguration', 'cluster'] as const) {
    if (wanted && match[kind] && kind !== wanted)
      scope.at(kind).errorAtKey(`a match for applyTo ${applyTo} is one on ${wanted}`)
  }
  if (match.listener?.portName) scope.at('listener', 'portName').warnAtKey('has no effect: istiod does not look at it')
  const filter = match.listener?.filterChain?.filter
  if (wanted !== 'listener' || !filter) return
  const at = scope.at('listener', 'filterChain', 'filter')
  if (applyTo === 'LISTENER' || applyTo === 'FILTER_CHAIN') at.warnAtKey(`has no effect with applyTo ${applyTo}`)
  if (!filter.name) {
    at.errorAtKey('name is needed')
    return
  }
  warnOldName(at.at('name'), filter.name)
  if (!filter.subFilter) return
  if (applyTo !== 'HTTP_FILTER') at.at('subFilter').errorAtKey('goes with applyTo HTTP_FILTER alone')
  else if (!MANAGERS.includes(filter.name)) at.at('subFilter').errorAtKey(`needs a filter match on ${MANAGERS[0]}`)
  else if (!filter.subFilter.name) at.at('subFilter').errorAtKey('name is needed')
  else warnOldName(at.at('subFilter', 'name'), filter.subFilter.name)
}

function warnOldName(scope: Scope, name: string): void {
  const now = nameNow(name)
  if (now !== undefined) scope.warn(`an old name, which matches nothing any more: write "${now}"`)
}

/** What is wrong inside of a patch, as far as it can be told without Envoy's types. */
function checkValue(scope: Scope, value: unknown): void {
  if (Array.isArray(value)) {
    each(scope, value as unknown[], checkValue)
    return
  }
  if (typeof value !== 'object' || value === null) return
  const fields = value as Fields
  const type = fields['@type']
  if (typeof type === 'string') {
    const url = fields.type_url ?? fields.typeUrl
    if (/\.TypedStruct$/.test(type)) {
      if (typeof url !== 'string')
        scope.errorAtKey('a TypedStruct needs type_url, and its fields under value: Envoy refuses the listener with it')
      else if (/\.local_ratelimit\.v3\.LocalRateLimit$/.test(url)) warnRateLimit(scope.at('value'), fields.value)
    } else if (/\.http\.local_ratelimit\.v3\.LocalRateLimit$/.test(type)) warnRateLimit(scope, fields)
  }
  for (const [key, part] of Object.entries(fields)) checkValue(scope.at(key), part)
}

/** A local rate limit is off unless it is switched on, and then counts alone unless it is enforced. */
function warnRateLimit(scope: Scope, value: unknown): void {
  if (typeof value !== 'object' || value === null) return
  const has = (snake: string, camel: string): boolean => snake in value || camel in value
  if (!has('token_bucket', 'tokenBucket') && !has('descriptors', 'descriptors')) return
  if (!has('filter_enabled', 'filterEnabled')) {
    scope.warnAtKey('a local rate limit without filter_enabled never limits: its default is 0 %')
  } else if (!has('filter_enforced', 'filterEnforced')) {
    scope.warnAtKey('a local rate limit without filter_enforced counts, but refuses nothing: its default is 0 %')
  }
}
