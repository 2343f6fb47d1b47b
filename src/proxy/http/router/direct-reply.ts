import type { FilterSlot } from '../filter-slot.ts'
import type { RequestHead } from '../headers.ts'
import { DETAILS } from '../local-replies.ts'
import { H } from '../names.ts'
import type { Route } from './route.ts'

/** Answers a request whose route is a redirect or a fixed response. */
export function replyDirectly(slot: FilterSlot, route: Route, head: RequestHead): void {
  const { redirect, direct } = route
  const location = redirect !== undefined ? redirect.location(head) : direct!.location(head)
  slot.sendLocalReply(
    {
      status: redirect?.status ?? direct!.status,
      body: direct?.bodyFor(slot.info) ?? '',
      contentType: direct?.contentType,
      details: DETAILS.directResponse,
      flag: undefined,
    },
    location === undefined ? undefined : (reply) => reply.set(H.location, location),
  )
}
