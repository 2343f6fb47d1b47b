import type { ResponseHead } from '../headers.ts'
import { H } from '../names.ts'

/**
 * What the router adds to an answer of its own (source/common/router/router.cc modify_headers_): that a limit was
 * reached, and, where the virtual host wants it told, how often it tried, if it did. Undefined: nothing.
 */
export function replyHeaders(
  forward: { readonly attemptCountInResponse: boolean } | undefined,
  attempts: number,
  overloaded: boolean,
): ((head: ResponseHead) => void) | undefined {
  const tellAttempts = attempts > 0 && forward?.attemptCountInResponse === true
  if (!tellAttempts && !overloaded) return undefined
  return (head) => {
    if (overloaded) head.set(H.overloaded, 'true')
    if (tellAttempts) head.set(H.attemptCount, String(attempts))
  }
}
