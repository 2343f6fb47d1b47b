import { isIP, isIPv4 } from 'node:net'
import type { Scope } from './scope.ts'
import { eachEntry } from './scope.ts'

/** Names and addresses, by the rules of pkg/config/validation/agent/validation.go and pkg/config/labels. */

const LABEL = /^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$/
const WILDCARD_LABEL = /^(?:\*|(?:\*-?)?[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?)$/
const QUALIFIED = /^(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/

/** Whether Istio takes a text for a DNS label; unlike Kubernetes it allows capitals. */
export function isLabel(name: string): boolean {
  return name.length <= 63 && LABEL.test(name)
}

/** Why a text is no DNS name, or nothing. A dot at the end is allowed. */
export function fqdnFault(name: string): string | undefined {
  return lengthFault(name) ?? labelsFault(name, name)
}

/** Why a text is no DNS name with an optional wildcard as (part of) its first label, or nothing. */
export function wildcardFault(name: string): string | undefined {
  const fault = lengthFault(name)
  if (fault !== undefined) return fault
  const dot = name.indexOf('.')
  const first = dot < 0 ? name : name.slice(0, dot)
  if (first.length > 63 || !WILDCARD_LABEL.test(first)) return `"${name}" is no DNS name ("${first}" is no label)`
  return dot < 0 ? undefined : labelsFault(name.slice(dot + 1), name)
}

function lengthFault(name: string): string | undefined {
  if (name === '') return 'must not be empty'
  return name.length > 255 ? 'a DNS name has at most 255 characters' : undefined
}

function labelsFault(labels: string, whole: string): string | undefined {
  const parts = labels.split('.')
  const last = parts.at(-1) as string
  if (/^[+-]?\d+$/.test(last)) return `"${whole}" is no DNS name (its last part must not be a number)`
  if (last === '') parts.pop()
  const bad = parts.find((part) => !isLabel(part))
  return bad === undefined ? undefined : `"${whole}" is no DNS name ("${bad}" is no label)`
}

/** Whether a text is an IPv4 or IPv6 address. */
export function isAddress(text: string): boolean {
  return isIP(text) !== 0
}

/** Whether a text is a CIDR block. */
export function isCidr(text: string): boolean {
  const [address = '', bits = '', ...rest] = text.split('/')
  if (rest.length > 0 || !isAddress(address) || !/^(0|[1-9]\d{0,2})$/.test(bits)) return false
  return Number(bits) <= (isIPv4(address) ? 32 : 128)
}

/** An address or a CIDR block. */
export function checkSubnet(scope: Scope, text: string): void {
  if (text.includes('/') ? !isCidr(text) : !isAddress(text)) scope.error(`"${text}" is no IP address or CIDR block`)
}

/** An IP address. */
export function checkAddress(scope: Scope, text: string): void {
  if (!isAddress(text)) scope.error(`"${text}" is no IP address`)
}

/** `/path` or `@abstract`, what follows `unix://`. */
export function checkUnixPath(scope: Scope, path: string): void {
  if (path.startsWith('@')) return
  if (!path.startsWith('/') || path.endsWith('/')) scope.error(`"${path}" is no absolute path of a socket`)
}

/** A port number. */
export function checkPort(scope: Scope, port: number | undefined): void {
  if (port === undefined || port < 1 || port > 65535)
    scope.error(`a port is a number from 1 to 65535, not ${port ?? 0}`)
}

/** A name for a port. */
export function checkPortName(scope: Scope, name: string): void {
  if (!isLabel(name)) scope.error(`"${name}" is no port name (at most 63 letters, digits and "-")`)
}

/** Labels of workloads (pkg/config/labels Instance.Validate). */
export function checkLabels(scope: Scope, labels: Readonly<Record<string, string>> | undefined): void {
  eachEntry(scope, labels, (at, key, value) => {
    const slash = key.lastIndexOf('/')
    const [prefix, name] = slash < 0 ? [undefined, key] : [key.slice(0, slash), key.slice(slash + 1)]
    const good = QUALIFIED.test(name) && name.length <= 63 && (prefix === undefined || prefix.split('.').every(isLabel))
    if (!good) at.errorAtKey(`"${key}" is no label key`)
    if (value !== '' && (value.length > 63 || !QUALIFIED.test(value))) at.error(`"${value}" is no label value`)
  })
}

/** Labels in a selector (under `matchLabels` or `labels`): no wildcards, and not none. */
export function checkSelector(
  scope: Scope,
  selector:
    | { matchLabels?: Record<string, string> | undefined; labels?: Record<string, string> | undefined }
    | undefined,
): void {
  if (!selector) return
  const field = 'labels' in selector ? 'labels' : 'matchLabels'
  const labels = selector[field] ?? {}
  eachEntry(scope.at(field), labels, (at, key, value) => {
    if (key === '') at.errorAtKey('a selector has no empty keys')
    if (key.includes('*')) at.errorAtKey('a selector has no wildcards')
    else if (value.includes('*')) at.error('a selector has no wildcards')
  })
  if (Object.keys(labels).length === 0) scope.warnAtKey('a selector without labels selects every workload')
}

/** The protocols of ports (pkg/config/protocol Parse). */
export type Protocol =
  | 'tcp'
  | 'udp'
  | 'grpc'
  | 'grpc-web'
  | 'http'
  | 'http_proxy'
  | 'http2'
  | 'https'
  | 'tls'
  | 'mongo'
  | 'redis'
  | 'mysql'

const PROTOCOLS = [
  'tcp',
  'udp',
  'grpc',
  'grpc-web',
  'http',
  'http_proxy',
  'http2',
  'https',
  'tls',
  'mongo',
  'redis',
  'mysql',
]

/** The protocol that a name stands for, in any case. */
export function protocolOf(name: string | undefined): Protocol | undefined {
  const lower = (name ?? '').toLowerCase()
  return PROTOCOLS.includes(lower) ? (lower as Protocol) : undefined
}

/** Whether a protocol is one of the HTTP family. */
export function isHttp(protocol: Protocol | undefined): boolean {
  return protocol !== undefined && ['http', 'http2', 'http_proxy', 'grpc', 'grpc-web'].includes(protocol)
}

/** Whether a protocol is TLS of some kind. */
export function isTls(protocol: Protocol | undefined): boolean {
  return protocol === 'https' || protocol === 'tls'
}

/** A protocol that Istio knows; empty means: find out. */
export function checkProtocol(scope: Scope, name: string | undefined): void {
  if (name !== undefined && name !== '' && protocolOf(name) === undefined) {
    scope.error(`"${name}" is no protocol: one of ${PROTOCOLS.map((known) => known.toUpperCase()).join(', ')}`)
  }
}

/** `exportTo` (validateExportTo). */
export function checkExportTo(
  scope: Scope,
  exportTo: readonly string[] | undefined,
  of: { namespace: string; serviceEntry?: boolean; selective?: boolean },
): void {
  const seen = new Set<string>()
  exportTo?.forEach((entry, i) => {
    const at = scope.at(i)
    const key = entry === '.' ? of.namespace : entry
    if (seen.has(key)) at.error(key === entry ? `"${entry}" is given twice` : `"." is "${key}", which is given already`)
    else if (entry === '~' && !of.serviceEntry) at.error('"~" (nobody) is for ServiceEntries alone')
    else if (!['*', '.', '~'].includes(entry) && !isLabel(entry))
      at.error(`"${entry}" is neither ".", "*" nor a namespace`)
    seen.add(key)
  })
  if (seen.size > 1 || (exportTo?.length ?? 0) > 1) {
    if (seen.has('*')) scope.error('"*" (everybody) excludes all other entries')
    if (seen.has('~')) scope.error('"~" (nobody) excludes all other entries')
  }
  if (of.selective && seen.size > 0 && !(seen.size === 1 && seen.has(of.namespace))) {
    scope.error('a DestinationRule with a workloadSelector is for its own namespace alone: write "."')
  }
}
