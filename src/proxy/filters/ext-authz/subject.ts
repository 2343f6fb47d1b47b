import type { FilterSlot } from '../../http/filter-slot.ts'
import type { RequestHead } from '../../http/headers.ts'
import type { NameMatchers } from './name-matchers.ts'
import { sanitizedText } from './utf8.ts'
import type { HeaderPair } from './verdict.ts'

const PARTIAL_BODY = 'x-envoy-auth-partial-body'

/** What is asked about: one request, as far as the authorizer gets to know it. */
export interface CheckSubject {
  readonly slot: FilterSlot
  readonly head: RequestHead
  /** Pseudo headers among them; each name once, unless values are raw. */
  readonly headers: readonly HeaderPair[]
  /** Values are bytes of the wire, not text. */
  readonly raw: boolean
  /** As much of it as the authorizer gets; undefined: nothing was kept. */
  readonly body: Buffer | undefined
  readonly contextExtensions: Readonly<Record<string, string>>
}

/** What the authorizer gets to know of a request's headers. */
export interface HeaderChoice {
  /** Undefined: all. */
  readonly allowed: NameMatchers | undefined
  readonly disallowed: NameMatchers | undefined
  readonly raw: boolean
}

/**
 * The headers of a request that the authorizer gets to see (source/extensions/filters/common/ext_authz/
 * check_request_utils.cc setHttpRequest); `partial` tells whether it gets a part of the body only.
 */
export function visibleHeaders(head: RequestHead, choice: HeaderChoice, partial: boolean | undefined): HeaderPair[] {
  const pairs: HeaderPair[] = []
  const at = new Map<string, number>()
  const { allowed, disallowed, raw } = choice
  const see = (name: string, value: string): void => {
    if (name === PARTIAL_BODY || disallowed?.matches(name) || allowed?.matches(name) === false) return
    const shown = raw ? value : sanitizedText(value)
    const known = raw ? undefined : at.get(name)
    if (known !== undefined) pairs[known] = [name, `${pairs[known]![1]},${shown}`]
    else {
      at.set(name, pairs.length)
      pairs.push([name, shown])
    }
  }
  if (head.hasAuthority) see(':authority', head.authority)
  if (head.path !== '') see(':path', head.path)
  see(':method', head.method)
  if (head.scheme !== '') see(':scheme', head.scheme)
  if (head.protocol !== '') see(':protocol', head.protocol)
  head.forEach(see)
  if (partial !== undefined) pairs.push([PARTIAL_BODY, String(partial)])
  return pairs
}
