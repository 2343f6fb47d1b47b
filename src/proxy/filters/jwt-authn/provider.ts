import type { JwtProvider } from '#gen/envoy/extensions/filters/http/jwt_authn/v3/config_pb.js'
import { durationMs, Problems } from '../../http/config.ts'
import { type HeaderName, headerName } from '../../http/headers.ts'
import { compileStringMatcher, type StringMatcher } from '../../http/router/string-matcher.ts'
import { readDataSource } from '../../tls/data-source.ts'
import { Audiences } from './audiences.ts'
import { type Jwks, parseJwks } from './jwks.ts'
import { RemoteJwks, type RemoteJwksContext } from './remote-jwks.ts'
import { TokenCache } from './token-cache.ts'

const DEFAULT_CLOCK_SKEW = 60

/** A JwtProvider, compiled: whose tokens, with which keys, and what becomes of them. Times in seconds. */
export class Provider {
  readonly config: JwtProvider
  readonly issuer: string
  readonly audiences: Audiences
  readonly subjects: StringMatcher | undefined
  /** Tokens may not be valid for longer than this from now on; Infinity: but must say until when; undefined: or not. */
  readonly maxLifetime: number | undefined
  readonly clockSkew: number
  readonly payloadHeader: HeaderName | undefined
  readonly claimHeaders: readonly { readonly header: HeaderName; readonly path: readonly string[] }[]
  readonly spaceDelimited: readonly string[]
  readonly cache: TokenCache
  readonly remote: RemoteJwks | undefined
  private readonly local: Jwks | undefined

  /** Throws ConfigError. */
  constructor(name: string, config: JwtProvider, context: RemoteJwksContext) {
    const problems = new Problems()
    this.config = config
    this.issuer = config.issuer
    this.audiences = new Audiences(config.audiences)
    const { subjects } = config
    this.subjects = subjects && problems.collect('subjects', () => compileStringMatcher(subjects))
    const maxLifetime = durationMs(config.maxLifetime)
    this.maxLifetime =
      maxLifetime === undefined ? (config.requireExpiration ? Infinity : undefined) : maxLifetime / 1000
    this.clockSkew = config.clockSkewSeconds || DEFAULT_CLOCK_SKEW
    this.payloadHeader = config.forwardPayloadHeader === '' ? undefined : headerName(config.forwardPayloadHeader)
    this.claimHeaders = config.claimToHeaders.map(({ headerName: header, claimName, claimPath }) => {
      if ((claimName === '') === (claimPath.length === 0)) {
        const why = 'which does not set exactly one of claim_name and claim_path'
        problems.errors.push(`Provider '${name}' has a claim_to_headers entry for header '${header}' ${why}`)
      }
      const path = claimName === '' ? claimPath.map(({ segment }) => segment.value ?? '') : claimName.split('.')
      return { header: headerName(header), path }
    })
    this.spaceDelimited = config.normalizePayloadInMetadata?.spaceDelimitedClaims ?? []
    this.cache = new TokenCache(config.jwtCacheConfig)
    const source = config.jwksSourceSpecifier
    if (source.case === 'localJwks') {
      const text = readDataSource(source.value, 'local_jwks', problems.errors)
      const jwks = text && parseJwks(text)
      if (jwks !== undefined && 'keys' in jwks) this.local = jwks
      else if (jwks !== undefined) {
        problems.errors.push(`Provider '${name}' in jwt_authn config has invalid local jwks: ${jwks.text}`)
      }
    } else if (source.case === 'remoteJwks') {
      this.remote = problems.collect('', () => new RemoteJwks(name, source.value, context))
    } else {
      problems.add('jwks_source_specifier', 'is required')
    }
    problems.throwIfAny()
  }

  /** The keys in force; undefined when there are none, or they are too old. */
  get jwks(): Jwks | undefined {
    return this.local ?? this.remote?.current
  }

  /** Whether a token that expires then (0: never) may be used; `now` with fractions. */
  allowsLifetime(expires: number, now: number): boolean {
    if (this.maxLifetime === undefined) return true
    return expires !== 0 && expires - now < this.maxLifetime
  }
}
