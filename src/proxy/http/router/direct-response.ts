import type { DirectResponseAction } from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { ConfigError } from '../../context.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { readDataSource } from '../../tls/data-source.ts'
import { type BodyFormat, compileBodyFormat } from '../body-format.ts'
import type { RequestHead } from '../headers.ts'

/** A fixed answer. 201 and 3xx carry the request's own URI as `location`. */
export class DirectResponse {
  readonly status: number
  private readonly body: Buffer
  private readonly format: BodyFormat | undefined

  /** `limit`: max_direct_response_body_size_bytes. */
  constructor(config: DirectResponseAction, limit: number, runtime: Runtime) {
    if (config.status < 200 || config.status > 599) {
      throw new ConfigError([`status: ${config.status} is not within 200 and 599`])
    }
    this.status = config.status
    const errors: string[] = []
    this.body = readDataSource(config.body, 'body', errors) ?? Buffer.alloc(0)
    if (errors.length > 0) throw new ConfigError(errors)
    this.format = config.bodyFormat && compileBodyFormat(config.bodyFormat, runtime)
    if (this.body.length > limit) throw new ConfigError([`body: ${this.body.length} bytes, more than ${limit} allowed`])
  }

  /** What the body is, undefined for plain text. */
  get contentType(): string | undefined {
    return this.format?.contentType
  }

  /** The body for a request. */
  bodyFor(info: StreamInfo): string | Uint8Array {
    if (this.format === undefined) return this.body
    info.localReplyBody = this.body.toString('latin1')
    return Buffer.from(this.format.formatter.format(info), 'latin1')
  }

  location(head: RequestHead): string | undefined {
    if (this.status !== 201 && (this.status < 300 || this.status > 399)) return undefined
    return `${head.scheme}://${head.authority}${head.path}`
  }

  toString(): string {
    return `answer ${this.status}`
  }
}
