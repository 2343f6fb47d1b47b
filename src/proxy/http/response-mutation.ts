import type { HcmConfig } from './hcm-config.ts'
import type { RequestHead, ResponseHead } from './headers.ts'
import { H } from './names.ts'

/** What a connection manager does to response headers on their way out (HCM encodeHeaders, HCU mutateResponseHeaders). */
export function mutateResponse(
  head: ResponseHead,
  request: RequestHead | undefined,
  config: HcmConfig,
  upgraded: boolean,
  forceRequestId: boolean,
): void {
  if (!head.has(H.date)) head.add(H.date, config.date.value)
  switch (config.serverHeader) {
    case 'overwrite':
      head.set(H.server, config.serverName)
      break
    case 'append-if-absent':
      if (!head.has(H.server)) head.add(H.server, config.serverName)
      break
    default:
  }
  if (!upgraded) {
    head.remove(H.connection)
    head.remove(H.upgrade)
  } else if (head.status >= 200 && !head.has(H.contentLength) && !head.has(H.transferEncoding)) {
    head.set(H.contentLength, '0')
  }
  head.remove(H.transferEncoding)
  head.remove(H.keepAlive)
  head.remove(H.proxyConnection)
  if (request !== undefined && (forceRequestId || config.alwaysSetRequestId)) {
    const id = request.get(H.requestId)
    if (id !== undefined) head.set(H.requestId, id)
  }
  if (config.via !== '') {
    const via = head.get(H.via)
    head.set(H.via, via === undefined || via === '' ? config.via : `${via}, ${config.via}`)
  }
}
