// Fields that Envoy has gained since the shipped .proto files: up to 1.38, where the rest of Envoy's extensions is
// concerned that a mesh configures. By file: what to import, what to add to which message (or oneof of a message, as
// `Message.oneof_name`; nested messages as `Outer.Inner`), and new top-level types.

const MATCHER = 'xds/type/matcher/v3/matcher.proto'
const ROUTE = 'envoy/config/route/v3/route_components.proto'

export const newer = {
  'envoy/config/accesslog/v3/accesslog.proto': { add: { 'ComparisonFilter.Op': 'NE = 3;' } },
  'envoy/config/bootstrap/v3/bootstrap.proto': {
    imports: ['envoy/type/matcher/v3/string.proto'],
    add: {
      Admin: 'repeated type.matcher.v3.StringMatcher allow_paths = 7;',
      Bootstrap: 'google.protobuf.Duration stats_eviction_interval = 42;',
    },
  },
  'envoy/config/cluster/v3/cluster.proto': {
    imports: [MATCHER],
    add: {
      Cluster: 'google.protobuf.Duration dns_jitter = 58; xds.type.matcher.v3.Matcher transport_socket_matcher = 59;',
    },
  },
  'envoy/config/common/mutation_rules/v3/mutation_rules.proto': {
    imports: ['envoy/type/matcher/v3/string.proto'],
    add: {
      HeaderMutation: `
        message RemoveOnMatch {
          type.matcher.v3.StringMatcher key_matcher = 1 [(validate.rules).message = {required: true}];
        }`,
      'HeaderMutation.action': 'RemoveOnMatch remove_on_match = 3;',
    },
  },
  'envoy/config/core/v3/address.proto': { add: { SocketAddress: 'string network_namespace_filepath = 7;' } },
  'envoy/config/core/v3/base.proto': {
    add: { KeyValueAppend: 'KeyValuePair record = 3;' },
    types: `
      message KeyValuePair {
        string key = 1 [(validate.rules).string = {min_len: 1 max_bytes: 16384}];
        google.protobuf.Value value = 2;
      }`,
  },
  'envoy/config/core/v3/protocol.proto': {
    imports: ['envoy/type/matcher/v3/string.proto'],
    add: {
      Http1ProtocolOptions: 'repeated type.matcher.v3.StringMatcher ignore_http_11_upgrade = 11;',
      Http2ProtocolOptions:
        'google.protobuf.UInt64Value max_metadata_size = 17; google.protobuf.BoolValue enable_huffman_encoding = 18;',
      HttpProtocolOptions: 'google.protobuf.UInt32Value max_response_headers_kb = 7;',
    },
  },
  'envoy/config/core/v3/proxy_protocol.proto': {
    imports: ['envoy/config/core/v3/substitution_format_string.proto'],
    add: { ProxyProtocolConfig: 'repeated TlvEntry added_tlvs = 3;' },
    types: `
      message TlvEntry {
        uint32 type = 1 [(validate.rules).uint32 = {lt: 256}];
        bytes value = 2;
        SubstitutionFormatString format_string = 3;
      }
      message PerHostConfig { repeated TlvEntry added_tlvs = 1; }`,
  },
  'envoy/config/listener/v3/listener.proto': {
    add: {
      AdditionalAddress: 'core.v3.TcpKeepalive tcp_keepalive = 3;',
      Listener: 'core.v3.TcpKeepalive tcp_keepalive = 37;',
    },
  },
  'envoy/config/rbac/v3/rbac.proto': {
    imports: ['envoy/config/core/v3/cel.proto'],
    add: {
      Policy: 'core.v3.CelExpressionConfig cel_config = 5;',
      'Permission.rule': 'SourcedMetadata sourced_metadata = 14;',
      'Principal.identifier': 'SourcedMetadata sourced_metadata = 13; core.v3.TypedExtensionConfig custom = 14;',
    },
    types: `
      enum MetadataSource { DYNAMIC = 0; ROUTE = 1; }
      message SourcedMetadata {
        type.matcher.v3.MetadataMatcher metadata_matcher = 1 [(validate.rules).message = {required: true}];
        MetadataSource metadata_source = 2 [(validate.rules).enum = {defined_only: true}];
      }`,
  },
  'envoy/config/route/v3/route.proto': { add: { RouteConfiguration: 'string vhost_header = 18;' } },
  [ROUTE]: {
    imports: [
      'envoy/config/common/mutation_rules/v3/mutation_rules.proto',
      'envoy/config/core/v3/substitution_format_string.proto',
      'envoy/type/matcher/v3/address.proto',
      'envoy/type/matcher/v3/filter_state.proto',
      'envoy/type/v3/ratelimit_unit.proto',
    ],
    add: {
      VirtualHost: 'google.protobuf.UInt64Value request_body_buffer_limit = 25;',
      Route: 'google.protobuf.UInt64Value request_body_buffer_limit = 20;',
      RouteMatch: 'repeated CookieMatcher cookies = 17; repeated type.matcher.v3.FilterStateMatcher filter_state = 16;',
      RouteAction: 'string path_rewrite = 45; google.protobuf.Duration flush_timeout = 42;',
      'RouteAction.host_rewrite_specifier': 'string host_rewrite = 44;',
      'RouteAction.RequestMirrorPolicy':
        'repeated common.mutation_rules.v3.HeaderMutation request_headers_mutations = 7; string host_rewrite_literal = 8;',
      'WeightedCluster.random_value_specifier': 'google.protobuf.BoolValue use_hash_policy = 5;',
      DirectResponseAction: 'core.v3.SubstitutionFormatString body_format = 3;',
      Tracing: 'string operation = 5; string upstream_operation = 6;',
      RateLimit: `
        message HitsAddend {
          google.protobuf.UInt64Value number = 1 [(validate.rules).uint64 = {lte: 1000000000}];
          string format = 2 [(validate.rules).string = {prefix: "%" suffix: "%" ignore_empty: true}];
          bool is_negative_hits = 3;
        }
        enum XRateLimitOption { UNSPECIFIED = 0; OFF = 1; DRAFT_VERSION_03 = 2; }
        HitsAddend hits_addend = 5;
        bool apply_on_stream_done = 6;
        XRateLimitOption x_ratelimit_option = 7;`,
      'RateLimit.Override': `
        message RateLimitOverride {
          uint32 requests_per_unit = 1;
          type.v3.RateLimitUnit unit = 2;
        }`,
      'RateLimit.Override.override_specifier': 'RateLimitOverride rate_limit = 2;',
      'RateLimit.Action': `
        message RemoteAddressMatch {
          string descriptor_value = 1 [(validate.rules).string = {min_len: 1}];
          string descriptor_key = 2;
          string default_value = 3;
          type.matcher.v3.AddressMatcher address_matcher = 4 [(validate.rules).message = {required: true}];
        }
        message QueryParameters {
          string query_parameter_name = 1 [(validate.rules).string = {min_len: 1}];
          string descriptor_key = 2 [(validate.rules).string = {min_len: 1}];
          bool skip_if_absent = 3;
        }`,
      'RateLimit.Action.action_specifier':
        'QueryParameters query_parameters = 12; RemoteAddressMatch remote_address_match = 13;',
      'RateLimit.Action.MetaData.Source': 'CLUSTER_ENTRY = 2; CLUSTER_LOCALITY_ENTRY = 3;',
      'RateLimit.Action.GenericKey': 'string default_value = 3;',
      'RateLimit.Action.HeaderValueMatch': 'string default_value = 5;',
      'RateLimit.Action.QueryParameterValueMatch': 'string default_value = 5;',
    },
    types: `
      message CookieMatcher {
        string name = 1 [(validate.rules).string = {min_len: 1 max_bytes: 1024}];
        type.matcher.v3.StringMatcher string_match = 2 [(validate.rules).message = {required: true}];
        bool invert_match = 3;
      }`,
  },
  'envoy/config/trace/v3/opentelemetry.proto': {
    imports: ['google/protobuf/wrappers.proto'],
    add: { OpenTelemetryConfig: 'google.protobuf.UInt32Value max_cache_size = 6;' },
  },
  'envoy/config/trace/v3/zipkin.proto': {
    imports: ['envoy/config/core/v3/http_service.proto'],
    add: {
      ZipkinConfig: `
        enum TraceContextOption { USE_B3 = 0; USE_B3_WITH_W3C_PROPAGATION = 1; }
        TraceContextOption trace_context_option = 8;
        core.v3.HttpService collector_service = 9;`,
    },
  },
  'envoy/extensions/filters/http/adaptive_concurrency/v3/adaptive_concurrency.proto': {
    add: {
      'GradientControllerConfig.ConcurrencyLimitCalculationParams':
        'google.protobuf.UInt32Value min_concurrency_limit = 4 [(validate.rules).uint32 = {gt: 0}];',
      'GradientControllerConfig.MinimumRTTCalculationParams':
        'google.protobuf.Duration fixed_value = 6 [(validate.rules).duration = {gt {}}];',
    },
  },
  'envoy/extensions/filters/http/compressor/v3/compressor.proto': {
    imports: ['envoy/type/matcher/v3/string.proto'],
    add: {
      'Compressor.CommonDirectionConfig': 'repeated type.matcher.v3.StringMatcher content_type_matcher = 4;',
      'Compressor.ResponseDirectionConfig': `
        repeated uint32 uncompressible_response_codes = 4
          [(validate.rules).repeated = {unique: true items {uint32 {lt: 600 gte: 200}}}];
        bool status_header_enabled = 5;
        bool weaken_etag_on_compress = 6;`,
      CompressorOverrides: 'config.core.v3.TypedExtensionConfig compressor_library = 2;',
    },
  },
  'envoy/extensions/filters/http/ext_authz/v3/ext_authz.proto': {
    add: {
      ExtAuthz: `
        google.protobuf.Struct filter_metadata = 28;
        bool emit_filter_state_stats = 29;
        uint32 max_denied_response_body_bytes = 30;
        bool enforce_response_header_limits = 31;
        bool shadow_mode = 32;
        google.protobuf.BoolValue emit_client_span = 33;
        repeated string clear_route_cache_headers = 34;`,
      CheckSettings: `
        oneof service_override {
          config.core.v3.GrpcService grpc_service = 4;
          HttpService http_service = 5;
        }
        google.protobuf.BoolValue emit_client_span = 6;`,
      HttpService: 'config.core.v3.RetryPolicy retry_policy = 9; string path_override = 10;',
    },
    imports: ['google/protobuf/struct.proto'],
  },
  'envoy/extensions/common/ratelimit/v3/ratelimit.proto': {
    imports: ['google/protobuf/wrappers.proto'],
    add: {
      RateLimitDescriptor: 'google.protobuf.UInt64Value hits_addend = 3; bool is_negative_hits = 4;',
      'RateLimitDescriptor.RateLimitOverride':
        'google.protobuf.UInt32Value unit_multiplier = 3 [(validate.rules).uint32 = {gt: 0}];',
      LocalRateLimitDescriptor: 'bool shadow_mode = 3;',
    },
  },
  'envoy/extensions/filters/http/basic_auth/v3/basic_auth.proto': {
    add: {
      BasicAuth:
        'string authentication_header = 3 [(validate.rules).string = {well_known_regex: HTTP_HEADER_NAME strict: false}];',
    },
  },
  'envoy/extensions/filters/http/header_mutation/v3/header_mutation.proto': {
    imports: ['envoy/config/core/v3/base.proto'],
    add: {
      Mutations: `
        repeated config.core.v3.KeyValueMutation query_parameter_mutations = 3;
        repeated config.common.mutation_rules.v3.HeaderMutation response_trailers_mutations = 4;
        repeated config.common.mutation_rules.v3.HeaderMutation request_trailers_mutations = 5;`,
    },
  },
  'envoy/extensions/filters/http/header_to_metadata/v3/header_to_metadata.proto': {
    add: { Config: 'string stat_prefix = 3;' },
  },
  'envoy/extensions/filters/http/jwt_authn/v3/config.proto': {
    add: {
      JwtAuthentication: 'string stat_prefix = 7;',
      JwtCacheConfig: 'uint32 jwt_max_token_size = 2;',
      JwtClaimToHeader: `
        message PathSegment {
          oneof segment {
            option (validate.required) = true;
            string key = 1 [(validate.rules).string = {min_len: 1}];
          }
        }
        repeated PathSegment claim_path = 3;`,
      'JwtRequirement.requires_type': 'ExtractOnlyWithoutValidation extract_only_without_validation = 7;',
    },
    types: 'message ExtractOnlyWithoutValidation { string verification_status_header = 1; }',
  },
  'envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.proto': {
    imports: [ROUTE],
    add: {
      LocalRateLimit:
        'repeated config.route.v3.RateLimit rate_limits = 17; ' +
        'google.protobuf.UInt32Value max_dynamic_descriptors = 18; bool enable_retry_after_header = 19;',
    },
  },
  'envoy/extensions/filters/http/lua/v3/lua.proto': {
    imports: ['google/protobuf/struct.proto', 'google/protobuf/wrappers.proto'],
    add: {
      Lua: `
        google.protobuf.BoolValue clear_route_cache = 5;
        google.protobuf.Struct filter_context = 6;
        repeated string package_paths = 7 [(validate.rules).repeated = {items {string {min_len: 1}}}];
        repeated string package_cpaths = 8 [(validate.rules).repeated = {items {string {min_len: 1}}}];
        string shared_vm_id = 9;`,
      LuaPerRoute: `
        google.protobuf.Struct filter_context = 4;
        repeated string package_paths = 5 [(validate.rules).repeated = {items {string {min_len: 1}}}];
        repeated string package_cpaths = 6 [(validate.rules).repeated = {items {string {min_len: 1}}}];
        string shared_vm_id = 7;`,
    },
  },
  'envoy/extensions/filters/http/ratelimit/v3/rate_limit.proto': {
    add: {
      RateLimit: `
        config.core.v3.RuntimeFractionalPercent filter_enabled = 14;
        config.core.v3.RuntimeFractionalPercent filter_enforced = 15;
        config.core.v3.RuntimeFractionalPercent failure_mode_deny_percent = 16;
        repeated config.route.v3.RateLimit rate_limits = 17;
        string metadata_namespace = 18;
        bool enable_retry_after_header = 19;`,
    },
  },
  'envoy/extensions/filters/http/router/v3/router.proto': {
    add: { Router: 'google.protobuf.BoolValue reject_connect_request_early_data = 10;' },
  },
  'envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto': {
    add: {
      TlsInspector: `
        google.protobuf.BoolValue enable_ja4_fingerprinting = 3;
        bool close_connection_on_client_hello_parsing_errors = 4;
        google.protobuf.UInt32Value max_client_hello_size = 5;`,
    },
  },
  'envoy/extensions/filters/network/ext_authz/v3/ext_authz.proto': {
    add: {
      ExtAuthz: `
        bool send_tls_alert_on_denial = 9;
        repeated string metadata_context_namespaces = 10;
        repeated string typed_metadata_context_namespaces = 11;
        bool shadow_mode = 12;`,
    },
  },
  'envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto': {
    imports: [MATCHER],
    add: {
      HttpConnectionManager: `
        bool http1_safe_max_connection_duration = 58;
        google.protobuf.Duration stream_flush_timeout = 59;
        xds.type.matcher.v3.Matcher forward_client_cert_matcher = 60;
        ForwardProtoConfig forward_proto_config = 61;`,
      'HttpConnectionManager.Tracing': 'string operation = 11; string upstream_operation = 12;',
    },
    types: `
      message ForwardProtoConfig {
        repeated uint32 https_destination_ports = 1;
        repeated uint32 http_destination_ports = 2;
      }`,
  },
  'envoy/extensions/filters/network/rbac/v3/rbac.proto': {
    imports: ['google/protobuf/duration.proto'],
    add: { RBAC: 'google.protobuf.Duration delay_deny = 8;' },
  },
  'envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto': {
    imports: ['envoy/config/core/v3/backoff.proto', 'envoy/type/v3/percent.proto'],
    add: {
      TcpProxy: `
        config.core.v3.BackoffStrategy backoff_options = 18;
        type.v3.Percent max_downstream_connection_duration_jitter_percentage = 20;
        UpstreamConnectMode upstream_connect_mode = 21;
        google.protobuf.UInt32Value max_early_data_bytes = 22;`,
      'TcpProxy.TcpAccessLogOptions': 'bool flush_access_log_on_start = 3;',
      'TcpProxy.TunnelingConfig': 'string request_id_header = 8; string request_id_metadata_key = 9;',
    },
    types: 'enum UpstreamConnectMode { IMMEDIATE = 0; ON_DOWNSTREAM_DATA = 1; ON_DOWNSTREAM_TLS_HANDSHAKE = 2; }',
  },
  'envoy/extensions/http/original_ip_detection/xff/v3/xff.proto': {
    imports: ['envoy/config/core/v3/address.proto', 'google/protobuf/wrappers.proto'],
    add: { XffConfig: 'XffTrustedCidrs xff_trusted_cidrs = 2; google.protobuf.BoolValue skip_xff_append = 3;' },
    types: 'message XffTrustedCidrs { repeated config.core.v3.CidrRange cidrs = 1; }',
  },
  'envoy/extensions/load_balancing_policies/common/v3/common.proto': {
    imports: [ROUTE],
    add: { ConsistentHashingLbConfig: 'repeated config.route.v3.RouteAction.HashPolicy hash_policy = 3;' },
  },
  'envoy/extensions/transport_sockets/tls/v3/common.proto': {
    add: {
      TlsParameters: `
        enum CompliancePolicy { FIPS_202205 = 0; }
        repeated CompliancePolicy compliance_policies = 6 [(validate.rules).repeated = {max_items: 1}];`,
    },
  },
  'envoy/extensions/transport_sockets/tls/v3/tls.proto': {
    imports: ['envoy/config/core/v3/extension.proto'],
    add: {
      UpstreamTlsContext: 'bool auto_host_sni = 6; bool auto_sni_san_validation = 7;',
      DownstreamTlsContext: 'bool prefer_client_ciphers = 11;',
      CommonTlsContext: 'config.core.v3.TypedExtensionConfig custom_tls_certificate_selector = 16;',
    },
  },
  'envoy/extensions/upstreams/http/v3/http_protocol_options.proto': {
    imports: ['envoy/config/common/matcher/v3/matcher.proto', ROUTE],
    add: {
      HttpProtocolOptions: `
        message OutlierDetection {
          config.common.matcher.v3.MatchPredicate error_matcher = 1 [(validate.rules).message = {required: true}];
        }
        OutlierDetection outlier_detection = 8;
        repeated config.route.v3.RouteAction.RequestMirrorPolicy request_mirror_policies = 9;
        repeated config.route.v3.RouteAction.HashPolicy hash_policy = 10;
        config.route.v3.RetryPolicy retry_policy = 11;`,
    },
  },
  'envoy/service/ratelimit/v3/rls.proto': {
    imports: ['google/protobuf/wrappers.proto'],
    add: {
      'RateLimitResponse.RateLimit':
        'google.protobuf.UInt32Value unit_multiplier = 4 [(validate.rules).uint32 = {gt: 0}];',
      'RateLimitResponse.RateLimit.Unit': 'WEEK = 7;',
    },
  },
  'envoy/service/auth/v3/external_auth.proto': {
    add: { 'CheckResponse.http_response': 'DeniedHttpResponse error_response = 5;' },
  },
  'envoy/extensions/matching/common_inputs/network/v3/network_inputs.proto': {
    imports: ['validate/validate.proto'],
    add: {},
    types: `
      message DynamicMetadataInput {
        message PathSegment {
          oneof segment {
            option (validate.required) = true;
            string key = 1 [(validate.rules).string = {min_len: 1}];
          }
        }
        string filter = 1 [(validate.rules).string = {min_len: 1}];
        repeated PathSegment path = 2 [(validate.rules).repeated = {min_items: 1}];
      }
      message NetworkNamespaceInput {}`,
  },
  'envoy/type/http/v3/cookie.proto': {
    add: { Cookie: 'repeated CookieAttribute attributes = 4;' },
    types: 'message CookieAttribute { string name = 1; string value = 2; }',
  },
  'envoy/type/matcher/v3/filter_state.proto': {
    imports: ['envoy/type/matcher/v3/address.proto'],
    add: { 'FilterStateMatcher.matcher': 'AddressMatcher address_match = 3;' },
  },
  'envoy/type/tracing/v3/custom_tag.proto': { add: { 'CustomTag.type': 'string value = 6;' } },
  'xds/type/matcher/v3/matcher.proto': { add: { 'Matcher.OnMatch': 'bool keep_matching = 3;' } },
  'xds/type/v3/cel.proto': {
    // Of cel.expr, which is the same on the wire.
    add: {
      CelExpression: `
        google.api.expr.v1alpha1.ParsedExpr cel_expr_parsed = 3;
        google.api.expr.v1alpha1.CheckedExpr cel_expr_checked = 4;
        string cel_expr_string = 5;`,
    },
  },
}

/** Fields whose constraints later Envoys dropped (1.40 takes a token bucket of none, for one): by file, `Message.field`. */
export const relaxed = {
  'envoy/extensions/filters/http/lua/v3/lua.proto': ['LuaPerRoute.override'],
  'envoy/config/core/v3/base.proto': [
    'RuntimeUInt32.runtime_key',
    'RuntimePercent.runtime_key',
    'RuntimeDouble.runtime_key',
    'RuntimeFeatureFlag.runtime_key',
    'KeyValueAppend.entry',
  ],
  'envoy/config/metrics/v3/stats.proto': ['HistogramBucketSettings.buckets'],
  'envoy/config/trace/v3/zipkin.proto': ['ZipkinConfig.collector_cluster', 'ZipkinConfig.collector_endpoint'],
  'envoy/extensions/access_loggers/open_telemetry/v3/logs_service.proto': [
    'OpenTelemetryAccessLogConfig.common_config',
  ],
  'envoy/extensions/common/ratelimit/v3/ratelimit.proto': ['RateLimitDescriptor.Entry.value'],
  'envoy/extensions/filters/http/adaptive_concurrency/v3/adaptive_concurrency.proto': [
    'GradientControllerConfig.MinimumRTTCalculationParams.interval',
  ],
  'envoy/extensions/filters/http/ext_authz/v3/ext_authz.proto': ['ExtAuthzPerRoute.disabled'],
  'envoy/extensions/filters/http/ext_proc/v3/ext_proc.proto': ['ExternalProcessor.grpc_service'],
  'envoy/extensions/filters/http/jwt_authn/v3/config.proto': ['JwtClaimToHeader.claim_name'],
  'envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto': ['Rds.config_source'],
  'envoy/extensions/transport_sockets/http_11_proxy/v3/upstream_http_11_connect.proto': [
    'Http11ProxyUpstreamTransport.transport_socket',
  ],
  'envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver.proto': ['CaresDnsResolverConfig.resolvers'],
  'envoy/type/v3/token_bucket.proto': ['TokenBucket.max_tokens'],
  'xds/type/v3/cel.proto': ['CelExpression.expr_specifier'],
}

/** Takes the constraints off the fields (and oneofs) that have none any more. Throws when one has none as it is. */
export function relax(file, text) {
  let changed = text
  for (const path of relaxed[file]) {
    const place = path.split('.')
    const field = place.pop()
    const at = find(file, changed, place)
    const rest = changed.slice(at)
    const looser = rest
      .replace(new RegExp(`( ${field} = \\d+)\\s*\\[\\(validate\\.rules\\)[^;]*\\];`), '$1;')
      .replace(new RegExp(`(oneof ${field} \\{)\\s*option \\(validate\\.required\\) = true;`), '$1')
    if (looser === rest) throw new Error(`${file}: ${path} has no constraint to drop`)
    changed = changed.slice(0, at) + looser
  }
  return changed
}

/** Adds the newer fields to a file's text. Throws when a place is not there, or a name is taken. */
export function addNewer(file, text) {
  const { imports = [], add, types = '' } = newer[file]
  let changed = text
  for (const [place, fields] of Object.entries(add)) changed = insert(file, changed, place.split('.'), fields)
  const wanted = imports.filter((name) => !changed.includes(`import "${name}";`))
  const lines = wanted.map((name) => `import "${name}";\n`).join('')
  return `${changed.replace(/^package [^;]+;/m, `$&\n\n${lines}`)}\n${types}\n`
}

function insert(file, text, place, fields) {
  const at = find(file, text, place)
  return `${text.slice(0, at)}\n${fields}\n${text.slice(at)}`
}

/** Where the inside of a message, enum or oneof begins; in an enum, after its first value, which has to stay the first. */
function find(file, text, place) {
  let at = 0
  for (const name of place) {
    const found = new RegExp(`^[ \\t]*(?:message|enum|oneof) ${name} \\{`, 'm').exec(text.slice(at))
    if (!found) throw new Error(`${file}: there is no ${place.join('.')}`)
    at += found.index + found[0].length
    if (found[0].includes('enum ')) at = text.indexOf(';', at) + 1
  }
  return at
}
