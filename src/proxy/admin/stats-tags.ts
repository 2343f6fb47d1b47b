import type { StatsConfig } from '#gen/envoy/config/metrics/v3/stats_pb.js'
import type { StatsTagRules } from './view.ts'

/**
 * One rule: what the whole pattern's first group holds is cut out of the name, what its second group holds is the
 * label's value.
 */
interface Rule {
  readonly tag: string
  readonly pattern: RegExp
  /** A quick look before the pattern runs. */
  readonly needs?: string
}

const ADDRESS = String.raw`(?:(?:\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[[a-fA-F_\d]+\])_\d+)`
const TAG = String.raw`[^\.]+`

/** `prefix.$.**` of well_known_names.cc: the segment after the prefix is the tag. */
function after(tag: string, prefix: string): Rule {
  return { tag, pattern: new RegExp(String.raw`^${prefix}\.((${TAG})\.)`) }
}

/** The tags that Envoy extracts by default, in its order (source/common/config/well_known_names.cc). */
const DEFAULT_RULES: readonly Rule[] = [
  { tag: 'envoy.response_code', pattern: /_rq(_(\d{3}))$/, needs: '_rq_' },
  { tag: 'envoy.response_code_class', pattern: /_rq_((\d))xx$/, needs: '_rq_' },
  { tag: 'envoy.grpc_bridge_method', pattern: /^cluster\.[^.]+\.grpc\.[^.]+\.(([^.]+)\.)/, needs: '.grpc.' },
  { tag: 'envoy.http_user_agent', pattern: /^http\.[^.]+\.user_agent\.(([^.]+)\.)/, needs: '.user_agent.' },
  { tag: 'envoy.virtual_cluster', pattern: /^vhost\.[^.]+\.vcluster\.(([^.]+)\.)/, needs: '.vcluster.' },
  { tag: 'envoy.fault_downstream_cluster', pattern: /^http\.[^.]+\.fault\.(([^.]+)\.)/, needs: '.fault.' },
  { tag: 'envoy.ssl_cipher', pattern: /^listener\..*?\.ssl\.ciphers(\.([\w-]+))$/, needs: '.ssl.ciphers.' },
  { tag: 'envoy.ssl_curve', pattern: /^(?:listener|cluster)\..*?\.ssl\.curves(\.([\w-]+))$/, needs: '.ssl.curves.' },
  {
    tag: 'envoy.ssl_version',
    pattern: /^(?:listener|cluster)\..*?\.ssl\.versions(\.(TLSv\d(?:\.\d)?))$/,
    needs: '.ssl.versions.',
  },
  { tag: 'cipher_suite', pattern: /^cluster\.[^.]+\.ssl\.ciphers(\.([\w-]+))$/, needs: '.ssl.ciphers.' },
  { tag: 'envoy.grpc_bridge_service', pattern: /^cluster\.[^.]+\.grpc\.(([^.]+)\.)/, needs: '.grpc.' },
  after('envoy.tcp_prefix', 'tcp'),
  after('envoy.ratelimit_prefix', 'ratelimit'),
  after('envoy.cluster_name', 'cluster'),
  { tag: 'envoy.http_conn_manager_prefix', pattern: /^listener\..*?\.http\.(([^.]+)\.)/, needs: '.http.' },
  {
    tag: 'envoy.ext_authz_prefix',
    pattern: /^(?:cluster|http)\.(?:[^.]+\.)?ext_authz\.(([^.]+)\.)/,
    needs: 'ext_authz.',
  },
  after('envoy.http_conn_manager_prefix', 'http'),
  {
    tag: 'envoy.worker_id',
    pattern: new RegExp(String.raw`^(?:listener\.(?:${ADDRESS}|${TAG})|server|listener_manager)\.worker_((\d+)\.)`),
    needs: 'worker_',
  },
  { tag: 'envoy.listener_address', pattern: new RegExp(String.raw`^listener\.((?!admin\.)(${ADDRESS}|${TAG})\.)`) },
  after('envoy.virtual_host', 'vhost'),
  { tag: 'envoy.rds_route_config', pattern: /^http\.(?:[^.]+\.)?rds\.(([\w\-./]+)\.)\w+$/, needs: 'rds.' },
  { tag: 'envoy.route', pattern: /^vhost\.(?:[^.]+\.)?route\.(([^.]+)\.)/, needs: 'route.' },
  {
    tag: 'envoy.local_http_ratelimit_prefix',
    pattern: /^(([^.]+)\.)http_local_rate_limit\./,
    needs: 'http_local_rate_limit',
  },
  after('envoy.local_network_ratelimit_prefix', 'local_rate_limit'),
  after('envoy.connection_limit_prefix', 'connection_limit'),
  after('envoy.dns_filter_prefix', 'dns_filter'),
]

/** Names and labels by the bootstrap's `stats_config`: its own tags first, then the default ones unless switched off. */
export function compileStatsTags(config: StatsConfig | undefined): StatsTagRules {
  const rules: Rule[] = []
  const fixed: [string, string][] = []
  for (const specifier of config?.statsTags ?? []) {
    const { tagName, tagValue } = specifier
    if (tagValue.case === 'fixedValue') fixed.push([tagName, tagValue.value])
    else if (tagValue.case === 'regex' && tagValue.value !== '') {
      rules.push({ tag: tagName, pattern: new RegExp(tagValue.value) })
    } else {
      rules.push(...DEFAULT_RULES.filter((r) => r.tag === tagName))
    }
  }
  if (config?.useAllDefaultTags ?? true) {
    const own = new Set(rules.map((r) => r.tag))
    rules.push(...DEFAULT_RULES.filter((r) => !own.has(r.tag)))
  }
  return { extract: (name) => extract(name, rules, fixed) }
}

/** Every rule looks at the whole name; what they found is cut out in the end, as in tag_producer_impl.cc. */
function extract(name: string, rules: readonly Rule[], fixed: readonly (readonly [string, string])[]) {
  const tags: (readonly [string, string])[] = [...fixed]
  const found = new Set<string>()
  let left = name
  for (const rule of rules) {
    if (found.has(rule.tag) || (rule.needs !== undefined && !left.includes(rule.needs))) continue
    const match = rule.pattern.exec(left) ?? undefined
    const cut = match?.[1]
    if (!match || cut === undefined) continue
    const value = match[2] ?? cut
    const at = match.index + match[0].indexOf(cut)
    found.add(rule.tag)
    tags.push([rule.tag, value])
    left = left.slice(0, at) + left.slice(at + cut.length)
  }
  return { name: left, tags }
}
