import type { Message } from '@bufbuild/protobuf'
import type { ExtAuthz } from '#gen/envoy/extensions/filters/network/ext_authz/v3/ext_authz_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { make } from '../../../xds/messages.ts'
import { ConfigError, type ProxyContext } from '../../context.ts'
import { chosenMetadata } from '../../filters/ext-authz/attributes.ts'
import { DEFAULT_TIMEOUT_MS } from '../../filters/ext-authz/authorizer.ts'
import { destinationPeer, nodeLabels, type PeerChoice, sourcePeer, tlsSession } from '../../filters/ext-authz/peer.ts'
import { Problems } from '../../http/config.ts'
import { GrpcClient } from '../../http/grpc-client.ts'
import { GrpcService } from '../../http/grpc-service.ts'
import { MetadataMatcher } from '../../http/router/metadata-matcher.ts'
import type { Counter, Gauge, StatsStore } from '../../observe/stats.ts'
import type { StreamInfo } from '../../stream-info.ts'
import type { ConnectionInfo } from '../connection.ts'

/** ApiVersion */
const V2 = 1

/** Counters of one filter under `ext_authz.<stat_prefix>.` (source/extensions/filters/network/ext_authz/ext_authz.h). */
class NetworkExtAuthzStats {
  readonly total: Counter
  readonly ok: Counter
  readonly denied: Counter
  readonly error: Counter
  readonly failureModeAllowed: Counter
  readonly closed: Counter
  readonly disabled: Counter
  readonly active: Gauge

  constructor(stats: StatsStore, prefix: string) {
    const base = `ext_authz.${prefix}.`
    this.total = stats.counter(`${base}total`)
    this.ok = stats.counter(`${base}ok`)
    this.denied = stats.counter(`${base}denied`)
    this.error = stats.counter(`${base}error`)
    this.failureModeAllowed = stats.counter(`${base}failure_mode_allowed`)
    this.closed = stats.counter(`${base}cx_closed`)
    this.disabled = stats.counter(`${base}disabled`)
    this.active = stats.gauge(`${base}active`)
  }
}

/** What the connections of one filter share: its config, compiled. */
export class NetworkExtAuthz {
  readonly stats: NetworkExtAuthzStats
  readonly client: GrpcClient
  readonly runtime: Runtime
  /** ms */
  readonly timeout: number
  readonly failureModeAllow: boolean
  /** Every connection passes; what would have become of it is only noted. */
  readonly shadow: boolean
  /** Connections with other metadata are not asked about; undefined: all are. */
  readonly enabledMetadata: MetadataMatcher | undefined
  private readonly peers: PeerChoice
  private readonly tellsTls: boolean
  private readonly namespaces: readonly string[]

  /** Throws ConfigError. */
  constructor(config: ExtAuthz, context: ProxyContext) {
    const { grpcService, statPrefix, filterEnabledMetadata } = config
    const problems = new Problems()
    if (statPrefix === '') problems.add('stat_prefix', 'value length must be at least 1 characters')
    if ((config.transportApiVersion as number) === V2)
      problems.add('transport_api_version', 'The v2 xDS major version has been removed and is no longer supported.')
    const service = problems.collect('grpc_service', () => {
      if (grpcService === undefined) throw new ConfigError(['value is required'])
      return new GrpcService(grpcService, context.runtime)
    })
    this.enabledMetadata =
      filterEnabledMetadata &&
      problems.collect('filter_enabled_metadata', () => new MetadataMatcher(filterEnabledMetadata))
    problems.throwIfAny()
    // Node's TLS sends no alert of a program's choice; the connection closes all the same.
    if (config.sendTlsAlertOnDenial) context.notEnforced?.('network ext_authz.send_tls_alert_on_denial')
    if (config.typedMetadataContextNamespaces.length > 0)
      context.notEnforced?.('network ext_authz.typed_metadata_context_namespaces')
    this.stats = new NetworkExtAuthzStats(context.stats, statPrefix)
    this.client = new GrpcClient(service!, context)
    this.runtime = context.runtime
    this.timeout = service!.timeout ?? DEFAULT_TIMEOUT_MS
    this.failureModeAllow = config.failureModeAllow
    this.shadow = config.shadowMode
    this.peers = {
      certificate: config.includePeerCertificate,
      labels: nodeLabels(context.node, config.bootstrapMetadataLabelsKey),
    }
    this.tellsTls = config.includeTlsSession
    this.namespaces = config.metadataContextNamespaces
  }

  /** The CheckRequest for a connection (source/extensions/filters/common/ext_authz/check_request_utils.cc createTcpCheck). */
  request(connection: ConnectionInfo, info: StreamInfo): Message {
    return make('envoy.service.auth.v3.CheckRequest', {
      attributes: {
        source: sourcePeer(connection, '', this.peers),
        destination: destinationPeer(connection, connection.sni, this.peers),
        metadataContext: chosenMetadata(this.namespaces, [info.dynamicMetadata]),
        ...(this.tellsTls ? { tlsSession: tlsSession(connection) } : {}),
      },
    }) as unknown as Message
  }
}
