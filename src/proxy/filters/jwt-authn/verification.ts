import type { FilterSlot } from '../../http/filter-slot.ts'
import type { HeaderName, RequestHead } from '../../http/headers.ts'
import { isHeaderName, isHeaderValue } from '../../http/mutation-rules.ts'
import type { Authenticator } from './authenticator.ts'
import type { JsonObject } from './json.ts'
import type { Location } from './locations.ts'
import type { Providers } from './providers.ts'
import { STATUS, type Status } from './status.ts'

/** How far one node of the requirement's tree is, for one request (verifier.cc CompletionState). */
export interface NodeState {
  completed: boolean
  completedChildren: number
  status: Status
}

/** Told how a verification that had to wait ended. */
export interface VerificationOwner {
  onVerified(verification: Verification, slot: FilterSlot): void
}

/** The verification of one request: what its nodes say, and what they found (verifier.cc ContextImpl). */
export class Verification {
  readonly providers: Providers
  readonly head: RequestHead
  readonly slot: FilterSlot
  /** Undefined while some keys are on their way. */
  status: Status | undefined = undefined
  /** The request waits: whoever ends it has to say so. */
  waiting = false
  /** What is wrong with a header that was to be added: the request cannot be sent on. */
  unsendable: string | undefined = undefined
  private readonly owner: VerificationOwner
  private readonly scheme: string
  private readonly authority: string
  /** Path as it was before tokens were taken out of it. */
  private readonly path: string
  private readonly states: (NodeState | undefined)[] = []
  private pending: Authenticator[] | undefined = undefined
  private extracted: Record<string, JsonObject> | undefined = undefined

  constructor(providers: Providers, head: RequestHead, path: string, slot: FilterSlot, owner: VerificationOwner) {
    this.providers = providers
    this.head = head
    this.slot = slot
    this.owner = owner
    this.scheme = head.scheme
    this.authority = head.authority
    this.path = path
  }

  state(node: number): NodeState {
    const known = this.states[node]
    if (known !== undefined) return known
    const made: NodeState = { completed: false, completedChildren: 0, status: STATUS.ok }
    this.states[node] = made
    return made
  }

  /** `WWW-Authenticate` of a refusal (filter.cc). */
  challenge(status: Status): string {
    const realm = `Bearer realm="${this.scheme}://${this.authority}${this.path.slice(0, 256)}"`
    return status === STATUS.missed ? realm : `${realm}, error="invalid_token"`
  }

  /** Keeps a part of a token, or a failure, for the dynamic metadata. */
  extract(name: string, data: JsonObject): void {
    this.extracted ??= Object.create(null) as Record<string, JsonObject>
    this.extracted[name] = data
  }

  /** Hands a text on to the upstream. Claims may hold control characters. */
  add(name: HeaderName, text: string): void {
    if (name.name.startsWith(':') || !isHeaderName(name.name)) this.unsendable ??= `invalid header name: ${name.name}`
    else if (!isHeaderValue(text)) this.unsendable ??= `invalid header value for: ${name.name}`
    else this.head.add(name, text)
  }

  /** Takes a token out of the request. What is left of a query is decoded then, and may be unfit for a path. */
  remove(location: Location): void {
    const { head } = this
    const before = head.path
    location.remove(head)
    if (head.path !== before && !isHeaderValue(head.path)) this.unsendable ??= 'invalid header value for: :path'
  }

  /** An authenticator waits for keys. */
  waitFor(authenticator: Authenticator): void {
    this.pending ??= []
    this.pending.push(authenticator)
  }

  /** The root is done: nobody else is waited for. */
  finish(status: Status): void {
    if (this.extracted !== undefined) this.slot.setMetadata('envoy.filters.http.jwt_authn', this.extracted)
    this.status = status
    this.cancel()
    if (this.waiting) this.owner.onVerified(this, this.slot)
  }

  /** Gives up what is under way. */
  cancel(): void {
    const { pending } = this
    this.pending = undefined
    if (pending !== undefined) for (const authenticator of pending) authenticator.cancel()
  }
}
