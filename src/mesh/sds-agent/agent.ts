import type { Message } from '@bufbuild/protobuf'
import type { Identity } from '../../ca/ca.ts'
import { FileSecrets } from '../../pilot/file-secrets.ts'
import { SDS_DEFAULT, SDS_ROOT } from '../../pilot/names.ts'
import { certificate, fileSecret, roots } from '../../pilot/secrets.ts'
import { Versions } from '../../pilot/versions.ts'
import type { Runtime, Timer } from '../../runtime.ts'
import { createStore, type Snapshot } from '../../store/store.ts'
import type { GrpcListener } from '../../xds/grpc-server.ts'
import { make } from '../../xds/messages.ts'
import { SECRET_TYPE } from '../../xds/resource-types.ts'
import { AdsServer, type ResourceSource } from '../../xds/server.ts'
import type { AdsConnection } from '../../xds/server-connection.ts'
import type { Resources, VersionedResource } from '../../xds/snapshot.ts'
import { listenSds, type SdsPlace } from '../doors/sds-door.ts'
import { type CaEndpoint, CaRequestError, requestIdentity } from './ca-client.ts'

/** What an agent is made of. */
export interface AgentOptions {
  readonly ca: CaEndpoint
  readonly place: SdsPlace
  readonly runtime: Runtime
  readonly log?: ((line: string) => void) | undefined
  /** Takes the agent once its place is bound, before there is a certificate: closing it gives the place back. */
  readonly listening?: ((agent: SdsAgent) => void) | undefined
}

/** After a failure it is tried again after this time, doubled each time up to the maximum, ms. */
const RETRY_MS = 1000
const MAX_RETRY_MS = 60_000
const GRPC_UNAVAILABLE = 14
const GRPC_DEADLINE_EXCEEDED = 4

/**
 * istio-agent's part in identities (security/pkg/nodeagent/cache, security/pkg/nodeagent/sds): gets a certificate from an
 * istiod, renews it at half of its life, and hands it to one proxy by SDS, with the key that is nowhere else. Over a unix
 * socket it serves certificates of files too, as `file-cert:CHAIN~KEY` and `file-root:FILE`.
 */
export class SdsAgent implements ResourceSource {
  readonly #options: AgentOptions
  readonly #versions: Versions
  readonly #clients = new Map<AdsConnection, Resources | undefined>()
  readonly #ads: AdsServer
  /** No object names the files: their user does. */
  readonly #nothing: Snapshot
  readonly #files: FileSecrets | undefined
  #identity: Identity | undefined
  #listener: GrpcListener | undefined
  #timer: Timer | undefined
  #failures = 0
  #pushes = 0
  #closed = false

  private constructor(options: AgentOptions) {
    this.#options = options
    const { runtime } = options
    this.#versions = new Versions(runtime.uuid().slice(0, 8))
    // There is one proxy: who does not say who it is, is that one.
    const anonymous = make('envoy.config.core.v3.Node', { id: 'proxy' })
    this.#ads = new AdsServer({ runtime, source: this, anonymous })
    this.#nothing = createStore(runtime).snapshot
    const tell = (line: string) => options.log?.(line)
    if ('socket' in options.place) this.#files = new FileSecrets({ runtime, tell, onChange: () => this.#serveAll() })
  }

  /**
   * Resolves when the first certificate is there and SDS is served. Until the CA can be reached it is tried again; rejects
   * with CaRequestError when it refuses, and when the place cannot be bound.
   */
  static async start(options: AgentOptions): Promise<SdsAgent> {
    const agent = new SdsAgent(options)
    try {
      agent.#listener = await listenSds(options.place, agent.#ads)
      options.listening?.(agent)
      while (!(await agent.#first())) await agent.#pause()
      return agent
    } catch (error) {
      await agent.close()
      throw error
    }
  }

  /** Where SDS is served. */
  get address(): string {
    return this.#listener?.address ?? ''
  }

  /** Whose certificate it is. */
  get spiffeId(): string {
    return this.#identity?.spiffeId ?? ''
  }

  connected(connection: AdsConnection): void {
    this.#clients.set(connection, undefined)
    this.#serve(connection)
  }

  subscribed(connection: AdsConnection): void {
    if (this.#clients.has(connection)) this.#serve(connection)
  }

  disconnected(connection: AdsConnection): void {
    this.#clients.delete(connection)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    this.#files?.close()
    this.#ads.close()
    await this.#listener?.close()
  }

  async #first(): Promise<boolean> {
    try {
      await this.#renew()
      return true
    } catch (error) {
      const passing = error instanceof CaRequestError && [GRPC_UNAVAILABLE, GRPC_DEADLINE_EXCEEDED].includes(error.code)
      if (!passing) throw error
      this.#options.log?.(`no certificate yet: ${error.message}`)
      return false
    }
  }

  async #renew(): Promise<void> {
    const { ca, runtime } = this.#options
    const now = runtime.wallNow()
    const before = this.#identity && now < this.#identity.notAfter ? this.#identity : undefined
    this.#identity = await requestIdentity(ca, before, now)
    if (this.#closed) return
    this.#failures = 0
    this.#serveAll()
    this.#next(this.#identity.renewAt - runtime.wallNow())
  }

  #next(wait: number): void {
    this.#timer = this.#options.runtime.after(Math.max(RETRY_MS, wait), () => {
      this.#renew().catch((error: Error) => {
        if (this.#closed) return
        this.#options.log?.(`the certificate could not be renewed, and is tried again: ${error.message}`)
        this.#next(this.#delay())
      })
    })
  }

  #delay(): number {
    return Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** this.#failures++)
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#timer = this.#options.runtime.after(this.#delay(), resolve)
    })
  }

  #serveAll(): void {
    for (const connection of this.#clients.keys()) this.#serve(connection)
  }

  #serve(connection: AdsConnection): void {
    const identity = this.#identity
    if (!identity) return
    const made: [string, Message | undefined][] = [
      [SDS_DEFAULT, certificate(SDS_DEFAULT, identity.certChainPem, identity.privateKeyPem)],
      [SDS_ROOT, roots(SDS_ROOT, identity.rootPem)],
    ]
    const watched = connection.watched(SECRET_TYPE)
    if (this.#files && watched && watched !== '*') {
      const names = [...watched].filter((name) => name.startsWith('file-'))
      this.#files.wanted(names, this.#nothing)
      for (const name of names) made.push([name, fileSecret(name)])
    }
    const before = this.#clients.get(connection)
    const resources = new Map<string, VersionedResource>()
    for (const [name, secret] of made) if (secret) resources.set(name, this.#versions.of(secret, before?.get(name)))
    this.#clients.set(connection, resources)
    connection.push({ version: String(++this.#pushes), types: new Map([[SECRET_TYPE, resources]]) })
  }
}
