import type { ListenerContext } from '../context.ts'
import type { RequestHead, ResponseHead } from './headers.ts'
import { H } from './names.ts'
import type { Route } from './router/route.ts'

/**
 * `x-envoy-decorator-operation` of a request (HCM setRequestDecorator): an outbound listener tells the next hop the
 * route's operation; any other takes it away, and returns what its response has to say ('' for nothing).
 */
export function decorateRequest(
  head: RequestHead,
  route: Route | undefined,
  direction: ListenerContext['direction'],
): string {
  const own = route?.decorator
  if (direction === 'outbound') {
    if (own?.propagate === true && own.operation !== '') head.set(H.decoratorOperation, own.operation)
    return ''
  }
  if (head.remove(H.decoratorOperation)) return ''
  return own?.propagate === true ? own.operation : ''
}

/** The same for the response (HCM setResponseDecorator). */
export function decorateResponse(head: ResponseHead, operation: string, direction: ListenerContext['direction']): void {
  if (direction === 'outbound') head.remove(H.decoratorOperation)
  else if (operation !== '') head.set(H.decoratorOperation, operation)
}
