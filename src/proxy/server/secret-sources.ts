import fs from 'node:fs'
import path from 'node:path'
import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import type { Node } from '#gen/envoy/config/core/v3/base_pb.js'
import type { ApiConfigSource, ConfigSource, PathConfigSource } from '#gen/envoy/config/core/v3/config_source_pb.js'
import type { Secret } from '#gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import type { Runtime } from '../../runtime.ts'
import type { AdsMode } from '../../xds/stream.ts'
import { ConfigError } from '../context.ts'
import type { SecretProvider, SecretSink, SecretSources } from '../tls/secrets.ts'
import { onMove } from '../tls/watched-files.ts'

/** ApiConfigSource.ApiType. */
const MODES: Readonly<Record<number, AdsMode>> = { 2: 'sotw', 3: 'delta' }

const NODE_REQUIRED =
  "node 'id' and 'cluster' are required. Set it either in 'node' config or via --service-node and --service-cluster options."

/** What the sources of one proxy are opened with. */
export interface SecretSourcesOptions {
  readonly bootstrap: Bootstrap
  readonly runtime: Runtime
  readonly node: Node
  /** Clusters whose secrets come over the ADS stream instead. */
  readonly overAds: readonly string[]
  readonly log: (line: string) => void
}

/**
 * Secrets that come neither with the bootstrap nor over ADS: each over an SDS stream of its own, as Envoy has it, or from a
 * file that is read again when it is replaced (source/common/secret/sds_api.cc, source/extensions/config_subscription).
 */
export class ProxySecretSources implements SecretSources {
  private readonly options: SecretSourcesOptions
  private readonly running = new Set<() => void>()
  private waiting: (() => void)[] = []
  private secrets: SecretProvider | undefined
  private closed = false

  constructor(options: SecretSourcesOptions) {
    this.options = options
  }

  check(source: ConfigSource, at: string): 'ads' | 'own' {
    const way = this.wayOf(source, at)
    const { id, cluster } = this.options.node
    if (way === 'own' && (id === '' || cluster === '')) {
      const api = at.includes('validation') ? 'CertificateValidationContextSdsApi' : 'TlsCertificateSdsApi'
      throw new ConfigError([`${api}: ${NODE_REQUIRED}`])
    }
    return way
  }

  private wayOf({ configSourceSpecifier: source }: ConfigSource, at: string): 'ads' | 'own' {
    const refuse = (message: string): never => {
      throw new ConfigError([message])
    }
    switch (source.case) {
      case 'ads':
        return 'ads'
      case 'apiConfigSource':
        return this.checkApi(source.value, `${at}.api_config_source`)
      case 'path':
      case 'pathConfigSource': {
        const { path: file } = fileOf(source.value)
        if (!fs.existsSync(file))
          refuse(`${at}: paths must refer to an existing path in the system: '${file}' does not exist`)
        return 'own'
      }
      default:
        return refuse(`${at}: only ads, api_config_source and path_config_source are supported`)
    }
  }

  private checkApi(api: ApiConfigSource, at: string): 'ads' | 'own' {
    if (!MODES[api.apiType]) throw new ConfigError([`${at}.api_type: only GRPC and DELTA_GRPC are supported`])
    const target = api.grpcServices[0]?.targetSpecifier
    if (target?.case === 'envoyGrpc') {
      const { clusterName } = target.value
      if (this.options.overAds.includes(clusterName)) return 'ads'
      const known = this.options.bootstrap.staticResources?.clusters.some(({ name }) => name === clusterName)
      if (!known)
        throw new ConfigError([`${at}.grpc_services[0].envoy_grpc: Unknown gRPC client cluster '${clusterName}'`])
    } else if (!target?.case) throw new ConfigError([`${at}.grpc_services: at least one is required`])
    return 'own'
  }

  open(name: string, source: ConfigSource, sink: SecretSink): () => void {
    let stop: (() => void) | undefined
    let over = false
    const begin = () => {
      if (!over) stop = this.begin(name, source, sink)
    }
    const end = () => {
      over = true
      stop?.()
      this.running.delete(end)
    }
    this.running.add(end)
    if (this.secrets) begin()
    else this.waiting.push(begin)
    return end
  }

  /** From now on sources are opened: before, a config is only looked at. */
  start(secrets: SecretProvider): void {
    this.secrets = secrets
    for (const begin of this.waiting) begin()
    this.waiting = []
  }

  close(): void {
    this.closed = true
    for (const end of [...this.running]) end()
  }

  private begin(name: string, source: ConfigSource, sink: SecretSink): () => void {
    const { configSourceSpecifier: kind } = source
    if (kind.case === 'apiConfigSource') return this.stream(name, kind.value, sink)
    if (kind.case === 'path' || kind.case === 'pathConfigSource') return this.file(name, kind.value, sink)
    return () => {}
  }

  private stream(name: string, api: ApiConfigSource, sink: SecretSink): () => void {
    let stop = () => {}
    let over = false
    const failed = (error: Error) => {
      this.options.log(`SDS ${name}: ${error.message}`)
      sink.absent()
    }
    const connect = async () => {
      // gRPC is loaded only by those who speak it.
      const [{ openGrpc }, { AdsClient }, { SECRET_TYPE }] = await Promise.all([
        import('./grpc-endpoint.ts'),
        import('../../xds/client.ts'),
        import('../../xds/resource-types.ts'),
      ])
      if (over || this.closed) return
      const { bootstrap, runtime, node } = this.options
      const client = new AdsClient({
        transport: openGrpc({
          bootstrap,
          services: api.grpcServices,
          service: 'sds',
          secrets: this.secrets!,
          path: `secret ${name}: grpc_services`,
        }),
        runtime,
        node,
        mode: MODES[api.apiType]!,
        setNodeOnFirstMessageOnly: api.setNodeOnFirstMessageOnly,
      })
      client.subscribe(SECRET_TYPE, [name], {
        onUpdate: ({ added }) => {
          const secrets = added.map(({ resource }) => resource as unknown as Secret)
          const secret = secrets.find((known) => known.name === name)
          if (!secret) return secrets.map((other) => `Unexpected SDS secret (expecting ${name}): ${other.name}`)
          try {
            sink.set(secret, added.find(({ resource }) => (resource as unknown) === secret)?.version ?? '')
            return []
          } catch (error) {
            sink.absent()
            return [(error as Error).message]
          }
        },
      })
      client.start()
      stop = () => client.close()
    }
    connect().catch(failed)
    return () => {
      over = true
      stop()
    }
  }

  private file(name: string, source: PathConfigSource | string, sink: SecretSink): () => void {
    const { path: file, watched } = fileOf(source)
    let stop = () => {}
    let over = false
    const load = async () => {
      const { readSecretFile } = await import('../tls/secret-files.ts')
      if (over) return
      const read = () => {
        try {
          const { secret, version } = readSecretFile(file, name)
          sink.set(secret, version)
        } catch (error) {
          this.options.log(`SDS ${name}: ${(error as Error).message}`)
          sink.absent()
        }
      }
      stop =
        watched === undefined ? onMove(path.dirname(file), path.basename(file), read) : onMove(watched, undefined, read)
      read()
    }
    load().catch((error: Error) => this.options.log(`SDS ${name}: ${error.message}`))
    return () => {
      over = true
      stop()
    }
  }
}

function fileOf(source: PathConfigSource | string): { path: string; watched: string | undefined } {
  return typeof source === 'string'
    ? { path: source, watched: undefined }
    : { path: source.path, watched: source.watchedDirectory?.path }
}
