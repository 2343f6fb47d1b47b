import type { ClusterSettings } from '../cluster-config.ts'
import { HostHealth } from '../host.ts'
import { type HostConfig, hostKey, type UpstreamHost } from '../upstream-host.ts'

const CHECKED =
  HostHealth.FAILED_ACTIVE_HC |
  HostHealth.DEGRADED_ACTIVE_HC |
  HostHealth.PENDING_ACTIVE_HC |
  HostHealth.ACTIVE_HC_TIMEOUT
const EDS_BITS = HostHealth.FAILED_EDS_HEALTH | HostHealth.DEGRADED_EDS_HEALTH | HostHealth.EDS_STATUS_DRAINING

/**
 * What an update means when hosts are checked: new ones start as failed, and removed ones stay while they are well
 * (source/common/upstream/upstream_impl.cc updateDynamicHostList).
 */
export function arrangeChecked(
  configs: readonly HostConfig[],
  known: { readonly all: readonly UpstreamHost[]; get(key: string): UpstreamHost | undefined },
  settings: Pick<ClusterSettings, 'discovery' | 'ignoreHealthOnRemoval' | 'ignoreNewHosts'>,
): HostConfig[] {
  const changes = settings.discovery.type === 'eds' || settings.discovery.type === 'strict-dns'
  const pendingFirst = changes && settings.ignoreNewHosts
  const keepsRemoved = changes && !settings.ignoreHealthOnRemoval
  const fresh = HostHealth.FAILED_ACTIVE_HC | (pendingFirst ? HostHealth.PENDING_ACTIVE_HC : 0)
  const keys = new Set<string>()
  const arranged = configs.map((config): HostConfig => {
    const key = hostKey(config)
    keys.add(key)
    const before = known.get(key)
    if (before !== undefined) before.health &= ~HostHealth.PENDING_DYNAMIC_REMOVAL
    if (config.check?.disabled === true) return config
    // Of a host that only moved, what its checks found still holds.
    const same =
      before !== undefined &&
      before.check?.disabled !== true &&
      before.check?.address?.ip === config.check?.address?.ip &&
      before.check?.address?.port === config.check?.address?.port
    return { ...config, initialHealth: same ? before.health & CHECKED : fresh }
  })
  if (!keepsRemoved) return arranged
  for (const host of known.all) {
    if (keys.has(host.key) || host.check?.disabled === true) continue
    if (host.health & (HostHealth.FAILED_ACTIVE_HC | HostHealth.FAILED_EDS_HEALTH)) continue
    host.health |= HostHealth.PENDING_DYNAMIC_REMOVAL
    arranged.push(configOf(host))
  }
  return arranged
}

/** The config that leaves a host as it is. */
function configOf(host: UpstreamHost): HostConfig {
  const { address, pipe, hostname, metadata, locality, priority, weight, check, health } = host
  return { address, pipe, hostname, metadata, locality, priority, weight, check, health: health & EDS_BITS }
}
