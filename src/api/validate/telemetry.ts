import type { ProxyConfig } from '../kinds/proxy-config.ts'
import type { Metrics, ProviderRef, Telemetry, TelemetryTracing } from '../kinds/telemetry.ts'
import { celFault } from './cel.ts'
import { checkSelector } from './names.ts'
import type { Scope } from './scope.ts'
import { each, eachEntry } from './scope.ts'
import { checkDuration, checkTargets } from './values.ts'

/** Telemetry (ValidateTelemetry). */
export function checkTelemetry(scope: Scope, spec: Telemetry): void {
  checkTargets(scope, spec)
  checkSelector(scope.at('selector'), spec.selector)
  each(scope.at('metrics'), spec.metrics, checkMetrics)
  if ((spec.tracing?.length ?? 0) > 1) scope.at('tracing').warnAtKey('only the first entry has an effect')
  each(scope.at('tracing'), spec.tracing, checkTracing)
  each(scope.at('accessLogging'), spec.accessLogging, (at, { providers, filter }) => {
    checkProviders(at.at('providers'), providers)
    const fault = filter?.expression === undefined ? undefined : celFault(filter.expression)
    if (fault !== undefined) at.at('filter', 'expression').error(`no CEL expression: ${fault}`)
  })
}

function checkProviders(scope: Scope, providers: readonly ProviderRef[] | undefined): void {
  each(scope, providers, (at, { name }) => {
    if (name === '') at.at('name').error('must not be empty')
  })
}

function checkMetrics(scope: Scope, metrics: Metrics): void {
  checkProviders(scope.at('providers'), metrics.providers)
  checkDuration(scope.at('reportingInterval'), metrics.reportingInterval)
  each(scope.at('overrides'), metrics.overrides, (at, { match, tagOverrides }) => {
    if (match?.customMetric === '') at.at('match', 'customMetric').error('must not be empty')
    eachEntry(at.at('tagOverrides'), tagOverrides, (place, _, { operation = 'UPSERT', value }) => {
      if (operation === 'UPSERT' && !value)
        place.error('the operation UPSERT (the value when it is not set) needs a value')
      if (operation === 'REMOVE' && value) place.at('value').errorAtKey('has no place with the operation REMOVE')
    })
  })
}

function checkTracing(scope: Scope, tracing: TelemetryTracing): void {
  if ((tracing.providers?.length ?? 0) > 1) scope.at('providers').warnAtKey('only the first provider has an effect')
  checkProviders(scope.at('providers'), tracing.providers)
  const sampling = tracing.randomSamplingPercentage
  if (sampling !== undefined && (sampling < 0 || sampling > 100)) {
    scope.at('randomSamplingPercentage').error(`a percentage is a number from 0 to 100, not ${sampling}`)
  }
  eachEntry(scope.at('customTags'), tracing.customTags, (at, name, tag) => {
    if (name === '') at.errorAtKey('the name of a tag must not be empty')
    if (tag.literal?.value === '') at.at('literal', 'value').error('must not be empty')
    if (tag.header?.name === '') at.at('header', 'name').error('must not be empty')
    if (tag.environment?.name === '') at.at('environment', 'name').error('must not be empty')
    if (tag.formatter?.value === '') at.at('formatter', 'value').error('must not be empty')
  })
}

/** ProxyConfig (ValidateProxyConfig). */
export function checkProxyConfig(scope: Scope, spec: ProxyConfig): void {
  checkSelector(scope.at('selector'), spec.selector)
  if ((spec.concurrency ?? 0) < 0) scope.at('concurrency').error(`must not be negative, is ${spec.concurrency}`)
}
