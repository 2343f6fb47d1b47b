import type { Capture, Link } from '../pilot/links/link.ts'
import { linksOf } from '../pilot/links/links.ts'
import {
  clientsText,
  countLinks,
  endText,
  type LinkRow,
  linkRows,
  shortcoming,
  verdictOf,
} from '../pilot/links/rows.ts'
import type { PushContext } from '../pilot/scope/push-context.ts'
import type { ProxyServer } from '../proxy/server.ts'
import type { Workload } from '../registry/model.ts'
import { CaptureRules } from './capture-rules.ts'
import type { LinksView, LinkView, ObservedConnections } from './control/link-view.ts'

/** The sidecars that run, with their workloads. */
type Sidecars = readonly { readonly workload: Workload; readonly proxy: ProxyServer }[]

/** What annotations of pods leave out of the redirection to their sidecars. */
export function captureOf(): Capture {
  const known = new Map<Workload, CaptureRules>()
  const rulesOf = (workload: Workload): CaptureRules => {
    let rules = known.get(workload)
    if (!rules) {
      rules = new CaptureRules('REDIRECT', workload.annotations, workload.ip)
      known.set(workload, rules)
    }
    return rules
  }
  return {
    inbound: (workload, port) => rulesOf(workload).inbound(port),
    outbound: (workload, to) => workload.gateway || rulesOf(workload).outbound(to),
  }
}

/** The links of a mesh as they should be, and what its sidecars have seen so far. */
export function linksView(push: PushContext, sidecars: Sidecars): LinksView {
  const links = linksOf(push, captureOf())
  const rows = linkRows(links)
  const byTarget = new Map<string, LinkRow[]>()
  for (const row of rows) byTarget.set(targetOf(row), [...(byTarget.get(targetOf(row)) ?? []), row])
  return { ...countLinks(links), rows: rows.map((row) => viewOf(row, byTarget.get(targetOf(row)) ?? [], sidecars)) }
}

/** The service's port that a row is about. */
const targetOf = ({ links: [link] }: LinkRow): string => `${link?.hostname}:${link?.port}`

/** `sameTarget`: the rows of that port of the service. */
function viewOf(row: LinkRow, sameTarget: readonly LinkRow[], sidecars: Sidecars): LinkView {
  const [first] = row.links as [Link]
  const clients = row.links.flatMap((link) => link.clients)
  return {
    clients: row.clients,
    clientWorkloads: [...new Set(clients.map(({ namespace, workload }) => `${namespace}/${workload}`))],
    target: row.target,
    host: first.hostname,
    port: first.port,
    subset: first.subset,
    servers: [
      ...new Set(row.links.flatMap(({ server }) => (server ? [`${server.namespace}/${server.workload}`] : []))),
    ],
    transport: row.transport,
    by: row.by,
    mode: row.mode,
    modeBy: row.modeBy,
    ...(row.fails ? { fails: row.fails } : {}),
    ...(shortcoming(row) ? { shortcoming: shortcoming(row) } : {}),
    ...observed(row, sameTarget, sidecars),
  }
}

/**
 * The connections that the clients' sidecars have opened. Where servers of one port differ, their statistics do not tell
 * which of them a connection went to: then nothing is said.
 */
function observed(row: LinkRow, sameTarget: readonly LinkRow[], sidecars: Sidecars): Pick<LinkView, 'observed'> {
  const [{ hostname, port, subset, sidecar }] = row.links as [Link]
  const owners = new Set(
    row.links.flatMap(({ clients }) => clients.map(({ namespace, workload }) => `${namespace}/${workload}`)),
  )
  const overlaps = sameTarget.some(
    (other) =>
      other !== row &&
      other.links[0]?.subset === subset &&
      other.links.some(({ clients }) =>
        clients.some(({ namespace, workload }) => owners.has(`${namespace}/${workload}`)),
      ),
  )
  if (!sidecar || overlaps) return {}
  const own = new Set(sameTarget.map(({ links: [link] }) => link?.subset ?? '').filter((name) => name !== ''))
  const isMeant = (name: string): boolean => (subset === '' ? !own.has(name) : name === subset)
  const out: ObservedConnections = { tls: 0, plaintext: 0, failed: 0 }
  for (const { workload, proxy } of sidecars) {
    if (!owners.has(`${workload.namespace}/${workload.workloadName}`)) continue
    const count = (name: string): number => proxy.stats.counters.get(name)?.value ?? 0
    for (const cluster of clustersTo(proxy, port, hostname, isMeant)) {
      const [total, failed] = [count(`${cluster}.upstream_cx_total`), count(`${cluster}.upstream_cx_connect_fail`)]
      const tls = count(`${cluster}.ssl.handshake`)
      out.tls += tls
      out.failed += failed
      out.plaintext += Math.max(0, total - failed - tls)
    }
  }
  return { observed: out }
}

const TOTAL = '.upstream_cx_total'

/** The statistics prefixes of the clusters of a service's port, by subset. */
function clustersTo(
  { stats }: ProxyServer,
  port: number,
  hostname: string,
  isMeant: (subset: string) => boolean,
): string[] {
  const start = `cluster.outbound|${port}|`
  return [...stats.counters.keys()].flatMap((name) => {
    if (!name.startsWith(start) || !name.endsWith(TOTAL)) return []
    const [subset = '', host = ''] = name.slice(start.length, -TOTAL.length).split('|')
    return host.replace(/;$/, '') === hostname && isMeant(subset) ? [name.slice(0, -TOTAL.length)] : []
  })
}

/** How many changed links are told of one by one. */
const MAX_TOLD = 6

/** Tells which links go otherwise than before, from push to push. */
export class LinkChanges {
  #before: PushContext | undefined
  #links: readonly Link[] | undefined

  /** `productpage → reviews:9080 is plaintext now (DestinationRule default/reviews rules.yaml:12)`; none the first time. */
  news(context: PushContext): string[] {
    const before = this.#before
    this.#before = context
    if (!before || isSame(before, context)) return []
    const old = this.#links ?? linksOf(before, captureOf())
    this.#links = linksOf(context, captureOf())
    const lines = changesOf(old, this.#links)
    if (lines.length <= MAX_TOLD) return lines
    return [...lines.slice(0, MAX_TOLD), `… and ${lines.length - MAX_TOLD} more links: see dinghy links`]
  }
}

/** Whether nothing changed that a link depends on. */
function isSame(a: PushContext, b: PushContext): boolean {
  const kinds = ['Sidecar', 'EnvoyFilter'] as const
  return a.clusterMemo === b.clusterMemo && kinds.every((kind) => a.snapshot.list(kind) === b.snapshot.list(kind))
}

/** Links by where they lead. */
function byEnd(links: readonly Link[]): Map<string, Link[]> {
  const out = new Map<string, Link[]>()
  for (const link of links) {
    const key = endKey(link)
    const known = out.get(key)
    if (known) known.push(link)
    else out.set(key, [link])
  }
  return out
}

const endKey = ({ hostname, port, subset, server }: Link): string => JSON.stringify([hostname, port, subset, server])

function changesOf(before: readonly Link[], after: readonly Link[]): string[] {
  const old = byEnd(before)
  const changed = after.flatMap((link) => {
    const effect = effectOf(link)
    const others = old.get(endKey(link))?.filter((known) => effectOf(known) !== effect) ?? []
    // Mostly there are none: to look at each client of each link takes its time.
    if (others.length === 0) return []
    const differs = new Set(others.flatMap((known) => known.clients.map(clientKey)))
    const clients = link.clients.filter((client) => differs.has(clientKey(client)))
    return clients.length > 0 ? [{ ...link, clients }] : []
  })
  return linkRows(changed).map((row) => {
    const [first] = row.links as [Link]
    const all = after.filter(({ hostname, port }) => hostname === first.hostname && port === first.port)
    const names = (links: readonly Link[]) => [...new Set(links.flatMap(({ clients }) => clients.map(endText)))]
    const clients = clientsText(names(row.links), names(all))
    const wrong = shortcoming(row)
    const how = wrong ? wrong.replace(/^is (\S+)/, 'is $1 now') : `is ${row.transport} now (${row.by})`
    return `${clients} → ${row.target} ${how}`
  })
}

const clientKey = (client: Link['clients'][number]): string => JSON.stringify(client)

/** What a change of is worth telling: not where a rule stands in its file. */
function effectOf(link: Link): string {
  const { transport, fails } = link
  return transport === 'mTLS' && !fails
    ? 'mTLS'
    : verdictOf({ ...link, modeBy: undefined, by: { text: link.by.text || 'rule' } })
}
