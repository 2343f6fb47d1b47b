import type { DirectResponseAction } from '#gen/envoy/config/route/v3/route_components_pb.js'
import { ConfigError } from '../../context.ts'
import { readDataSource } from '../../tls/data-source.ts'
import type { RequestHead } from '../headers.ts'

/** A fixed answer. 201 and 3xx carry the request's own URI as `location`. */
export class DirectResponse {
  readonly status: number
  readonly body: Buffer

  /** `limit`: max_direct_response_body_size_bytes. */
  constructor(config: DirectResponseAction, limit: number) {
    if (config.status < 200 || config.status > 599) {
      throw new ConfigError([`status: ${config.status} is not within 200 and 599`])
    }
    this.status = config.status
    const errors: string[] = []
    this.body = readDataSource(config.body, 'body', errors) ?? Buffer.alloc(0)
    if (errors.length > 0) throw new ConfigError(errors)
    if (this.body.length > limit) throw new ConfigError([`body: ${this.body.length} bytes, more than ${limit} allowed`])
  }

  location(head: RequestHead): string | undefined {
    if (this.status !== 201 && (this.status < 300 || this.status > 399)) return undefined
    return `${head.scheme}://${head.authority}${head.path}`
  }

  toString(): string {
    return `answer ${this.status}`
  }
}
