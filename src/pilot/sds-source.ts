import type { Ca } from '../ca/ca.ts'
import type { Runtime } from '../runtime.ts'
import { SECRET_TYPE } from '../xds/resource-types.ts'
import type { ResourceSource } from '../xds/server.ts'
import type { AdsConnection } from '../xds/server-connection.ts'
import type { Resources, VersionedResource } from '../xds/snapshot.ts'
import { GRPC_PERMISSION_DENIED } from '../xds/stream.ts'
import { FileSecrets } from './file-secrets.ts'
import { nodeOf, type Pilot } from './pilot.ts'
import { NodeError, type ProxyNode } from './proxy.ts'
import { secretsFor } from './resources.ts'
import { SecretRenewal } from './secret-renewal.ts'
import { identityOf } from './secrets.ts'
import { Versions } from './versions.ts'

/** What an SDS source is made of. */
export interface SdsSourceOptions {
  readonly pilot: Pilot
  readonly ca: Ca
  readonly runtime: Runtime
  /** Serve certificates of files of this machine too, by `file-cert:…` and `file-root:…`. */
  readonly files: boolean
  readonly log?: ((line: string) => void) | undefined
}

/**
 * The secrets that istio-agents would serve, from within the control plane: to each client the certificate of the workload
 * that its node id names, `default`, and the roots, `ROOTCA`. Who may connect may have them all: it is for sockets that
 * only the user of the mesh can reach. Renewed certificates and changed roots are sent by themselves.
 */
export class SdsSource implements ResourceSource {
  readonly #options: SdsSourceOptions
  readonly #versions: Versions
  readonly #clients = new Map<AdsConnection, Resources | undefined>()
  readonly #unfollow: () => void
  readonly #renewal: SecretRenewal<AdsConnection>
  readonly #files: FileSecrets | undefined
  #pushes = 0

  constructor(options: SdsSourceOptions) {
    const { pilot, ca, runtime } = options
    this.#options = options
    this.#versions = new Versions(runtime.uuid().slice(0, 8))
    this.#unfollow = pilot.onPush(() => this.#serveAll())
    const tell = (line: string) => options.log?.(line)
    this.#files = options.files ? new FileSecrets({ runtime, tell, onChange: () => this.#serveAll() }) : undefined
    this.#renewal = new SecretRenewal({
      ca,
      runtime,
      clients: () => this.#clients.keys(),
      due: (connection) => {
        const proxy = this.#proxyOf(connection)
        return proxy && identityOf(pilot.context, ca, proxy).renewAt
      },
      serve: () => this.#serveAll(),
      answered: () => [...this.#clients.keys()].every((connection) => connection.answered(SECRET_TYPE)),
      warn: (line) => options.log?.(line),
    })
  }

  connected(connection: AdsConnection): void {
    this.#clients.set(connection, undefined)
    this.#serve(connection)
    this.#renewal.schedule([connection])
  }

  subscribed(connection: AdsConnection): void {
    if (this.#clients.has(connection)) this.#serve(connection)
  }

  disconnected(connection: AdsConnection): void {
    this.#clients.delete(connection)
  }

  close(): void {
    this.#unfollow()
    this.#renewal.close()
    this.#files?.close()
  }

  #serveAll(): void {
    for (const connection of [...this.#clients.keys()]) this.#serve(connection)
  }

  #serve(connection: AdsConnection): void {
    const { pilot, ca, files, log } = this.#options
    const proxy = this.#proxyOf(connection)
    if (!proxy) {
      this.#clients.delete(connection)
      const message = `there is no workload of the node id ${connection.node.id}`
      log?.(`SDS: ${connection.peer}: ${message}`)
      connection.disconnect({ code: GRPC_PERMISSION_DENIED, message })
      return
    }
    const watched = connection.watched(SECRET_TYPE)
    const wanted = files && watched && watched !== '*' ? [...watched].filter((name) => name.startsWith('file-')) : []
    this.#files?.wanted(wanted, pilot.context.snapshot)
    const before = this.#clients.get(connection)
    const resources = new Map<string, VersionedResource>()
    for (const [name, made] of secretsFor(pilot.context, proxy, ca, wanted, files))
      resources.set(name, this.#versions.of(made, before?.get(name)))
    this.#clients.set(connection, resources)
    connection.push({ version: String(++this.#pushes), types: new Map([[SECRET_TYPE, resources]]) })
  }

  /** The workload of a client's node id; what else its metadata says of account and namespace does not count. */
  #proxyOf({ node }: AdsConnection): ProxyNode | undefined {
    const { pilot } = this.#options
    const [, , id = ''] = node.id.split('~')
    const dot = id.lastIndexOf('.')
    const workload = pilot.registry.workload(id.slice(dot + 1), id.slice(0, dot))
    if (dot < 0 || !workload) return undefined
    const { namespace, serviceAccount } = workload
    const metadata = { NAMESPACE: namespace, SERVICE_ACCOUNT: serviceAccount }
    try {
      return pilot.proxy({ ...nodeOf(node), metadata })
    } catch (error) {
      if (error instanceof NodeError) return undefined
      throw error
    }
  }
}
