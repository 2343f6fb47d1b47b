import type { ProxyTlv } from '../net/proxy-header.ts'
import type { Address } from './connection.ts'
import type { MatchInput } from './filter-chain-match.ts'

/** An accepted connection before its filter chain is known: listener filters write what they find. */
export class Incoming implements MatchInput {
  local: Address
  remote: Address
  readonly directRemote: Address
  sni = ''
  transportProtocol = ''
  applicationProtocols: readonly string[] = []
  /** A filter set another local address than the socket's. */
  localRestored = false
  /** Where the client wanted to go before it was redirected here; only `original_dst` acts on it. */
  readonly originalDestination: Address | undefined
  /** Values of a PROXY header that the listener keeps. */
  proxyTlvs: readonly ProxyTlv[] | undefined = undefined
  /** Bytes at the start that a filter has consumed. */
  consumed = 0

  constructor(
    local: Address,
    remote: Address,
    originalDestination: Address | undefined,
    directRemote: Address = remote,
  ) {
    this.local = local
    this.remote = remote
    this.directRemote = directRemote
    this.originalDestination = originalDestination
  }

  /** The same connection at the listener of its original destination, which looks at it anew. */
  handedOver(): Incoming {
    const over = new Incoming(this.local, this.remote, this.originalDestination, this.directRemote)
    over.localRestored = true
    over.proxyTlvs = this.proxyTlvs
    over.consumed = this.consumed
    return over
  }

  restoreLocal(address: Address): void {
    this.local = address
    this.localRestored = true
  }
}
