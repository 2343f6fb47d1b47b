import type { RouteAction_RequestMirrorPolicy } from '#gen/envoy/config/route/v3/route_components_pb.js'
import { ConfigError } from '../../context.ts'
import { Problems } from '../config.ts'
import type { RequestHead } from '../headers.ts'
import { Fraction } from './fraction.ts'
import { HeaderReader } from './header-matcher.ts'

const KNOWN = new Set(['cluster', 'clusterHeader', 'runtimeFraction', 'traceSampled', 'disableShadowHostSuffixAppend'])

/** Where a copy of the request goes, and how often. */
export class MirrorPolicy {
  readonly fraction: Fraction
  /** Whether the copy's host gets `-shadow`. */
  readonly hostSuffix: boolean
  private readonly cluster: string
  private readonly header: HeaderReader | undefined

  constructor(config: RouteAction_RequestMirrorPolicy) {
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
  }

  /** The cluster's name for a request; '' when its header is missing. */
  clusterName(head: RequestHead): string {
    return this.header === undefined ? this.cluster : (this.header.first(head) ?? '')
  }

  toString(): string {
    return `mirror ${this.fraction} to ${this.header?.name ?? this.cluster}`
  }
}
