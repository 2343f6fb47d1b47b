import type { Message } from '@bufbuild/protobuf'
import type { Config } from '#gen/envoy/extensions/filters/network/set_filter_state/v3/set_filter_state_pb.js'
import type { ListenerContext, ProxyContext } from '../../context.ts'
import { FilterStateValues } from '../../set-filter-state.ts'
import type { ReadFilterMaker } from '../read-filters.ts'

/**
 * `envoy.filters.network.set_filter_state`: keeps values of a connection as objects, for the filters after it and the
 * requests on the connection (source/extensions/filters/network/set_filter_state/config.cc).
 */
export function networkSetFilterState(
  message: Message,
  context: ProxyContext,
  _listener: ListenerContext,
): ReadFilterMaker {
  const values = new FilterStateValues((message as Config).onNewConnection, 'on_new_connection', context.runtime)
  return ({ info, transport }) => ({
    onNewConnection() {
      values.apply(info)
      transport.info.filterState = info.filterState
      return 'continue'
    },
    onData: () => 'continue',
  })
}
