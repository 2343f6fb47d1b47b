import type { FilterSlot } from '../../http/filter-slot.ts'
import { headerName, type RequestHead } from '../../http/headers.ts'
import { isHeaderName, isHeaderValue, type MutationCheck, type MutationKind } from '../../http/mutation-rules.ts'
import { requestSingles } from '../../http1/joined.ts'
import { rawQuery, withQuery } from '../header-mutation-query.ts'
import type { ExtAuthzSettings } from './settings.ts'
import type { HeaderPair, Verdict } from './verdict.ts'

/** Changes a request as its permission wants it; false: the permission asks for something that may not be. */
export function changeRequest(verdict: Verdict, settings: ExtAuthzSettings, slot: FilterSlot): boolean {
  const head = slot.request
  const change = (list: readonly HeaderPair[], kind: MutationKind, apply: Apply): boolean => {
    for (const [name, value] of list) {
      const check = checked(kind, name, value, settings)
      if (check === 'fail') return false
      if (check === 'ok') apply(head, name.toLowerCase(), value)
    }
    return true
  }
  if (!change(verdict.headersToSet, 'set', set)) return false
  if (!change(verdict.headersToAdd, 'set', addRequestHeader)) return false
  if (!change(verdict.headersToAppend, 'append', append)) return false
  return remove(verdict.headersToRemove, settings, head) && changeQuery(verdict, settings, head)
}

/**
 * What of a changed request cannot be sent, in the words of Envoy's router, which looks at the whole head
 * (source/common/http/header_utility.cc checkValidRequestHeaders); undefined: it all can.
 */
export function unsendablePart(verdict: Verdict, settings: ExtAuthzSettings, head: RequestHead): string | undefined {
  for (const list of [verdict.headersToSet, verdict.headersToAdd, verdict.headersToAppend]) {
    for (const [given, value] of list) {
      const name = given.toLowerCase()
      if (!isHeaderName(name)) return `invalid header name: ${name}`
      // Rules have left out such values, and what was to join a header that is not there is nowhere.
      if (isHeaderValue(value) || settings.rules !== undefined || name.startsWith(':')) continue
      if (name !== 'host' && head.has(headerName(name))) return `invalid header value for: ${name}`
    }
  }
  for (const name of PSEUDO) if (!isHeaderValue(pseudo(head, name) ?? '')) return `invalid header value for: ${name}`
  return undefined
}

const PSEUDO = [':authority', ':path', ':method', ':scheme']

type Apply = (head: RequestHead, name: string, value: string) => void

function checked(kind: MutationKind, name: string, value: string, settings: ExtAuthzSettings): MutationCheck {
  if (settings.validates && !(isHeaderName(name) && isHeaderValue(value))) return 'fail'
  return settings.rules?.check(kind, name.toLowerCase(), value) ?? 'ok'
}

function remove(names: readonly string[], { validates, rules }: ExtAuthzSettings, head: RequestHead): boolean {
  for (const given of names) {
    if (validates && !isHeaderName(given)) continue // there is no such header
    const name = given.toLowerCase()
    if (rules === undefined && (name === '' || name.startsWith(':') || name === 'host')) continue
    const check = rules?.check('remove', name, '') ?? 'ok'
    if (check === 'fail') return false
    if (check === 'ok') head.remove(headerName(name))
  }
  return true
}

function set(head: RequestHead, name: string, value: string): void {
  if (!setPseudo(head, name, value)) head.set(headerName(name), value)
}

/** Another line; of a header that a request has once, another value in its line. */
export function addRequestHeader(head: RequestHead, name: string, value: string): void {
  if (name.startsWith(':') || name === 'host') set(head, name, `${pseudo(head, name) ?? ''},${value}`)
  else if (requestSingles.has(headerName(name).hash)) append(head, name, value) || head.add(headerName(name), value)
  else head.add(headerName(name), value)
}

/** Joins the first line of that name, if there is one; further lines stay as they are. */
function append(head: RequestHead, name: string, value: string): boolean {
  const before = firstValue(head, name)
  if (before === undefined) return false
  const others = name.startsWith(':') || name === 'host' ? [] : head.values(headerName(name)).slice(1)
  set(head, name, before === '' ? value : `${before},${value}`)
  for (const other of others) head.add(headerName(name), other)
  return true
}

function firstValue(head: RequestHead, name: string): string | undefined {
  return name.startsWith(':') || name === 'host' ? pseudo(head, name) : head.get(headerName(name))
}

function pseudo(head: RequestHead, name: string): string | undefined {
  switch (name) {
    case ':method':
      return head.method
    case ':path':
      return head.path
    case ':scheme':
      return head.scheme
    case ':authority':
    case 'host':
      return head.authority
    default:
      return undefined
  }
}

function setPseudo(head: RequestHead, name: string, value: string): boolean {
  if (name === ':method') head.method = value
  else if (name === ':path') head.path = value
  else if (name === ':scheme') head.scheme = value
  else if (name === ':authority' || name === 'host') {
    head.authority = value
    head.hasAuthority = true
  } else return name.startsWith(':')
  return true
}

/** Query parameters; a name or a value that is not URL-encoded is refused where changes are looked at. */
function changeQuery(
  { queryToSet, queryToRemove }: Verdict,
  { validates }: ExtAuthzSettings,
  head: RequestHead,
): boolean {
  if (queryToSet.length === 0 && queryToRemove.length === 0) return true
  const query = rawQuery(head.path)
  for (const [name, value] of queryToSet) {
    if (validates && !(isUrlEncoded(name) && isUrlEncoded(value))) return false
    query.set(name, [value])
  }
  for (const name of queryToRemove) query.delete(name)
  head.path = withQuery(head.path, query)
  return true
}

/** source/common/http/utility.cc PercentEncoding::queryParameterIsUrlEncoded */
function isUrlEncoded(text: string): boolean {
  return /^[A-Za-z0-9\-._~!$'()*,;:@/?%+]*$/.test(text)
}
