import { sendAsync } from '../../http/async-client.ts'
import type { GrpcContext } from '../../http/grpc-client.ts'
import { headerName, RequestHead, type ResponseHead } from '../../http/headers.ts'
import { H } from '../../http/names.ts'
import type { Authorizer } from './authorizer.ts'
import type { HttpServiceConfig } from './http-service.ts'
import type { CheckSubject } from './subject.ts'
import { textOf } from './utf8.ts'
import { Verdict, wireText } from './verdict.ts'

const TO_REMOVE = headerName('x-envoy-auth-headers-to-remove')
const NOTHING = { cancel: () => {} }
const EMPTY = Buffer.alloc(0)

/** Asks by a request like the one that is asked about (source/extensions/filters/common/ext_authz/ext_authz_http_impl.cc RawHttpClientImpl). */
export class HttpAuthorizer implements Authorizer {
  private readonly service: HttpServiceConfig
  private readonly context: GrpcContext

  constructor(service: HttpServiceConfig, context: GrpcContext) {
    this.service = service
    this.context = context
  }

  check(subject: CheckSubject, done: (verdict: Verdict) => void): { cancel(): void } {
    const { cluster, timeout, retryPolicy } = this.service
    const body = subject.body ?? EMPTY
    const request = { cluster, head: this.head(subject), body, timeout, sendXff: false, retryPolicy }
    const pending = sendAsync(this.context, request, (head, body) => done(this.verdict(head, body)))
    if (pending !== undefined) return pending
    done(new Verdict('error'))
    return NOTHING
  }

  private head({ slot, headers, raw, body }: CheckSubject): RequestHead {
    const { pathPrefix, pathOverride } = this.service
    const head = RequestHead.create('GET', '', '')
    head.hasAuthority = false
    head.add(H.contentLength, String(body?.length ?? 0))
    for (const [name, shown] of headers) {
      const value = raw ? shown : wireText(shown)
      switch (name) {
        case ':method':
          head.method = value
          break
        case ':path':
          head.path = pathOverride === '' ? pathPrefix + value : pathOverride
          break
        case ':authority':
          head.authority = value
          head.hasAuthority = true
          break
        case ':scheme':
          head.scheme = value
          break
        case ':protocol':
        case 'content-length':
          break
        default:
          head.add(headerName(name), value)
      }
    }
    if (!this.service.headers.empty) this.service.headers.apply(head, slot.info)
    return head
  }

  private verdict(head: ResponseHead, body: Buffer): Verdict {
    if (head.status >= 500 && head.status < 600) return new Verdict('error')
    const ok = head.status === 200
    const verdict = new Verdict(ok ? 'ok' : 'denied')
    if (ok) {
      const lists = head.values(TO_REMOVE)
      verdict.headersToRemove = lists.flatMap((list) => list.split(',').map((name) => name.trim())).filter(Boolean)
    }
    head.remove(TO_REMOVE)
    const { service } = this
    const forClient = ok ? service.toUpstream : service.toClient
    const metadata: Record<string, string> = {}
    const see = (name: string, value: string): void => {
      if (forClient.matches(name)) verdict.headersToSet.push([name, value])
      if (service.toUpstreamAppended.matches(name)) verdict.headersToAdd.push([name, value])
      if (service.toClientOnSuccess.matches(name)) verdict.responseToAdd.push([name, value])
      if (service.toMetadata.matches(name)) metadata[name] = textOf(value)
    }
    see(':status', String(head.status))
    head.forEach(see)
    if (Object.keys(metadata).length > 0) verdict.metadata = metadata
    if (!ok) {
      verdict.status = head.status
      verdict.body = body
    }
    return verdict
  }
}
