import type { HttpFilter, HttpFilterKind } from './filter.ts'

/** `istio.metadata_exchange`: peers telling each other who they are. The chain takes it; nothing is exchanged yet. */
export const metadataExchangeFilter: HttpFilterKind = {
  type: 'io.istio.http.peer_metadata.Config',
  name: 'istio.metadata_exchange',
  build(_message, context) {
    context.proxy.notEnforced?.('http filter istio.metadata_exchange')
    const filter: HttpFilter = {}
    return { create: () => filter }
  },
}
