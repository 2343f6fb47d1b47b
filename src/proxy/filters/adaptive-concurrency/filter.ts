import type { AdaptiveConcurrency } from '#gen/envoy/extensions/filters/http/adaptive_concurrency/v3/adaptive_concurrency_pb.js'
import { ConfigError } from '../../context.ts'
import type { FilterSlot } from '../../http/filter-slot.ts'
import type { RequestHead } from '../../http/headers.ts'
import { featureEnabled } from '../../runtime-values.ts'
import { HeadersStatus, type HttpFilter, type HttpFilterKind } from '../filter.ts'
import { GradientSettings } from './config.ts'
import { GradientController } from './controller.ts'

/**
 * `envoy.filters.http.adaptive_concurrency`, for all exchanges
 * (source/extensions/filters/http/adaptive_concurrency/adaptive_concurrency_filter.cc). What it remembers of one is when
 * it began.
 */
class AdaptiveConcurrencyFilter implements HttpFilter {
  private readonly controller: GradientController
  private readonly enabled: boolean
  private readonly status: number

  constructor(controller: GradientController, enabled: boolean, status: number) {
    this.controller = controller
    this.enabled = enabled
    this.status = status
  }

  decodeHeaders(_head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    if (!this.enabled || slot.info.healthCheck) return HeadersStatus.CONTINUE
    if (this.controller.admit()) {
      slot.memory = slot.runtime.now()
      return HeadersStatus.CONTINUE
    }
    slot.sendLocalReply({
      status: this.status,
      body: 'reached concurrency limit',
      details: 'reached_concurrency_limit',
      flag: undefined,
    })
    return HeadersStatus.STOP
  }

  onDestroy(slot: FilterSlot): void {
    if (slot.memory === undefined) return
    if (slot.exchange.answered) this.controller.answered(slot.memory as number)
    else this.controller.cancelled()
  }
}

/** `envoy.filters.http.adaptive_concurrency`: limits the requests under way by how long they take. */
export const adaptiveConcurrencyFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency',
  name: 'envoy.filters.http.adaptive_concurrency',
  build(message, { proxy, statPrefix }) {
    const { concurrencyControllerConfig: kind, ...config } = message as AdaptiveConcurrency
    if (kind.case !== 'gradientControllerConfig') throw new ConfigError(['concurrency_controller_config: is required'])
    const settings = new GradientSettings(kind.value, proxy.runtimeValues)
    const prefix = `${statPrefix}adaptive_concurrency.gradient_controller.`
    const controller = new GradientController(settings, proxy.runtime, proxy.stats, prefix)
    const code = config.concurrencyLimitExceededStatus?.code ?? 0
    const enabled = featureEnabled(config.enabled, proxy.runtimeValues)
    const filter = new AdaptiveConcurrencyFilter(controller, enabled, code >= 400 ? code : 503)
    return { create: () => filter, close: () => controller.close() }
  },
}
