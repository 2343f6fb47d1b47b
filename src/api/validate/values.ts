import { RE2JS } from 're2js'
import { parseDuration } from '../duration.ts'
import type { PolicyTargetReference } from '../kinds/selector.ts'
import { isLabel } from './names.ts'
import type { Scope } from './scope.ts'
import { each } from './scope.ts'

/** Values that occur in many kinds, by the rules of pkg/config/validation/validation.go. */

/** A duration of at least 1 ms, in whole milliseconds; with `zero` 0 is fine as well. */
export function checkDuration(scope: Scope, text: string | undefined, { zero = false } = {}): void {
  if (text === undefined) return
  const ms = parseDuration(text)
  if (zero && Math.trunc(ms) === 0) return
  if (ms < 1) scope.error(`must be at least 1ms, is ${text}`)
  else if (!Number.isInteger(ms)) scope.error(`only whole milliseconds are supported, not ${text}`)
}

/** An integer percentage. */
export function checkPercent(scope: Scope, value: number | undefined): void {
  if (value !== undefined && (value < 0 || value > 100))
    scope.error(`a percentage is a number from 0 to 100, not ${value}`)
}

/** The status of an answer that is made here. */
export function checkStatus(scope: Scope, status: number): void {
  if (status < 200 || status > 600) scope.error(`a status is a number from 200 to 599, not ${status}`)
}

/** An integer that must not be negative. */
export function checkNotNegative(scope: Scope, value: number | undefined): void {
  if (value !== undefined && value < 0) scope.error(`must not be negative, is ${value}`)
}

/** A regular expression, in RE2's syntax and of at most 1024 characters. */
export function checkRegex(scope: Scope, regex: string): void {
  if (regex === '') scope.error('must not be empty')
  else if (Buffer.byteLength(regex) > 1024) scope.error('a regular expression has at most 1024 bytes')
  else {
    try {
      RE2JS.compile(regex)
    } catch (error) {
      const reason = (error as Error).message.replace(/^error parsing regexp: /, '')
      scope.error(`no regular expression in RE2's syntax: ${reason}`)
    }
  }
}

const TOKEN = /^[-!#$%&'*+.^_`|~0-9A-Za-z]+$/
const PSEUDO = [':method', ':scheme', ':authority', ':path', ':status']

/** The part of a claim after `@request.auth.claims`, if a header name is of that form (pkg/jwt). */
export function isClaimName(name: string): boolean {
  return /^@request\.auth\.claims(?:\..+|\[.+\])$/i.test(name)
}

/** The name of a header to match on. */
export function checkMatchedHeader(scope: Scope, name: string): void {
  if (name === '') scope.errorAtKey('a header name must not be empty')
  else if (!isClaimName(name) && !PSEUDO.includes(name) && !TOKEN.test(name))
    scope.errorAtKey(`"${name}" is no header name`)
}

/** The name of a header in a CORS policy; `*` stands for all. */
export function checkCorsHeader(scope: Scope, name: string): void {
  if (name !== '*' && !TOKEN.test(name)) scope.error(`"${name}" is no header name`)
}

/** Whether a name means the authority. */
export function isAuthority(name: string): boolean {
  return /^(?::authority|host)$/i.test(name)
}

const CIPHERS =
  'ECDHE-ECDSA-AES128-GCM-SHA256 ECDHE-RSA-AES128-GCM-SHA256 ECDHE-ECDSA-AES256-GCM-SHA384 ECDHE-RSA-AES256-GCM-SHA384 ECDHE-ECDSA-CHACHA20-POLY1305 ECDHE-RSA-CHACHA20-POLY1305 ECDHE-ECDSA-AES128-SHA ECDHE-RSA-AES128-SHA ECDHE-ECDSA-AES256-SHA ECDHE-RSA-AES256-SHA AES128-GCM-SHA256 AES256-GCM-SHA384 AES128-SHA AES256-SHA DES-CBC3-SHA'.split(
    ' ',
  )

/** Cipher suites (pkg/config/security): unknown and repeated ones are ignored, which is worth a warning. */
export function checkCiphers(scope: Scope, suites: readonly string[] | undefined): void {
  const seen = new Set<string>()
  each(scope, suites, (at, suite) => {
    if (/^[a-zA-Z0-9]/.test(suite) && suite !== 'ALL' && !CIPHERS.includes(suite))
      at.warn(`"${suite}" is no known cipher suite, and is ignored`)
    else if (seen.has(suite)) at.warn(`"${suite}" is given twice`)
    seen.add(suite)
  })
}

/** What a policy may be attached to. */
const TARGETS = [
  'core/Service',
  'networking.istio.io/ServiceEntry',
  'gateway.networking.k8s.io/Gateway',
  'gateway.networking.k8s.io/GatewayClass',
]

/** Selector, targetRef and targetRefs of a policy: one of them at most, and each well-formed. */
export function checkTargets(
  scope: Scope,
  spec: {
    selector?: { matchLabels?: Record<string, string> | undefined } | undefined
    targetRef?: PolicyTargetReference | undefined
    targetRefs?: PolicyTargetReference[] | undefined
  },
): void {
  const given = [spec.selector, spec.targetRef, spec.targetRefs?.length ? spec.targetRefs : undefined]
  if (given.filter((one) => one !== undefined).length > 1)
    scope.error('only one of selector, targetRef and targetRefs may be set')
  if (spec.targetRef) checkTarget(scope.at('targetRef'), spec.targetRef)
  each(scope.at('targetRefs'), spec.targetRefs, checkTarget)
}

function checkTarget(scope: Scope, target: PolicyTargetReference): void {
  if (target.name === '') scope.at('name').error('must not be empty')
  if (target.namespace) scope.at('namespace').error('a policy is for targets of its own namespace: leave this out')
  const said = `${target.group || 'core'}/${target.kind}`
  if (!TARGETS.includes(said)) scope.at('kind').error(`a target is one of ${TARGETS.join(', ')}, not ${said}`)
}

/** Names of gateways: `namespace/name`, `name`, or (old) a DNS name. */
export function checkGatewayNames(scope: Scope, names: readonly string[] | undefined): void {
  each(scope, names, (at, name) => {
    const slash = name.indexOf('/')
    if (slash < 0) {
      if (!name.split('.').every(isLabel)) at.error(`"${name}" is no name of a gateway`)
      else if (name.includes('.')) {
        const [gateway, namespace] = name.split('.')
        at.warn(`old way to name a gateway: write "${namespace}/${gateway}"`)
      }
      return
    }
    const [namespace, gateway] = [name.slice(0, slash), name.slice(slash + 1)]
    if (namespace === '.') at.loose('"." is no namespace to Istio here: taken as the own namespace; write its name')
    else if (!isLabel(namespace)) at.error(`"${namespace}" is no namespace`)
    if (!isLabel(gateway)) at.error(`"${gateway}" is no name of a gateway`)
  })
}
