import type { JwtProvider } from '#gen/envoy/extensions/filters/http/jwt_authn/v3/config_pb.js'
import { Problems } from '../../http/config.ts'
import { type HeaderName, headerName } from '../../http/headers.ts'
import { Provider } from './provider.ts'
import type { RemoteJwksContext } from './remote-jwks.ts'
import type { JwtStats } from './stats.ts'

/** The providers of a filter by name and by issuer (source/extensions/filters/http/jwt_authn/jwks_cache.cc JwksCacheImpl). */
export class Providers {
  readonly stats: JwtStats
  /** Undefined unless there is one and no other. */
  readonly single: Provider | undefined
  private readonly tellsStatus: boolean
  private readonly byName = new Map<string, Provider>()
  private readonly byIssuer = new Map<string, Provider>()

  /** Throws ConfigError. */
  constructor(configs: Readonly<Record<string, JwtProvider>>, context: RemoteJwksContext) {
    const problems = new Problems()
    this.stats = context.stats
    this.tellsStatus = context.proxy.runtimeFeatures?.get('jwt_authn_add_verification_status_header') ?? true
    for (const [name, config] of Object.entries(configs)) {
      const provider = problems.collect(`providers[${name}]`, () => new Provider(name, config, context))
      if (provider === undefined) continue
      this.byName.set(name, provider)
      if (!this.byIssuer.has(provider.issuer)) this.byIssuer.set(provider.issuer, provider)
    }
    this.single = this.byName.size === 1 ? [...this.byName.values()][0] : undefined
    problems.throwIfAny()
  }

  get(name: string): Provider | undefined {
    return this.byName.get(name)
  }

  get all(): readonly Provider[] {
    return [...this.byName.values()]
  }

  /** The config is in force: keys may be fetched. `ready` is called once listeners need not wait for them any more. */
  start(ready: () => void): void {
    const remotes = this.all.flatMap(({ remote }) => remote ?? [])
    let missing = remotes.length
    if (missing === 0) ready()
    for (const remote of remotes) {
      remote.start(() => {
        missing--
        if (missing === 0) ready()
      })
    }
  }

  /** Nothing more is fetched ahead. */
  close(): void {
    for (const { remote } of this.all) remote?.close()
  }

  /** The header that tells of tokens that were not verified; '' is the usual one. */
  statusHeader(name: string): HeaderName | undefined {
    return this.tellsStatus ? headerName(name || 'x-jwt-signature-verified') : undefined
  }

  /** The first provider for an issuer, else the first one for any. */
  ofIssuer(issuer: string): Provider | undefined {
    return this.byIssuer.get(issuer) ?? this.byIssuer.get('')
  }
}
