// The Envoy bootstrap that Dinghy and Envoy both run.
const ISTIO_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ' +
  '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% ' +
  '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ' +
  '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% ' +
  '%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n'

const any = (type, fields = {}) => ({ '@type': `type.googleapis.com/${type}`, ...fields })
const filter = (name, type, fields) => ({ name, typed_config: any(type, fields) })
const file = (filename) => ({ filename })

function tlsContext({ ca, cert, key }) {
  return {
    // Envoy's clients stop at 1.2 unless told otherwise.
    tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
    tls_certificates: [{ certificate_chain: file(cert), private_key: file(key) }],
    validation_context: { trusted_ca: file(ca) },
  }
}

/** The filters of an Istio sidecar without policies, as far as Envoy has them. */
function sidecarFilters() {
  const http = 'envoy.extensions.filters.http'
  return [
    filter('envoy.filters.http.grpc_stats', `${http}.grpc_stats.v3.FilterConfig`, {
      emit_filter_state: true,
      stats_for_all_methods: false,
    }),
    filter('envoy.filters.http.fault', `${http}.fault.v3.HTTPFault`),
    filter('envoy.filters.http.cors', `${http}.cors.v3.Cors`),
  ]
}

export function bootstrap({ listen, admin, backend, tls, sidecar, logFile }) {
  const manager = filter(
    'envoy.filters.network.http_connection_manager',
    'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    {
      stat_prefix: 'bench',
      route_config: {
        name: 'local',
        virtual_hosts: [
          {
            name: 'all',
            domains: ['*'],
            routes: [
              {
                name: 'default',
                match: { prefix: '/' },
                route: {
                  cluster: 'backend',
                  timeout: '0s',
                  ...(sidecar && {
                    retry_policy: { retry_on: 'connect-failure,refused-stream,unavailable', num_retries: 2 },
                  }),
                },
              },
            ],
          },
        ],
      },
      http_filters: [
        ...(sidecar ? sidecarFilters() : []),
        filter('envoy.filters.http.router', 'envoy.extensions.filters.http.router.v3.Router'),
      ],
      ...(sidecar && {
        access_log: [
          filter('envoy.access_loggers.file', 'envoy.extensions.access_loggers.file.v3.FileAccessLog', {
            path: logFile,
            log_format: { text_format_source: { inline_string: ISTIO_FORMAT } },
          }),
        ],
      }),
    },
  )
  const address = (port) => ({ socket_address: { address: '127.0.0.1', port_value: port } })
  return {
    admin: { address: address(admin) },
    node: { id: 'bench', cluster: 'bench' },
    static_resources: {
      listeners: [
        {
          name: 'bench',
          address: address(listen),
          filter_chains: [
            {
              filters: [manager],
              ...(tls && {
                transport_socket: filter(
                  'envoy.transport_sockets.tls',
                  'envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
                  { require_client_certificate: true, common_tls_context: tlsContext(tls) },
                ),
              }),
            },
          ],
        },
      ],
      clusters: [
        {
          name: 'backend',
          type: 'STATIC',
          connect_timeout: '5s',
          load_assignment: {
            cluster_name: 'backend',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(backend) } }] }],
          },
          ...(tls && {
            transport_socket: filter(
              'envoy.transport_sockets.tls',
              'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
              { sni: 'localhost', common_tls_context: tlsContext(tls) },
            ),
          }),
        },
      ],
    },
  }
}
