import type { StatsConfig } from '#gen/envoy/config/metrics/v3/stats_pb.js'
import { ConfigError } from '../context.ts'

/** A label of a metric. */
export interface Tag {
  readonly name: string
  readonly value: string
}

/** A metric's name without its tag values, and the tags. */
export interface TaggedName {
  readonly name: string
  readonly tags: readonly Tag[]
}

/** The character range to leave out of the name, and what it means. */
interface Match {
  readonly tag: Tag
  readonly from: number
  readonly to: number
}

/** Finds one tag in a metric's name. */
export interface TagExtractor {
  readonly tagName: string
  /** Only names that begin with this token can match; empty: any. */
  readonly firstToken: string
  extract(name: string, tokens: readonly string[]): Match | undefined
}

const TAG_VALUE = '[^\\.]+'
const ADDRESS = '(?:(?:\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}|\\[[a-fA-F_\\d]+\\])_\\d+)'
const LISTENER_OR_CLUSTER = '(?:listener|cluster)\\..*?'

/**
 * An extractor by regular expression (source/common/stats/tag_extractor_impl.cc): the first group is cut out of
 * the name, the second, or else the first, is the value. `substring`: names without it are skipped. `except`: a
 * value that is no tag.
 */
export function regexExtractor(tag: string, pattern: string, substring = '', except = ''): TagExtractor {
  const regex = new RegExp(pattern, 'd')
  return {
    tagName: tag,
    firstToken: /^\^([A-Za-z0-9_]+)(?:\\\.|\(\?=\\\.|\$$)/.exec(pattern)?.[1] ?? '',
    extract(name) {
      if (substring !== '' && !name.includes(substring)) return undefined
      const found = regex.exec(name)
      const range = found?.indices?.[1]
      if (!found || !range || range[0] === range[1]) return undefined
      const value = found[2] || found[1]!
      if (except !== '' && value === except) return undefined
      return { tag: { name: tag, value }, from: range[0], to: range[1] }
    },
  }
}

/** An extractor by tokens between dots: `*` any one, `**` any number, `$` the tag. */
function tokenExtractor(tag: string, pattern: string): TagExtractor {
  const wanted = pattern.split('.')
  const search = (tokens: readonly string[], at: number, wantedAt: number): number | undefined => {
    let value: number | undefined
    let i = at
    let w = wantedAt
    for (; i < tokens.length && w < wanted.length; i++, w++) {
      const want = wanted[w]!
      if (want === '$') value = i
      else if (want === '**') {
        if (w === wanted.length - 1) return value ?? -1
        for (let from = i; from < tokens.length; from++) {
          const rest = search(tokens, from, w + 1)
          if (rest !== undefined) return rest === -1 ? (value ?? -1) : rest
        }
        return undefined
      } else if (want !== '*' && want !== tokens[i]) return undefined
    }
    return w === wanted.length && i === tokens.length ? (value ?? -1) : undefined
  }
  return {
    tagName: tag,
    firstToken: ['$', '*', '**'].includes(wanted[0]!) ? '' : wanted[0]!,
    extract(_name, tokens) {
      const found = search(tokens, 0, 0)
      if (found === undefined || found < 0) return undefined
      let from = 0
      for (let i = 0; i < found; i++) from += tokens[i]!.length + 1
      const value = tokens[found]!
      const to = from + value.length
      const last = found === tokens.length - 1
      return { tag: { name: tag, value }, from: last && from > 0 ? from - 1 : from, to: last ? to : to + 1 }
    },
  }
}

/** Takes the tags out of metric names; answers are kept, since a store has the same names at each scrape. */
export class TagProducer {
  readonly #extractors: readonly TagExtractor[]
  readonly #fixed: readonly Tag[]
  readonly #known = new Map<string, TaggedName>()

  /** `fixed`: tags of every metric. */
  constructor(extractors: readonly TagExtractor[], fixed: readonly Tag[] = []) {
    this.#extractors = extractors
    this.#fixed = fixed
  }

  /** The name without tags, and the tags in the order of the extractors; only the first of a name counts. */
  produce(name: string): TaggedName {
    let tagged = this.#known.get(name)
    if (!tagged) {
      tagged = this.#extract(name)
      this.#known.set(name, tagged)
    }
    return tagged
  }

  #extract(name: string): TaggedName {
    const tokens = name.split('.')
    const tags: Tag[] = [...this.#fixed]
    const keep = new Array<boolean>(name.length).fill(true)
    for (const extractor of this.#extractors) {
      if (extractor.firstToken !== '' && extractor.firstToken !== tokens[0]) continue
      const match = extractor.extract(name, tokens)
      if (!match || tags.some((t) => t.name === match.tag.name)) continue
      tags.push(match.tag)
      keep.fill(false, match.from, match.to)
    }
    let rest = ''
    for (let i = 0; i < name.length; i++) if (keep[i]) rest += name[i]
    return { name: rest, tags }
  }
}

/** Envoy's default extractors (source/common/config/well_known_names.cc), less those of protocols that are not proxied here. */
const ENVOY_DEFAULTS: readonly TagExtractor[] = [
  regexExtractor('envoy.response_code', '_rq(_(\\d{3}))$', '_rq_'),
  regexExtractor('envoy.response_code_class', '_rq_((\\d))xx$', '_rq_'),
  regexExtractor('envoy.ssl_cipher', '^listener\\..*?\\.ssl\\.ciphers(\\.([\\w-]+))$', '.ssl.ciphers.'),
  regexExtractor('envoy.ssl_curve', `^${LISTENER_OR_CLUSTER}\\.ssl\\.curves(\\.([\\w-]+))$`, '.ssl.curves.'),
  regexExtractor('envoy.ssl_sigalg', `^${LISTENER_OR_CLUSTER}\\.ssl\\.sigalgs(\\.([\\w-]+))$`, '.ssl.sigalgs.'),
  regexExtractor(
    'envoy.ssl_version',
    `^${LISTENER_OR_CLUSTER}\\.ssl\\.versions(\\.(TLSv\\d\\.\\d))$`,
    '.ssl.versions.',
  ),
  regexExtractor('cipher_suite', `^cluster\\.${TAG_VALUE}\\.ssl\\.ciphers(\\.([\\w-]+))$`, '.ssl.ciphers.'),
  regexExtractor('envoy.http_conn_manager_prefix', `^listener\\..*?\\.http\\.((${TAG_VALUE})\\.)`, '.http.'),
  regexExtractor(
    'envoy.worker_id',
    `^(?:listener\\.(?:${ADDRESS}|${TAG_VALUE})|server|listener_manager|thread_local_cluster_manager)\\.worker_((\\d+)\\.)`,
  ),
  regexExtractor('envoy.listener_address', `^listener\\.((${ADDRESS}|${TAG_VALUE})\\.)`, '', 'admin'),
  regexExtractor('envoy.rds_route_config', `^http\\.${TAG_VALUE}\\.rds\\.(([\\w\\-./]+)\\.)\\w+?$`, '.rds.'),
  regexExtractor(
    'envoy.scoped_rds_config',
    `^http\\.${TAG_VALUE}\\.scoped_rds\\.(([\\w\\-.]+)\\.)\\w+?$`,
    '.scoped_rds.',
  ),
  regexExtractor(
    'envoy.rbac_policy_name',
    `^http\\.${TAG_VALUE}\\.rbac\\.(?:${TAG_VALUE}\\.)?policy\\.((${TAG_VALUE})\\.)(?:allowed|shadow_allowed|denied|shadow_denied)$`,
  ),
  regexExtractor('envoy.rbac_http_prefix', `^http\\.${TAG_VALUE}\\.rbac\\.((${TAG_VALUE})\\.).*?`, '', 'policy'),
  regexExtractor('envoy.proxy_protocol_prefix', `^proxy_proto\\.((${TAG_VALUE})\\.).+$`, '', 'versions'),
  regexExtractor('envoy.proxy_protocol_version', `^proxy_proto\\.((?:${TAG_VALUE}\\.)?versions\\.v(\\d)\\.)\\w+$`),
  regexExtractor(
    'envoy.tls_certificate',
    `^${LISTENER_OR_CLUSTER}\\.ssl\\.certificate\\.((${TAG_VALUE})\\.).*$`,
    '.ssl.certificate',
  ),
  tokenExtractor('envoy.grpc_bridge_method', 'cluster.*.grpc.*.$.**'),
  tokenExtractor('envoy.http_user_agent', 'http.*.user_agent.$.**'),
  tokenExtractor('envoy.virtual_cluster', 'vhost.*.vcluster.$.**'),
  tokenExtractor('envoy.fault_downstream_cluster', 'http.*.fault.$.**'),
  tokenExtractor('envoy.grpc_bridge_service', 'cluster.*.grpc.$.**'),
  tokenExtractor('envoy.tcp_prefix', 'tcp.$.**'),
  tokenExtractor('envoy.udp_prefix', 'udp.$.**'),
  tokenExtractor('envoy.clientssl_prefix', 'auth.clientssl.$.**'),
  tokenExtractor('envoy.ratelimit_prefix', 'ratelimit.$.**'),
  tokenExtractor('envoy.cluster_name', 'cluster.$.**'),
  tokenExtractor('envoy.ext_authz_prefix', 'cluster.*.ext_authz.$.**'),
  tokenExtractor('envoy.ext_authz_prefix', 'http.*.ext_authz.$.**'),
  tokenExtractor('envoy.http_conn_manager_prefix', 'http.$.**'),
  tokenExtractor('envoy.virtual_host', 'vhost.$.**'),
  tokenExtractor('envoy.route', 'vhost.*.route.$.**'),
  tokenExtractor('envoy.local_http_ratelimit_prefix', '$.http_local_rate_limit.**'),
  tokenExtractor('envoy.local_network_ratelimit_prefix', 'local_rate_limit.$.**'),
  tokenExtractor('envoy.local_listener_ratelimit_prefix', 'listener_local_ratelimit.$.**'),
  tokenExtractor('envoy.dns_filter_prefix', 'dns_filter.$.**'),
  tokenExtractor('envoy.connection_limit_prefix', 'connection_limit.$.**'),
  tokenExtractor('envoy.rbac_prefix', '$.rbac.**'),
  tokenExtractor('envoy.google_grpc_client_prefix', 'grpc.$.**'),
]

/** The order in which Envoy tries them: those without a fixed first token come first. */
function inOrder(extractors: readonly TagExtractor[]): TagExtractor[] {
  return [...extractors.filter((e) => e.firstToken === ''), ...extractors.filter((e) => e.firstToken !== '')]
}

/**
 * The extractors that a bootstrap's stats_config asks for (source/common/stats/tag_producer_impl.cc): the
 * default ones unless `use_all_default_tags` is false, then its own. A tag without regex or value takes the
 * default extractor of that name. Throws ConfigError.
 */
export function tagProducer(config: StatsConfig | undefined): TagProducer {
  const extractors: TagExtractor[] = (config?.useAllDefaultTags ?? true) ? [...ENVOY_DEFAULTS] : []
  const fixed: Tag[] = []
  for (const { tagName, tagValue } of config?.statsTags ?? []) {
    if (tagValue.case === 'fixedValue') fixed.push({ name: tagName, value: tagValue.value })
    else if (tagValue.case === 'regex' && tagValue.value !== '') {
      try {
        extractors.push(regexExtractor(tagName, tagValue.value))
      } catch {
        throw new ConfigError([`stats_config.stats_tags: invalid regex '${tagValue.value}'`])
      }
    } else {
      const known = ENVOY_DEFAULTS.filter((e) => e.tagName === tagName)
      if (known.length === 0) {
        throw new ConfigError([`No regex specified for tag specifier and no default regex for name: '${tagName}'`])
      }
      extractors.push(...known)
    }
  }
  return new TagProducer(inOrder(extractors), fixed)
}
