import type {
  HeaderMutation as HeaderMutationConfig,
  HeaderMutationPerRoute,
  Mutations as MutationsProto,
} from '#gen/envoy/extensions/filters/http/header_mutation/v3/header_mutation_pb.js'
import type { Runtime } from '../../runtime.ts'
import { Problems } from '../http/config.ts'
import type { FilterSlot } from '../http/filter-slot.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../http/headers.ts'
import { unsendableReply } from '../http/local-replies.ts'
import { isHeaderValue } from '../http/mutation-rules.ts'
import { MutationList } from '../http/router/mutation-list.ts'
import { HeadersStatus, type HttpFilter, type HttpFilterKind, TrailersStatus } from './filter.ts'
import { compileQueryMutation, mutateQuery, type QueryMutation } from './header-mutation-query.ts'

/** The mutations of one level. */
interface Mutations {
  readonly request: MutationList
  readonly response: MutationList
  readonly requestTrailers: MutationList
  readonly responseTrailers: MutationList
  readonly query: readonly QueryMutation[]
}

function compile(config: MutationsProto | undefined, runtime: Runtime): Mutations {
  const problems = new Problems()
  const list = (mutations: MutationsProto['requestMutations'] | undefined, field: string) =>
    problems.collect('mutations', () => new MutationList(mutations ?? [], runtime, field))!
  const query = (config?.queryParameterMutations ?? []).flatMap(
    (m, i) =>
      problems.collect(`mutations.query_parameter_mutations[${i}]`, () => compileQueryMutation(m, runtime)) ?? [],
  )
  const compiled = {
    request: list(config?.requestMutations, 'request_mutations'),
    response: list(config?.responseMutations, 'response_mutations'),
    requestTrailers: list(config?.requestTrailersMutations, 'request_trailers_mutations'),
    responseTrailers: list(config?.responseTrailersMutations, 'response_trailers_mutations'),
    query,
  }
  problems.throwIfAny()
  return compiled
}

type Field = 'response' | 'requestTrailers' | 'responseTrailers'

/** Keeps nothing of an exchange: one for all of them. */
class HeaderMutationFilter implements HttpFilter {
  private readonly own: Mutations
  private readonly mostSpecificWins: boolean

  constructor(own: Mutations, mostSpecificWins: boolean) {
    this.own = own
    this.mostSpecificWins = mostSpecificWins
  }

  /** The filter's own mutations, then the levels' of the route: what comes last has the last word. */
  private levels(slot: FilterSlot): readonly Mutations[] {
    const levels = slot.perRouteAll() as Mutations[]
    return [this.own, ...(this.mostSpecificWins ? levels.toReversed() : levels)]
  }

  private apply(field: Field, head: HeaderMap, slot: FilterSlot): void {
    for (const level of this.levels(slot)) level[field].apply(head, slot.info)
  }

  decodeHeaders(head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    let decoded = false
    for (const level of this.levels(slot)) {
      level.request.apply(head, slot.info)
      if (level.query.length === 0) continue
      head.path = mutateQuery(head.path, level.query, slot.info)
      decoded = true
    }
    if (!decoded || isHeaderValue(head.path)) return HeadersStatus.CONTINUE
    // What was escaped in the query is no more.
    slot.sendLocalReply(unsendableReply('invalid header value for: :path'))
    return HeadersStatus.STOP
  }

  decodeTrailers(trailers: HeaderMap, slot: FilterSlot): TrailersStatus {
    this.apply('requestTrailers', trailers, slot)
    return TrailersStatus.CONTINUE
  }

  encodeHeaders(head: ResponseHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    this.apply('response', head, slot)
    return HeadersStatus.CONTINUE
  }

  encodeTrailers(trailers: HeaderMap, slot: FilterSlot): TrailersStatus {
    this.apply('responseTrailers', trailers, slot)
    return TrailersStatus.CONTINUE
  }
}

/** `envoy.filters.http.header_mutation`: changes headers, trailers and query parameters (source/extensions/filters/http/header_mutation). */
export const headerMutationFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.header_mutation.v3.HeaderMutation',
  name: 'envoy.filters.http.header_mutation',
  build(message, context) {
    const config = message as HeaderMutationConfig
    const own = compile(config.mutations, context.proxy.runtime)
    const filter = new HeaderMutationFilter(own, config.mostSpecificHeaderMutationsWins)
    return { create: () => filter }
  },
  perRouteType: 'envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute',
  buildPerRoute: (message, runtime) => compile((message as HeaderMutationPerRoute).mutations, runtime),
}
