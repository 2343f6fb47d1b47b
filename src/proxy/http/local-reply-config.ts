import type { LocalReplyConfig } from '#gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import type { Runtime } from '../../runtime.ts'
import { ConfigError } from '../context.ts'
import { compileLogFilter, type LogFilter } from '../observe/access-log-filter.ts'
import { readDataSource } from '../tls/data-source.ts'
import { type BodyFormat, compileBodyFormat, PLAIN_TEXT } from './body-format.ts'
import type { Problems } from './config.ts'
import type { ExchangeInfo } from './exchange-info.ts'
import type { LocalReply } from './local-replies.ts'
import { HeaderMutation } from './router/header-mutation.ts'

/** A local reply as it leaves, and what is still to be done to its head. */
export interface RewrittenReply {
  readonly reply: LocalReply
  readonly contentType: string
  readonly headers: HeaderMutation | undefined
}

interface Mapper {
  readonly filter: LogFilter
  readonly status: number | undefined
  readonly body: Buffer | undefined
  readonly format: BodyFormat | undefined
  readonly headers: HeaderMutation | undefined
}

/** local_reply_config: other statuses, bodies and headers for the proxy's own answers (source/common/local_reply/local_reply.cc). */
export class LocalReplyRewriter {
  private readonly mappers: readonly Mapper[]
  private readonly format: BodyFormat | undefined

  /** Errors go to `problems`. */
  constructor(config: LocalReplyConfig, runtime: Runtime, problems: Problems) {
    const path = 'local_reply_config'
    this.format =
      config.bodyFormat && problems.collect(`${path}.body_format`, () => compileBodyFormat(config.bodyFormat!, runtime))
    const mappers: Mapper[] = []
    config.mappers.forEach((m, i) => {
      const mapper = problems.collect(`${path}.mappers[${i}]`, (): Mapper => {
        if (m.filter === undefined) throw new ConfigError(['filter: is required'])
        const errors: string[] = []
        const body = readDataSource(m.body, 'body', errors)
        if (errors.length > 0) throw new ConfigError(errors)
        return {
          filter: compileLogFilter(m.filter, runtime),
          status: m.statusCode,
          body,
          format: m.bodyFormatOverride && compileBodyFormat(m.bodyFormatOverride, runtime),
          headers: m.headersToAdd.length === 0 ? undefined : new HeaderMutation(m.headersToAdd, [], runtime),
        }
      })
      if (mapper) mappers.push(mapper)
    })
    this.mappers = mappers
  }

  /** The first mapper whose filter matches changes the reply; then its format, or the common one, makes the body. */
  rewrite(reply: LocalReply, info: ExchangeInfo): RewrittenReply {
    let { status } = reply
    let body = reply.body
    let { format } = this
    info.responseCode = status
    const mapper = this.mappers.find((m) => m.filter(info))
    if (mapper !== undefined) {
      body = mapper.body ?? body
      status = mapper.status ?? status
      format = mapper.format ?? format
      info.responseCode = status
    }
    if (format !== undefined) {
      info.localReplyBody = Buffer.from(body as string).toString('latin1')
      body = Buffer.from(format.formatter.format(info), 'latin1')
    }
    return {
      reply: { ...reply, status, body },
      contentType: format?.contentType ?? reply.contentType ?? PLAIN_TEXT,
      headers: mapper?.headers,
    }
  }
}
