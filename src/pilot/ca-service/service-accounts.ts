import type { Runtime } from '../../runtime.ts'
import type { Pilot } from '../pilot.ts'
import type { PushContext } from '../scope/push-context.ts'
import type { SigningKey } from './signing-key.ts'
import { issueToken, readToken, type ServiceAccountName, TokenError, type TokenRequest } from './token.ts'

/** There is no such service account; in kubectl's words. */
export class UnknownServiceAccountError extends Error {
  constructor(name: string) {
    super(`serviceaccounts ${JSON.stringify(name)} not found`)
  }
}

/** Tokens of the service accounts of a mesh: issued, and reviewed as the API server's TokenReview does. */
export class ServiceAccounts {
  readonly #pilot: Pick<Pilot, 'context'>
  readonly #key: SigningKey
  readonly #runtime: Runtime
  /** The uids of the accounts that were there at the start. */
  readonly #first: ReadonlyMap<string, string | undefined>

  constructor(pilot: Pick<Pilot, 'context'>, key: SigningKey, runtime: Runtime) {
    this.#pilot = pilot
    this.#key = key
    this.#runtime = runtime
    const objects = pilot.context.snapshot.list('ServiceAccount')
    this.#first = new Map(objects.map(({ metadata }) => [keyOf(metadata), metadata.uid]))
  }

  /** Throws UnknownServiceAccountError, and TokenError when the request cannot be met. */
  issue(request: TokenRequest): string {
    if (!this.exists(request)) throw new UnknownServiceAccountError(request.name)
    return issueToken(request, this.#key, this.#runtime)
  }

  /** The account that a token is of. Throws TokenError, also when the account is gone. */
  review(token: string, audiences: readonly string[]): ServiceAccountName {
    const { issuedAt, ...account } = readToken(token, this.#key, audiences, this.#runtime.wallNow())
    if (!this.exists(account)) throw new TokenError('its service account does not exist')
    const object = objectOf(this.#pilot.context, account)
    // One that was deleted and made again is another account. Those of the start are as old as their files.
    const isNew = object && this.#first.get(keyOf(account)) !== object.metadata.uid
    if (isNew && issuedAt * 1000 < Date.parse(object.metadata.creationTimestamp ?? ''))
      throw new TokenError('it is older than its service account')
    return account
  }

  /**
   * Whether there is such an account: an object of its own, or a workload that runs under it, as files often leave the
   * object out; `default` is in every namespace.
   */
  exists(account: ServiceAccountName): boolean {
    const { context } = this.#pilot
    if (objectOf(context, account)) return true
    const inNamespace = context.registry.workloads.filter(({ namespace }) => namespace === account.namespace)
    if (inNamespace.some(({ serviceAccount }) => serviceAccount === account.name)) return true
    const known =
      account.namespace === 'default' ||
      inNamespace.length > 0 ||
      context.snapshot.get('Namespace', '', account.namespace) !== undefined
    return account.name === 'default' && known
  }
}

function objectOf({ snapshot }: PushContext, { namespace, name }: ServiceAccountName) {
  return snapshot.get('ServiceAccount', namespace, name)
}

function keyOf({ namespace, name }: { readonly namespace?: string; readonly name: string }): string {
  return `${namespace}/${name}`
}
