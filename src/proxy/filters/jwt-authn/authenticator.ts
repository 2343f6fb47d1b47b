import { claimAt, claimText, withLists } from './claims.ts'
import type { Jwks } from './jwks.ts'
import type { FoundToken } from './locations.ts'
import type { Provider } from './provider.ts'
import type { RemoteJwks } from './remote-jwks.ts'
import type { TokenRequirement } from './requirement.ts'
import { STATUS, type Status } from './status.ts'
import { parseToken, type Token, timeStatus } from './token.ts'
import type { Verification } from './verification.ts'
import { verifySignature } from './verify.ts'

/** Checks the tokens that one requirement finds in one request (source/extensions/filters/http/jwt_authn/authenticator.cc). */
export class Authenticator {
  private readonly requirement: TokenRequirement
  private readonly verification: Verification
  private readonly tokens: FoundToken[]
  private provider: Provider | undefined
  private found: FoundToken | undefined = undefined
  private token: Token | undefined = undefined
  private clearsRoute = false
  private fetch: { cancel(): void } | undefined = undefined

  constructor(requirement: TokenRequirement, verification: Verification, tokens: FoundToken[]) {
    this.requirement = requirement
    this.verification = verification
    this.tokens = tokens
    this.provider = undefined
  }

  /** Ends at once unless keys have to be fetched. */
  start(): void {
    if (this.tokens.length === 0) this.done(STATUS.missed)
    else this.next()
  }

  cancel(): void {
    this.fetch?.cancel()
    this.fetch = undefined
  }

  /** Checks tokens, the last one first, until one has to wait or nothing is left to check. */
  private next(): void {
    for (;;) {
      const status = this.check()
      if (status === undefined || this.done(status)) return
    }
  }

  /** Checks the next token; undefined: keys are on their way. */
  private check(): Status | undefined {
    const { requirement, verification } = this
    const { providers } = verification
    const found = this.tokens.pop()!
    this.found = found
    const wall = verification.slot.runtime.wallNow() / 1000
    const now = Math.floor(wall)
    let token: Token | undefined
    if (requirement.provider !== undefined) {
      this.provider = requirement.provider
      token = this.provider.cache.lookup(found.text, this.provider.jwks, now)
      const hit = token !== undefined && this.provider.cache.configured
      ;(hit ? providers.stats.cacheHit : providers.stats.cacheMiss).inc()
    }
    const verified = token !== undefined
    if (token === undefined) {
      const parsed = parseToken(found.text)
      if ('code' in parsed) return parsed
      token = parsed
    }
    this.token = token
    const { issuers } = found.location
    if (issuers !== undefined && !issuers.has(token.issuer)) return STATUS.unknownIssuer
    if (requirement.provider === undefined) this.provider = providers.ofIssuer(token.issuer)
    const { provider } = this
    if (provider === undefined) return STATUS.unknownIssuer
    const time = timeStatus(token, now, provider.clockSkew)
    if (time !== STATUS.ok) return time
    if (!(requirement.audiences ?? provider.audiences).allows(token.audiences)) return STATUS.audienceNotAllowed
    if (provider.subjects !== undefined && !provider.subjects.matches(token.subject)) return STATUS.verificationFails
    if (!provider.allowsLifetime(token.expires, wall)) return STATUS.verificationFails
    if (verified) return this.accept(provider, token, found)
    if (provider.jwks !== undefined) return this.verify(provider.jwks, provider, token, found)
    if (provider.remote === undefined) return STATUS.jwksNoValidKeys
    return this.fetchKeys(provider.remote, provider)
  }

  private fetchKeys(remote: RemoteJwks, provider: Provider): Status | undefined {
    let atOnce: Status | undefined
    let waits = false
    this.cancel()
    const fetch = remote.fetch((fetched) => {
      const { stats } = this.verification.providers
      this.fetch = undefined
      ;(fetched ? stats.fetchSuccess : stats.fetchFailed).inc()
      const status = fetched ? this.verify(remote.latest!, provider, this.token!, this.found!) : STATUS.fetchFails
      if (!waits) atOnce = status
      else if (!this.done(status)) this.next()
    })
    if (atOnce === undefined) this.fetch = fetch
    waits = true
    return atOnce
  }

  private verify(jwks: Jwks, provider: Provider, token: Token, found: FoundToken): Status {
    const status = verifySignature(token, jwks)
    if (status !== STATUS.ok) return status
    if (this.requirement.provider !== undefined) provider.cache.insert(found.text, token, jwks)
    return this.accept(provider, token, found)
  }

  /** The token is good: hands on what the provider wants handed on. */
  private accept(provider: Provider, token: Token, found: FoundToken): Status {
    const { verification } = this
    const { config } = provider
    if (provider.payloadHeader !== undefined) {
      const text = token.payloadText
      const padding = config.padForwardPayloadHeader ? '='.repeat((4 - (text.length % 4)) % 4) : ''
      verification.add(provider.payloadHeader, text + padding)
    }
    let added = false
    for (const { header, path } of provider.claimHeaders) {
      const value = claimAt(token.payload, path)
      const text = value === undefined ? '' : claimText(value)
      if (text === '') continue
      verification.add(header, text)
      added = true
    }
    if (config.clearRouteCache && (added || config.payloadInMetadata !== '')) this.clearsRoute = true
    if (!config.forward) verification.remove(found.location)
    if (config.headerInMetadata !== '') verification.extract(config.headerInMetadata, token.header)
    if (config.payloadInMetadata !== '') {
      const { spaceDelimited } = provider
      // Kept, as the token is: most clients come with the same one many times.
      if (spaceDelimited.length > 0) token.listed ??= withLists(token.payload, spaceDelimited)
      verification.extract(config.payloadInMetadata, token.listed ?? token.payload)
    }
    return STATUS.ok
  }

  /**
   * Takes the status of one token; true when it was the last to be looked at. All tokens of a request must be good, lest
   * an upstream take a bad one for the one that was verified.
   */
  private done(status: Status): boolean {
    const { requirement, verification, tokens } = this
    if (status !== STATUS.ok) {
      const provider = this.provider ?? verification.providers.single
      const name = provider?.config.failedStatusInMetadata ?? ''
      if (name !== '') verification.extract(name, failure(status))
    }
    const goesOn = status === STATUS.ok || requirement.allowsMissing || requirement.allowsFailed
    if (goesOn && tokens.length > 0) return false
    tokens.length = 0
    if (this.clearsRoute) verification.slot.clearRouteCache()
    const excused = requirement.allowsFailed || (requirement.allowsMissing && status === STATUS.missed)
    requirement.complete(excused ? STATUS.ok : status, verification)
    return true
  }
}

function failure({ code, text }: Status): { code: number; message: string } {
  return { code, message: text }
}
