import type { HeaderOperations, Headers } from '../../api/kinds/virtual-service.ts'
import type { Init } from '../../xds/messages.ts'

type HeaderOption = Init<'envoy.config.core.v3.HeaderValueOption'>

const APPEND = 0
const OVERWRITE = 2

/** Header operations as routes and weighted clusters take them. */
export interface HeaderChanges {
  requestHeadersToAdd: HeaderOption[]
  requestHeadersToRemove: string[]
  responseHeadersToAdd: HeaderOption[]
  responseHeadersToRemove: string[]
}

/** Translates header operations; a request's authority is a matter of its own (TranslateHeadersOperations). */
export function headerChanges(headers: Headers | undefined): { changes: HeaderChanges; authority: string } {
  const request = headers?.request
  const response = headers?.response
  const authority = authorityIn(request?.set) || authorityIn(request?.add)
  return {
    changes: {
      requestHeadersToAdd: additions(request),
      requestHeadersToRemove: (request?.remove ?? []).filter((name) => !isInternal(name)),
      responseHeadersToAdd: additions(response),
      responseHeadersToRemove: (response?.remove ?? []).filter((name) => !isInternal(name)),
    },
    authority,
  }
}

/** One list of operations after another. */
export function joinChanges(first: HeaderChanges, second: HeaderChanges): HeaderChanges {
  return {
    requestHeadersToAdd: [...first.requestHeadersToAdd, ...second.requestHeadersToAdd],
    requestHeadersToRemove: [...first.requestHeadersToRemove, ...second.requestHeadersToRemove],
    responseHeadersToAdd: [...first.responseHeadersToAdd, ...second.responseHeadersToAdd],
    responseHeadersToRemove: [...first.responseHeadersToRemove, ...second.responseHeadersToRemove],
  }
}

function additions(operations: HeaderOperations | undefined): HeaderOption[] {
  return [...options(operations?.set, OVERWRITE), ...options(operations?.add, APPEND)]
}

function options(
  values: Record<string, string> | undefined,
  appendAction: typeof APPEND | typeof OVERWRITE,
): HeaderOption[] {
  return Object.keys(values ?? {})
    .filter((key) => !isInternal(key))
    .sort()
    .map((key) => ({ header: { key, value: values?.[key] }, appendAction }))
}

function authorityIn(values: Record<string, string> | undefined): string {
  return Object.entries(values ?? {}).findLast(([key]) => /^(?::authority|host)$/i.test(key))?.[1] ?? ''
}

/** Pseudo-headers and Host cannot be set as headers. */
const isInternal = (name: string): boolean => name.startsWith(':') || name.toLowerCase() === 'host'
