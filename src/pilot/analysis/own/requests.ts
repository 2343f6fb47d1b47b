import type { Analyzer } from '../analyzer.ts'
import type { AnalysisContext } from '../context.ts'
import {
  DENY_HEADER_GAPS,
  DENY_HOST_GAPS,
  DENY_METHOD_GAPS,
  HEADER_IS_FORGEABLE,
  HEADER_IS_LOOSE,
  METHOD_NEVER_MATCHES,
} from './catalogue.ts'
import { actionOf, isOpenEnded, type Policy, type Values, valuesOf } from './rules.ts'

/** Hosts, headers and methods of policies: what the client writes, and what another spelling of it gets past. */
export const requests: Analyzer = {
  name: 'dinghy.RequestAnalyzer',
  description: 'Finds refusals by host, header or method that a client gets past, and rules that believe a header',
  types: [
    DENY_HOST_GAPS,
    DENY_HEADER_GAPS,
    HEADER_IS_FORGEABLE,
    HEADER_IS_LOOSE,
    DENY_METHOD_GAPS,
    METHOD_NEVER_MATCHES,
  ],
  analyze(context) {
    for (const policy of context.push.snapshot.list('AuthorizationPolicy')) {
      for (const list of valuesOf(policy)) {
        const { field } = list
        if (field === 'hosts' || field === 'notHosts') hosts(context, policy, list)
        else if (field === 'methods' || field === 'notMethods') methods(context, policy, list)
        else if (/^request\.headers\[[^:]/.test(field)) headers(context, policy, list)
      }
    }
  },
}

/** Methods that some frameworks take from a header of a POST. */
const OVERRIDABLE = ['DELETE', 'PUT', 'PATCH']

function hosts(context: AnalysisContext, policy: Policy, { values, not, path }: Values): void {
  if (!isOpenEnded(policy, { not })) return
  const told = new Set<string>()
  for (const [i, host] of values.entries()) {
    const { name, port } = exampleOf(host)
    const meant = name.replace(/\.$/, '')
    if (host === '*' || told.has(meant)) continue
    told.add(meant)
    // What a client may write into one Host line; two lines are joined by a comma.
    const forms = [port === '' ? `${name}:8080` : name, `${name}.${port}`, `u@${name}${port}`, `x,${name}${port}`]
      .filter((form) => !values.some((known) => takes(known, form)))
      .map((form) => (form.includes(',') ? `${form} (two Host lines)` : form))
    if (forms.length > 0) context.report(DENY_HOST_GAPS, policy, [...path, i], host, forms)
  }
}

/** A host that a pattern is meant for, and its port with the colon. */
function exampleOf(pattern: string): { name: string; port: string } {
  const filled = pattern.replace(/:\*$/, ':80').replace(/^\*/, 'x').replace(/\*$/, '')
  const port = /:\d*$/.exec(filled)?.[0] ?? ''
  return { name: filled.slice(0, filled.length - port.length), port: port === ':' ? '' : port }
}

function takes(pattern: string, text: string): boolean {
  const [a, b] = [pattern.toLowerCase(), text.toLowerCase()]
  if (a.startsWith('*')) return b.endsWith(a.slice(1))
  return a.endsWith('*') ? b.startsWith(a.slice(0, -1)) : a === b
}

function methods(context: AnalysisContext, policy: Policy, { values, not, path }: Values): void {
  for (const [i, method] of values.entries())
    if (method !== method.toUpperCase()) context.report(METHOD_NEVER_MATCHES, policy, [...path, i], method)
  if (!isOpenEnded(policy, { not })) return
  const get = values.indexOf('GET')
  if (get >= 0 && !values.includes('HEAD'))
    context.report(DENY_METHOD_GAPS, policy, [...path, get], 'GET', 'HEAD', 'Name both.')
  const other = values.findIndex((method) => OVERRIDABLE.includes(method))
  if (other >= 0 && !values.includes('POST')) {
    const method = values[other] ?? ''
    const remedy = 'Where it may: refuse requests with that header, or have the application ignore it.'
    context.report(
      DENY_METHOD_GAPS,
      policy,
      [...path, other],
      method,
      `POST with X-HTTP-Method-Override: ${method}`,
      remedy,
    )
  }
}

function headers(context: AnalysisContext, policy: Policy, list: Values): void {
  const { field, values, path, rule } = list
  const name = field.slice('request.headers['.length, -1)
  if (isOpenEnded(policy, list)) {
    if (values.includes('*')) return
    const first = values[0] ?? ''
    const other = first === first.toUpperCase() ? first.toLowerCase() : first.toUpperCase()
    const alias = name.includes('-') ? `, as ${name.replaceAll('-', '_')} where the application takes "_" for "-"` : ''
    context.report(DENY_HEADER_GAPS, policy, path, name, `as "${other}", as "${first},x"${alias}, or not at all`)
    return
  }
  const isPositive = actionOf(policy) === 'ALLOW' || actionOf(policy) === 'DENY'
  if (!isPositive) return
  const known = rule.from?.some(({ source }) => Object.values(source ?? {}).some((part) => (part?.length ?? 0) > 0))
  const conditions = rule.when?.some(({ key }) => /^(?:source|remote)\.|^request\.auth\./.test(key))
  const any = values.includes('*')
  if (actionOf(policy) === 'ALLOW' && !known && !conditions) {
    const passing = any ? 'with nothing in it as well' : 'with other values in further lines as well'
    context.report(HEADER_IS_FORGEABLE, policy, path, name, passing)
  } else if (any)
    context.report(HEADER_IS_LOOSE, policy, path, name, 'that is empty', 'Name the values instead of "*".')
  else
    context.report(
      HEADER_IS_LOOSE,
      policy,
      path,
      name,
      `"${values[0]}" in one line and another value in the next: one that fits is enough, and an application may go by the other`,
      'Have a gateway before it set the header (headers.request.set of a VirtualService replaces all lines), or go by principals or claims.',
    )
}
