import type { LocalityLoadBalancerSetting } from '../../api/kinds/traffic-policy.ts'
import type { Labels } from '../../registry/labels.ts'
import { splitLocality } from '../../registry/labels.ts'
import type { Endpoint } from '../../registry/model.ts'
import { type LocalityRule, localityDistance, localityMatches } from '../cluster/locality.ts'

/** Endpoints of one locality, or of one priority of it. */
export interface LocalityGroup {
  locality: string
  endpoints: Endpoint[]
  weight: number
  priority: number
}

/** Groups endpoints by locality, in the order of their names. */
export function byLocality(endpoints: readonly Endpoint[]): LocalityGroup[] {
  const groups = new Map<string, Endpoint[]>()
  for (const endpoint of endpoints) {
    const known = groups.get(endpoint.locality)
    if (known) known.push(endpoint)
    else groups.set(endpoint.locality, [endpoint])
  }
  return [...groups.keys()].sort().map((locality) => {
    const members = groups.get(locality) as Endpoint[]
    return { locality, endpoints: members, weight: weightOf(members), priority: 0 }
  })
}

const weightOf = (endpoints: readonly Endpoint[]): number =>
  endpoints.reduce((sum, endpoint) => sum + (endpoint.weight ?? 1), 0)

/** The client that localities and labels are compared with. */
export interface Client {
  locality: string
  labels: Labels
}

/**
 * Sets priorities or weights as the rule says. Failover needs outlier detection, or nothing would ever fail over
 * (networking/core/loadbalancer ApplyLocalityLoadBalancer).
 */
export function prioritize(
  groups: LocalityGroup[],
  rule: LocalityRule,
  client: Client,
  outlierDetection: boolean,
): LocalityGroup[] {
  if (rule.kind === 'zone') {
    if (rule.setting.enabled === false) return groups
    const { failoverPriority = [], failover = [] } = rule.setting
    const split = failoverPriority.length ? byLabels(groups, client, failoverPriority) : groups
    const region = splitLocality(client.locality)[0]
    const to = failover.find((entry) => entry.from === region)?.to
    return bucket(split, 3, (group) => {
      const own = splitLocality(group.locality)[0]
      return own === region ? 0 : own === to ? 1 : 2
    })
  }
  const { setting } = rule
  if (setting.distribute) return distribute(groups, setting, client)
  if (!outlierDetection && !rule.force) return groups
  const priorities = setting.failoverPriority ?? []
  const split = priorities.length ? byLabels(groups, client, priorities) : groups
  if (priorities.length && !setting.failover?.length) return split
  return byDistance(split, setting, client)
}

function distribute(groups: LocalityGroup[], setting: LocalityLoadBalancerSetting, client: Client): LocalityGroup[] {
  const entry = setting.distribute?.find((known) => localityMatches(client.locality, known.from ?? ''))
  if (!entry) return groups
  const left = new Set(groups)
  for (const [to, share] of Object.entries(entry.to ?? {})) {
    const hit = [...left].filter((group) => localityMatches(group.locality, to))
    const total = hit.reduce((sum, group) => sum + group.weight, 0)
    for (const group of hit) {
      left.delete(group)
      const weight = Math.ceil((group.weight * share) / total)
      if (weight > 0) group.weight = weight
    }
  }
  // Localities that the rule does not name keep their place, without endpoints.
  for (const group of left) group.endpoints = []
  return groups
}

function byDistance(groups: LocalityGroup[], setting: LocalityLoadBalancerSetting, client: Client): LocalityGroup[] {
  const region = splitLocality(client.locality)[0]
  const entry = setting.failover?.find((known) => known.from === region)
  return bucket(groups, 5, (group) => {
    const distance = localityDistance(client.locality, group.locality)
    return distance === 3 && entry && splitLocality(group.locality)[0] !== entry.to ? 4 : distance
  })
}

// Priorities must count from 0 without gaps; those set before stay the coarser order.
function bucket(groups: LocalityGroup[], width: number, priority: (group: LocalityGroup) => number): LocalityGroup[] {
  for (const group of groups) group.priority = group.priority * width + priority(group)
  return compact(groups)
}

function compact(groups: LocalityGroup[]): LocalityGroup[] {
  const used = [...new Set(groups.map((group) => group.priority))].sort((a, b) => a - b)
  for (const group of groups) group.priority = used.indexOf(group.priority)
  return groups
}

/** Splits each locality by how many of the labels, in order, an endpoint shares with the client. */
function byLabels(groups: LocalityGroup[], client: Client, priorities: readonly string[]): LocalityGroup[] {
  if (Object.keys(client.labels).length === 0) return groups
  const wanted = priorities.map((entry) => {
    const [label = '', value] = entry.split('=')
    return { label, value: value ?? client.labels[label] }
  })
  const networkFirst = priorities[0] === 'topology.istio.io/network'
  const rank = (endpoint: Endpoint): number => {
    let adjust = 0
    for (const [index, { label, value }] of wanted.entries()) {
      if (value === endpoint.labels[label]) continue
      if (index === 0 && networkFirst) {
        adjust = wanted.length
        continue
      }
      return wanted.length - index + adjust
    }
    return adjust
  }
  return compact(
    groups.flatMap((group) => {
      const parts = new Map<number, Endpoint[]>()
      for (const endpoint of group.endpoints) {
        const priority = rank(endpoint)
        parts.set(priority, [...(parts.get(priority) ?? []), endpoint])
      }
      return [...parts.keys()]
        .sort((a, b) => a - b)
        .map((priority) => {
          const endpoints = parts.get(priority) as Endpoint[]
          return { locality: group.locality, endpoints, weight: weightOf(endpoints), priority }
        })
    }),
  )
}
