import type { BufferSettings, ExtAuthzPerRoute } from '#gen/envoy/extensions/filters/http/ext_authz/v3/ext_authz_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { ConfigError } from '../../context.ts'
import { Problems } from '../../http/config.ts'
import type { FilterSlot } from '../../http/filter-slot.ts'
import { GrpcService } from '../../http/grpc-service.ts'
import { HttpServiceConfig } from './http-service.ts'

/** How much of a body is kept for the authorizer. */
export interface BodyLimit {
  /** Bytes. */
  readonly max: number
  /** A longer body is cut off for the authorizer; false: it is refused. */
  readonly partial: boolean
}

/** From the message; undefined where it is absent. */
export function bodyLimit(config: BufferSettings | undefined): BodyLimit | undefined {
  return config && { max: config.maxRequestBytes, partial: config.allowPartialMessage }
}

/** What a route, a virtual host or a weighted cluster wants of the filter. */
export class RouteSettings {
  readonly disabled: boolean
  readonly contextExtensions: Readonly<Record<string, string>>
  readonly unbuffered: boolean
  readonly body: BodyLimit | undefined
  /** Another authorizer than the filter's. */
  readonly service: GrpcService | HttpServiceConfig | undefined

  /** Throws ConfigError. */
  constructor({ override }: ExtAuthzPerRoute, runtime: Runtime) {
    const settings = override.case === 'checkSettings' ? override.value : undefined
    this.disabled = override.case === 'disabled' && override.value
    this.contextExtensions = settings?.contextExtensions ?? {}
    this.unbuffered = settings?.disableRequestBodyBuffering ?? false
    this.body = bodyLimit(settings?.withRequestBody)
    if (this.unbuffered && this.body !== undefined)
      throw new ConfigError([
        'Invalid configuration for check_settings. Only one of disable_request_body_buffering or with_request_body can be set.',
      ])
    const problems = new Problems()
    const own = settings?.serviceOverride
    this.service = problems.collect('check_settings', () => {
      if (own?.case === 'grpcService') return new GrpcService(own.value, runtime)
      return own?.case === 'httpService' ? new HttpServiceConfig(own.value, runtime) : undefined
    })
    problems.throwIfAny()
  }
}

/** The context extensions of all levels; the more specific level's count. */
export function mergedExtensions(slot: FilterSlot): Readonly<Record<string, string>> {
  const levels = slot.perRouteAll() as RouteSettings[]
  if (levels.length < 2) return levels[0]?.contextExtensions ?? {}
  return Object.assign({}, ...levels.toReversed().map((level) => level.contextExtensions))
}
