import type { ConnectionInfo } from '../../listener/connection.ts'
import type { LoadBalancerContext, RoutingPriority } from '../../upstream/cluster.ts'
import type { Host } from '../../upstream/host.ts'
import type { Exchange } from '../exchange.ts'
import type { RequestHead } from '../headers.ts'
import type { RetryPolicy } from './retry-policy.ts'
import { PreviousPriorities } from './retry-priority.ts'
import type { Forward } from './route.ts'

const NO_HOSTS: readonly Host[] = []

/** What the router tells the load balancer of a request and its attempts so far; used again by the next request. */
export class RouterBalancing implements LoadBalancerContext {
  hash: bigint | undefined = undefined
  metadataMatch: LoadBalancerContext['metadataMatch'] = undefined
  downstream: ConnectionInfo | undefined = undefined
  headers: RequestHead | undefined = undefined
  hostSelectionRetryCount = 0
  upstreamServerName: string | undefined = undefined
  upstreamAlpn: readonly string[] | undefined = undefined
  overrideHost: string | undefined = undefined
  overrideStrict = false
  retryPriority: PreviousPriorities | undefined = undefined
  routingPriority: RoutingPriority = 'default'
  private policy: RetryPolicy | undefined = undefined
  private tried: readonly Host[] = NO_HOSTS

  /** A new request. Returns the `set-cookie` value that a hash policy wants in the response. */
  begin(exchange: Exchange, head: RequestHead, forward: Forward): string | undefined {
    this.policy = forward.retryPolicy
    this.tried = NO_HOSTS
    this.hostSelectionRetryCount = 0
    this.retryPriority = undefined
    this.downstream = exchange.connection
    this.headers = head
    this.metadataMatch = forward.metadataMatch
    this.routingPriority = forward.priority
    this.upstreamAlpn = exchange.upstreamAlpn
    this.overrideHost = exchange.upstreamOverride?.address
    this.overrideStrict = exchange.upstreamOverride?.strict ?? false
    if (forward.hashPolicies === undefined) {
      this.hash = undefined
      return undefined
    }
    const hashed = forward.hashPolicies.compute(head, exchange.connection, exchange.info)
    this.hash = hashed.hash
    return hashed.setCookie
  }

  /** A host was tried; the next attempt may want another, or another priority. */
  remember(host: Host): void {
    const { policy } = this
    if (policy === undefined) return
    if (policy.priorityFrequency !== undefined) {
      this.retryPriority ??= new PreviousPriorities(policy.priorityFrequency)
      this.retryPriority.remember(host)
    }
    if (policy.hostPredicates.length === 0) return
    this.tried = [...this.tried, host]
    this.hostSelectionRetryCount = policy.hostSelectionAttempts
  }

  shouldSelectAnotherHost(host: Host): boolean {
    const { policy } = this
    if (this.hostSelectionRetryCount === 0 || policy === undefined) return false
    return policy.hostPredicates.some((rejects) => rejects(host, this.tried))
  }

  /** Forgets the request. */
  end(): void {
    this.headers = undefined
    this.retryPriority = undefined
    this.tried = NO_HOSTS
  }
}
