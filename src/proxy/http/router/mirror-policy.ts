import type { RouteAction_RequestMirrorPolicy } from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { ConfigError } from '../../context.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { Problems } from '../config.ts'
import type { RequestHead } from '../headers.ts'
import { Fraction } from './fraction.ts'
import { HeaderReader } from './header-matcher.ts'
import { MutationList } from './mutation-list.ts'
import { portAt } from './redirect.ts'

const KNOWN = new Set([
  'cluster',
  'clusterHeader',
  'runtimeFraction',
  'traceSampled',
  'disableShadowHostSuffixAppend',
  'requestHeadersMutations',
  'hostRewriteLiteral',
])

/** Where a copy of the request goes, how often, and what is different about it. */
export class MirrorPolicy {
  readonly fraction: Fraction
  private readonly hostSuffix: boolean
  private readonly host: string
  private readonly mutations: MutationList
  /** Empty where a header names it. */
  readonly cluster: string
  private readonly header: HeaderReader | undefined

  /** Throws ConfigError. */
  constructor(config: RouteAction_RequestMirrorPolicy, runtime: Runtime) {
    const problems = new Problems()
    problems.refuseUnknown(config, KNOWN, 'request_mirror_policies')
    problems.throwIfAny()
    if ((config.cluster === '') === (config.clusterHeader === '')) {
      throw new ConfigError(['request_mirror_policies: one of cluster and cluster_header is required'])
    }
    this.cluster = config.cluster
    this.header = config.clusterHeader === '' ? undefined : new HeaderReader(config.clusterHeader)
    this.fraction = Fraction.ofRuntime(config.runtimeFraction)
    this.hostSuffix = !config.disableShadowHostSuffixAppend
    this.host = config.hostRewriteLiteral
    this.mutations = new MutationList(
      config.requestHeadersMutations,
      runtime,
      'request_mirror_policies.request_headers_mutations',
    )
  }

  /** The cluster's name for a request; '' when its header is missing. */
  clusterName(head: RequestHead): string {
    return this.header === undefined ? this.cluster : (this.header.first(head) ?? '')
  }

  /** Makes the head of a copy different: headers, and its own host, or `-shadow` in front of the port, so that logs can tell. */
  change(head: RequestHead, info: StreamInfo): void {
    if (!this.mutations.empty) this.mutations.apply(head, info)
    if (this.host !== '') {
      head.authority = this.host
      return
    }
    if (!this.hostSuffix) return
    const { authority } = head
    const at = portAt(authority)
    head.authority = at < 0 ? `${authority}-shadow` : `${authority.slice(0, at)}-shadow${authority.slice(at)}`
  }

  toString(): string {
    return `mirror ${this.fraction} to ${this.header?.name ?? this.cluster}`
  }
}
