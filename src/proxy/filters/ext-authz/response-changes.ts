import { headerName, type ResponseHead } from '../../http/headers.ts'
import { isHeaderName, isHeaderValue } from '../../http/mutation-rules.ts'
import { responseSingles } from '../../http1/joined.ts'
import type { HeaderPair, Verdict } from './verdict.ts'

/** Whether all that a permission adds to the response can be headers. */
export function fitsResponse(verdict: Verdict): boolean {
  const { responseToAdd, responseToSet, responseToAddIfAbsent, responseToOverwriteIfPresent } = verdict
  return [responseToAdd, responseToSet, responseToAddIfAbsent, responseToOverwriteIfPresent].every(areHeaders)
}

/** Whether these can be headers. */
export function areHeaders(pairs: readonly HeaderPair[]): boolean {
  return pairs.every(([name, value]) => isHeaderName(name) && isHeaderValue(value))
}

/** Changes the upstream's response as the permission wanted it. `room`: headers that it may have; false: there are more. */
export function changeResponse(verdict: Verdict, head: ResponseHead, room: number): boolean {
  for (const [name, value] of verdict.responseToAdd) {
    if (headerCount(head) > room) return false
    addResponseHeader(head, name, value)
  }
  for (const [name, value] of verdict.responseToSet) {
    if (headerCount(head) > room && !has(head, name)) return false
    setHeader(head, name, value)
  }
  for (const [name, value] of verdict.responseToAddIfAbsent) {
    if (has(head, name)) continue
    if (headerCount(head) > room) return false
    addResponseHeader(head, name, value)
  }
  for (const [name, value] of verdict.responseToOverwriteIfPresent) if (has(head, name)) setHeader(head, name, value)
  return true
}

/** Gives an answer of the filter's own the headers of the authorizer's. */
export function describeAnswer(verdict: Verdict, head: ResponseHead): void {
  for (const [name] of verdict.headersToSet)
    if (isHeaderName(name) && !name.startsWith(':')) head.remove(headerName(name))
  for (const [name, value] of verdict.headersToSet) addResponseHeader(head, name, value)
}

/** The status counts as one. */
const headerCount = (head: ResponseHead): number => head.count + 1

function has(head: ResponseHead, name: string): boolean {
  return name.toLowerCase() === ':status' || head.has(headerName(name))
}

function setHeader(head: ResponseHead, name: string, value: string): void {
  if (!isHeaderName(name)) return
  if (name.startsWith(':')) setStatus(head, name, value)
  else head.set(headerName(name), value)
}

/**
 * Another line; of a header that a response has once, another value in its line. What can be no name is left out, even
 * where Envoy does not look at it: the line might be more than one.
 */
export function addResponseHeader(head: ResponseHead, name: string, value: string): void {
  if (!isHeaderName(name)) return
  if (name.startsWith(':')) {
    setStatus(head, name, value)
    return
  }
  const key = headerName(name)
  const before = responseSingles.has(key.hash) ? head.get(key) : undefined
  if (before === undefined) head.add(key, value)
  else head.set(key, `${before},${value}`)
}

function setStatus(head: ResponseHead, name: string, value: string): void {
  const status = Number(value)
  if (name.toLowerCase() === ':status' && status >= 200 && status <= 999) head.status = status
}
