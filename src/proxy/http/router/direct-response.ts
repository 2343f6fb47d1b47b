import fs from 'node:fs'
import type { DataSource } from '#gen/envoy/config/core/v3/base_pb.js'
import type { DirectResponseAction } from '#gen/envoy/config/route/v3/route_components_pb.js'
import { ConfigError } from '../../context.ts'
import type { RequestHead } from '../headers.ts'

/** Reads a DataSource now. Throws ConfigError when it cannot be read. */
export function readDataSource(source: DataSource | undefined): Buffer {
  const spec = source?.specifier
  switch (spec?.case) {
    case 'inlineString':
      return Buffer.from(spec.value)
    case 'inlineBytes':
      return Buffer.from(spec.value)
    case 'environmentVariable': {
      const value = process.env[spec.value]
      if (value === undefined) throw new ConfigError([`environment_variable: ${spec.value} is not set`])
      return Buffer.from(value)
    }
    case 'filename':
      try {
        return fs.readFileSync(spec.value)
      } catch (e) {
        throw new ConfigError([`filename: ${e instanceof Error ? e.message : String(e)}`])
      }
    default:
      return Buffer.alloc(0)
  }
}

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
    this.body = readDataSource(config.body)
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
