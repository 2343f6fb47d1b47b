import type { Config } from '#gen/envoy/extensions/filters/http/set_filter_state/v3/set_filter_state_pb.js'
import type { FilterSlot } from '../http/filter-slot.ts'
import type { RequestHead } from '../http/headers.ts'
import { FilterStateValues } from '../set-filter-state.ts'
import { HeadersStatus, type HttpFilter, type HttpFilterKind } from './filter.ts'

/** Keeps nothing of an exchange: one for all of them. */
class SetFilterStateFilter implements HttpFilter {
  private readonly values: FilterStateValues

  constructor(values: FilterStateValues) {
    this.values = values
  }

  decodeHeaders(_head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    this.values.apply(slot.info)
    // The least specific level first, so that the most specific has the last word.
    const levels = slot.perRouteAll() as FilterStateValues[]
    for (let i = levels.length - 1; i >= 0; i--) levels[i]!.apply(slot.info)
    return HeadersStatus.CONTINUE
  }
}

const TYPE = 'envoy.extensions.filters.http.set_filter_state.v3.Config'

/**
 * `envoy.filters.http.set_filter_state`: keeps values of a request as objects that other filters, matchers and logs
 * read (source/extensions/filters/http/set_filter_state/config.cc).
 */
export const setFilterStateFilter: HttpFilterKind = {
  type: TYPE,
  name: 'envoy.filters.http.set_filter_state',
  build(message, { proxy }) {
    const values = new FilterStateValues((message as Config).onRequestHeaders, 'on_request_headers', proxy.runtime)
    const filter = new SetFilterStateFilter(values)
    return { create: () => filter }
  },
  perRouteType: TYPE,
  buildPerRoute: (message, runtime) =>
    new FilterStateValues((message as Config).onRequestHeaders, 'on_request_headers', runtime),
}
