import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import type { NotEnforced } from './not-enforced.ts'

/** What of a bootstrap has effect here. */
const ENFORCED = [
  'node',
  'static_resources',
  'dynamic_resources',
  'admin',
  'layered_runtime',
  'stats_config',
  'cluster_manager',
  'overload_manager',
]

/** About threads, memory, hot restart and Envoy's own process: there is nothing here that they could change. */
const WITHOUT_EFFECT = [
  'watchdog',
  'watchdogs',
  'enable_dispatcher_stats',
  'flags_path',
  'stats_flush_interval',
  'stats_flush_on_admin',
  'stats_server_version_override',
  'deferred_stat_options',
  'default_socket_interface',
  'memory_allocator_manager',
  'default_regex_engine',
  'perf_tracing_file_path',
  'fatal_actions',
  'listener_manager',
  'grpc_async_client_manager_config',
  'inline_headers',
  'node_context_params',
]

/** Reports the fields of a bootstrap that are understood and have no effect. Throws for what cannot work at all. */
export function noteBootstrapFields(bootstrap: Bootstrap, notEnforced: NotEnforced): void {
  notEnforced.check(bootstrap, 'bootstrap', ENFORCED, WITHOUT_EFFECT)
  const { admin, dynamicResources, clusterManager, layeredRuntime, statsConfig } = bootstrap
  if (statsConfig) notEnforced.check(statsConfig, 'bootstrap.stats_config', ['stats_tags', 'use_all_default_tags'])
  const { overloadManager } = bootstrap
  if (overloadManager) {
    notEnforced.check(overloadManager, 'bootstrap.overload_manager', ['resource_monitors'], ['refresh_interval'])
    for (const { name } of overloadManager.resourceMonitors) {
      if (name !== 'envoy.resource_monitors.global_downstream_max_connections')
        notEnforced.note(`bootstrap.overload_manager.resource_monitors[${name}]`)
    }
  }
  if (admin) notEnforced.check(admin, 'bootstrap.admin', ['address'], ['profile_path', 'ignore_global_conn_limit'])
  if (clusterManager) {
    notEnforced.check(clusterManager, 'bootstrap.cluster_manager', ['outlier_detection', 'local_cluster_name'])
    const { outlierDetection } = clusterManager
    if (outlierDetection)
      notEnforced.check(outlierDetection, 'bootstrap.cluster_manager.outlier_detection', ['event_log_path'])
  }
  if (dynamicResources) {
    const { adsConfig, cdsConfig, ldsConfig } = dynamicResources
    if (!adsConfig && (cdsConfig || ldsConfig)) {
      throw new Error(
        'bootstrap.dynamic_resources: cds_config and lds_config need an ads_config: only ads is supported',
      )
    }
    notEnforced.check(dynamicResources, 'bootstrap.dynamic_resources', ['ads_config', 'cds_config', 'lds_config'])
  }
  for (const layer of layeredRuntime?.layers ?? []) {
    const kind = layer.layerSpecifier.case
    if (kind === 'diskLayer' || kind === 'rtdsLayer') {
      notEnforced.note(
        `bootstrap.layered_runtime.layers[${layer.name}].${kind === 'diskLayer' ? 'disk_layer' : 'rtds_layer'}`,
      )
    }
  }
}
