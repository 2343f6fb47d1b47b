import { authorityChar, targetChar } from './chars.ts'

/** What an absolute-form or authority-form request target says. */
export interface AbsoluteTarget {
  /** Lower case; empty for CONNECT. */
  readonly scheme: string
  /** Host and port, without userinfo. */
  readonly authority: string
  /** Empty for CONNECT. */
  readonly path: string
}

/**
 * Whether a target that is no path is at least well formed (isUrlValid in
 * source/common/http/http1/balsa_parser.cc); if not, the request is a syntax error.
 */
export function isTargetValid(target: string, isConnect: boolean): boolean {
  if (target === '') return false
  if (target.startsWith('/') || target.startsWith('*')) return allIn(target, targetChar)
  let rest = target
  if (!isConnect) {
    const scheme = /^[A-Za-z][A-Za-z0-9+.-]*:\/\//.exec(target)
    if (scheme === null) return false
    rest = target.slice(scheme[0].length)
  }
  const path = rest.search(/[/?]/)
  const authority = path < 0 ? rest : rest.slice(0, path)
  return (
    allIn(authority, authorityChar) && !authority.includes('@@') && (path < 0 || allIn(rest.slice(path), targetChar))
  )
}

/**
 * Takes an absolute URL, or CONNECT's `host:port`, apart (Utility::Url in source/common/http/utility.cc);
 * undefined if it is none.
 */
export function parseAbsolute(target: string, isConnect: boolean): AbsoluteTarget | undefined {
  const match = /^(?:([A-Za-z][A-Za-z0-9+.-]*):\/\/)?([^/?]*)(.*)$/s.exec(target)
  if (match === null) return undefined
  const [, scheme, whole, path] = match
  if ((scheme === undefined) !== isConnect) return undefined
  const authority = whole!.slice(whole!.lastIndexOf('@') + 1)
  const parts = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::(\d{1,5}))?$/.exec(authority)
  if (parts === null) return undefined
  const port = parts[2]
  if (port !== undefined && Number(port) > 65535) return undefined
  if (isConnect) return port === undefined || path !== '' ? undefined : { scheme: '', authority, path: '' }
  return { scheme: scheme!.toLowerCase(), authority, path: path === '' ? '/' : path! }
}

/** Whether every character may stand in an authority. */
export function isAuthorityValid(authority: string): boolean {
  return allIn(authority, authorityChar)
}

function allIn(text: string, table: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if ((table[text.charCodeAt(i)] ?? 0) === 0) return false
  return true
}
