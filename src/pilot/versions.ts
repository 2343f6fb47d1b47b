import type { Message } from '@bufbuild/protobuf'
import { pack } from '../xds/messages.ts'
import { sameMessage } from '../xds/same-message.ts'
import type { VersionedResource } from '../xds/snapshot.ts'

/**
 * Gives versions to resources: the same message is the same resource, and so is one that says the same as what a
 * client already has, so that only what really changed is sent.
 */
export class Versions {
  readonly #prefix: string
  readonly #known = new WeakMap<Message, VersionedResource>()
  readonly #messages = new WeakMap<VersionedResource, Message>()
  #next = 1

  /** Versions of another pilot must not be taken for those of this one, hence the prefix. */
  constructor(prefix: string) {
    this.#prefix = prefix
  }

  /** The resource of a message; `before` is what the client has of that name. */
  of(message: Message, before: VersionedResource | undefined): VersionedResource {
    const known = this.#known.get(message)
    if (known) return known
    const old = before && this.#messages.get(before)
    const resource =
      before && old && sameMessage(old, message)
        ? before
        : { version: `${this.#prefix}/${this.#next++}`, resource: pack(message) }
    this.#known.set(message, resource)
    this.#messages.set(resource, this.#messages.get(resource) ?? message)
    return resource
  }
}
