import { groupOfKind, kindsOfGroup, splitApiVersion } from './kinds-table.ts'
import { didYouMean } from './suggest.ts'

const isFields = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Why an apiVersion and a kind mean nothing: `versions` are those that the kind has. */
export function unknownKind(apiVersion: string, kind: string, versions: readonly string[]): string {
  const { group, version } = splitApiVersion(apiVersion)
  if (versions.length > 0) {
    return `${kind} has no version ${version}: use ${versions.map((known) => (group === '' ? known : `${group}/${known}`)).join(', ')}`
  }
  const home = groupOfKind(kind)
  if (home !== undefined) return `no kind ${kind} in ${apiVersion}: it is in ${home === '' ? 'v1' : `${home}/v1`}`
  return `no kind ${kind} in ${apiVersion}${didYouMean(kind, kindsOfGroup(group))}`
}

/** Where a document without a kind belongs, in brackets, as far as its fields tell. */
export function fragmentOf(value: unknown): string {
  const holder: unknown = Array.isArray(value) ? value[0] : value
  const fields = isFields(holder) ? Object.keys(holder) : []
  const has = (...names: string[]) => names.some((name) => fields.includes(name))
  if (Array.isArray(value)) {
    if (has('destination')) return ' (it looks like the "route" of a VirtualService: put it under spec.http[].route)'
    if (has('route', 'match', 'mirror', 'fault'))
      return ' (it looks like the "http" of a VirtualService: put it under spec.http)'
    return ''
  }
  if (has('http', 'tcp', 'tls', 'hosts')) return ' (it looks like the spec of a VirtualService: put it under spec)'
  if (has('fault', 'retries', 'timeout', 'mirror', 'route'))
    return ' (it looks like a part of a VirtualService: put it under spec.http[])'
  if (has('host', 'subsets', 'trafficPolicy'))
    return ' (it looks like the spec of a DestinationRule: put it under spec)'
  if (has('mtls')) return ' (it looks like the spec of a PeerAuthentication: put it under spec)'
  return ''
}
