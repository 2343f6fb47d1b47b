import type { HTTPMatchRequest, HTTPRoute, StringMatch } from '../../api/kinds/virtual-service.ts'
import type { SourcedRoute } from './virtual-services.ts'

/**
 * Puts a delegate's rules in the place of the root's rule that names it; rules whose conditions cannot both hold are
 * dropped (pilot/pkg/model/virtualservice.go MergeHTTPRoutes). A delegate's own delegates count for nothing.
 */
export function mergeDelegate(root: SourcedRoute, delegate: readonly SourcedRoute[]): SourcedRoute[] {
  return delegate.flatMap(({ rule, origin }) => {
    const match = mergeMatches(root.rule.match ?? [], rule.match ?? [])
    return match ? [{ rule: mergeRule(root.rule, rule, match), origin }] : []
  })
}

const join = (root: string | undefined, delegate: string | undefined): string | undefined =>
  delegate ? (root ? `${root}-${delegate}` : delegate) : root

function mergeRule(root: HTTPRoute, delegate: HTTPRoute, match: HTTPMatchRequest[]): HTTPRoute {
  return {
    ...delegate,
    delegate: undefined,
    match,
    name: join(root.name, delegate.name),
    rewrite: delegate.rewrite ?? root.rewrite,
    directResponse: delegate.directResponse ?? root.directResponse,
    timeout: delegate.timeout ?? root.timeout,
    retries: delegate.retries ?? root.retries,
    fault: delegate.fault ?? root.fault,
    mirror: delegate.mirror ?? root.mirror,
    mirrorPercent: delegate.mirrorPercent ?? root.mirrorPercent,
    mirrorPercentage: delegate.mirrorPercentage ?? root.mirrorPercentage,
    corsPolicy: delegate.corsPolicy ?? root.corsPolicy,
    mirrors: delegate.mirrors ?? root.mirrors,
    headers: delegate.headers ?? root.headers,
  }
}

/** Every pair that does not conflict; undefined when one of the delegate's finds no partner. */
function mergeMatches(root: HTTPMatchRequest[], delegate: HTTPMatchRequest[]): HTTPMatchRequest[] | undefined {
  if (root.length === 0) return delegate
  if (delegate.length === 0) return root
  const out: HTTPMatchRequest[] = []
  for (const leaf of delegate) {
    const partners = root.filter((match) => !conflict(match, leaf))
    if (partners.length === 0) return undefined
    out.push(...partners.map((match) => mergeMatch(match, leaf)))
  }
  return out
}

function mergeMatch(root: HTTPMatchRequest, leaf: HTTPMatchRequest): HTTPMatchRequest {
  return {
    ...leaf,
    name: join(root.name, leaf.name),
    uri: leaf.uri ?? root.uri,
    scheme: leaf.scheme ?? root.scheme,
    method: leaf.method ?? root.method,
    authority: leaf.authority ?? root.authority,
    headers: merged(root.headers, leaf.headers),
    withoutHeaders: merged(root.withoutHeaders, leaf.withoutHeaders),
    queryParams: merged(root.queryParams, leaf.queryParams),
    port: leaf.port || root.port,
    sourceLabels: merged(root.sourceLabels, leaf.sourceLabels),
    sourceNamespace: leaf.sourceNamespace || root.sourceNamespace,
    gateways: leaf.gateways?.length ? leaf.gateways : root.gateways,
    statPrefix: leaf.statPrefix || root.statPrefix,
  }
}

function merged<T>(
  root: Record<string, T> | undefined,
  leaf: Record<string, T> | undefined,
): Record<string, T> | undefined {
  return root || leaf ? { ...root, ...leaf } : undefined
}

function conflict(root: HTTPMatchRequest, leaf: HTTPMatchRequest): boolean {
  const maps = ['headers', 'withoutHeaders', 'queryParams'] as const
  const strings = ['uri', 'scheme', 'method', 'authority'] as const
  if (strings.some((field) => stringConflict(root[field], leaf[field]))) return true
  if (
    maps.some((field) =>
      Object.entries(leaf[field] ?? {}).some(([key, value]) => stringConflict(root[field]?.[key], value)),
    )
  ) {
    return true
  }
  if ((root.ignoreUriCase ?? false) !== (leaf.ignoreUriCase ?? false)) return true
  if (root.port && leaf.port && root.port !== leaf.port) return true
  if (root.sourceNamespace && leaf.sourceNamespace !== root.sourceNamespace) return true
  for (const [key, value] of Object.entries(leaf.sourceLabels ?? {})) {
    const wanted = root.sourceLabels?.[key]
    if (wanted !== undefined && wanted !== value) return true
  }
  const { gateways = [] } = root
  return gateways.length > 0 && (leaf.gateways ?? []).some((name) => !gateways.includes(name))
}

function stringConflict(root: StringMatch | undefined, leaf: StringMatch | undefined): boolean {
  if (!root || !leaf) return false
  const said = (match: StringMatch): boolean => Boolean(match.regex || match.prefix || match.exact)
  if (root.regex && said(leaf)) return true
  if (leaf.regex && said(root)) return true
  if (root.exact) return Boolean(leaf.prefix) || leaf.exact !== root.exact
  if (root.prefix) {
    if (leaf.prefix) return !leaf.prefix.startsWith(root.prefix)
    if (leaf.exact) return !leaf.exact.startsWith(root.prefix)
  }
  return true
}
