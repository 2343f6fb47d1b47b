import type { RequestHead } from './headers.ts'
import { portAt } from './router/redirect.ts'

/**
 * Changes the authority as the connection manager is told: trailing dot first, then the port: any, or only the
 * listener's own (HCU maybeNormalizeHost).
 */
export function normalizeHost(
  head: RequestHead,
  stripDot: boolean,
  stripPort: 'no' | 'matching' | 'any',
  listenerPort: number,
): void {
  if (stripDot) {
    const { authority } = head
    const at = portAt(authority)
    const end = at < 0 ? authority.length : at
    if (end > 0 && authority.charCodeAt(end - 1) === 0x2e) {
      head.authority = authority.slice(0, end - 1) + authority.slice(end)
    }
  }
  if (stripPort === 'no') return
  const { authority } = head
  const at = stripPort === 'any' ? authority.lastIndexOf(':') : portAt(authority)
  if (at < 0 || !isPort(authority.slice(at + 1))) return
  if (authority.charCodeAt(0) === 0x5b && authority.charCodeAt(at - 1) !== 0x5d) return
  if (stripPort === 'any' ? head.method !== 'CONNECT' : authority.slice(at + 1) === String(listenerPort)) {
    head.authority = authority.slice(0, at)
  }
}

function isPort(text: string): boolean {
  return /^\d+$/.test(text) && Number(text) <= 0xffffffff
}
