import type { Message } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import type {
  DeltaDiscoveryResponse,
  DiscoveryResponse,
  Resource,
} from '#gen/envoy/service/discovery/v3/discovery_pb.js'
import { messageIn, TYPE_URL_PREFIX, typeNameOf } from './messages.ts'
import { resourceName } from './resource-types.ts'
import type { AdsResponse } from './stream.ts'
import { constraintText, type Violation, validate } from './validate.ts'

/** A resource as received. */
export interface ReceivedResource {
  readonly name: string
  readonly version: string
  readonly resource: Message
}

/** A response taken apart, or why it is refused as a whole. */
export interface DecodedResponse {
  readonly resources: readonly ReceivedResource[]
  readonly removed: readonly string[]
  readonly errors: readonly string[]
}

const WRAPPER = `${TYPE_URL_PREFIX}envoy.service.discovery.v3.Resource`

/**
 * Opens every resource of a response and checks it against its field constraints. What Envoy refuses a whole response
 * for is in `errors`, in its words (source/extensions/config_subscription/grpc, delta_subscription_state.cc and
 * grpc_mux_impl.cc): a resource of another type, a name that comes twice, bytes or constraints that are broken.
 */
export function decodeResponse(response: AdsResponse): DecodedResponse {
  const decoder = new Decoder(response.typeUrl)
  if (response.$typeName === 'envoy.service.discovery.v3.DeltaDiscoveryResponse') {
    const { resources, removedResources } = response as DeltaDiscoveryResponse
    for (const wrapped of resources) decoder.wrapped(wrapped)
    for (const name of removedResources) decoder.removal(name)
    return { resources: decoder.resources, removed: removedResources, errors: decoder.errors }
  }
  const { resources, versionInfo } = response as DiscoveryResponse
  for (const any of resources) {
    if (any.typeUrl === WRAPPER) decoder.wrapped(messageIn(any) as Resource)
    else decoder.add(any, versionInfo)
  }
  return { resources: decoder.resources, removed: [], errors: decoder.errors }
}

const checked = new WeakMap<Message, readonly Violation[]>()

/** In memory, many clients get the same resource: it is checked once. */
function violationsOf(resource: Message): readonly Violation[] {
  let violations = checked.get(resource)
  if (!violations) {
    violations = validate(resource)
    checked.set(resource, violations)
  }
  return violations
}

class Decoder {
  readonly resources: ReceivedResource[] = []
  readonly errors: string[] = []
  private readonly names = new Set<string>()
  private readonly typeUrl: string

  constructor(typeUrl: string) {
    this.typeUrl = typeUrl
  }

  wrapped({ name, version, resource }: Resource): void {
    // Without content it only renews the lifetime of what is held.
    if (resource) this.add(resource, version, name)
  }

  add(any: Any, version: string, given?: string): void {
    if (typeNameOf(any.typeUrl) !== typeNameOf(this.typeUrl)) {
      this.errors.push(
        `type URL ${any.typeUrl} embedded in an individual Any does not match the message-wide type URL ${this.typeUrl}`,
      )
      return
    }
    let resource: Message
    try {
      resource = messageIn(any)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      this.errors.push(`Unable to unpack as ${typeNameOf(any.typeUrl)}: ${given ? `${given}: ` : ''}${why}`)
      return
    }
    const name = given || resourceName(resource)
    if (this.names.has(name)) {
      this.errors.push(`duplicate name ${name} found among added/updated resources`)
      return
    }
    this.names.add(name)
    const violations = violationsOf(resource)
    if (violations.length) this.errors.push(`${name}: ${constraintText(violations)}`)
    else this.resources.push({ name, version, resource })
  }

  removal(name: string): void {
    if (this.names.has(name)) this.errors.push(`duplicate name ${name} found in the union of added+removed resources`)
    this.names.add(name)
  }
}
