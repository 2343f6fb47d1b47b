import { type Link, type LinkEnd, originText, reasonText } from './link.ts'

/** Links that are alike: same port of the same service, same answer. */
export interface LinkRow {
  readonly links: readonly Link[]
  /** `*` for all that can reach the service. */
  readonly clients: string
  /** `reviews:9080`, with the namespace outside of `default`, and the subset or the workloads where they matter. */
  readonly target: string
  readonly transport: Link['transport']
  readonly by: string
  readonly mode: Link['mode']
  readonly modeBy: string
  readonly fails: string | undefined
}

/** How many names of clients are shown. */
const MAX_NAMES = 3

/** Links, put together as far as they are alike; in the order of services. */
export function linkRows(links: readonly Link[]): LinkRow[] {
  const byTarget = grouped(links, ({ hostname, port, subset }) => JSON.stringify([hostname, port, subset]))
  return [...byTarget.values()].flatMap((alike) => {
    const verdicts = grouped(alike, verdictOf)
    return [...verdicts.values()].map((group) => rowOf(group, alike))
  })
}

/** What is said of a link. */
export function verdictOf({ transport, by, mode, modeBy, fails }: Link): string {
  return JSON.stringify([transport, reasonText(by), mode, modeBy && originText(modeBy), fails])
}

/** `alike`: all links to that port of the service. */
function rowOf(links: readonly Link[], alike: readonly Link[]): LinkRow {
  const { transport, by, mode, modeBy, fails } = links[0] as Link
  const servers = serversOf(links)
  const reachable = alike.filter((link) => serversOf([link]).every((server) => servers.includes(server)))
  return {
    links,
    clients: clientsText(namesOf(links), namesOf(reachable)),
    target: targetText(links, serversOf(alike)),
    transport,
    by: reasonText(by),
    mode,
    modeBy: modeBy ? originText(modeBy) : '',
    fails,
  }
}

/** The workloads at the client side, each once. */
const namesOf = (links: readonly Link[]): string[] => [...new Set(links.flatMap(({ clients }) => clients.map(endText)))]

/** The workloads at the server side, each once. */
const serversOf = (links: readonly Link[]): string[] => [
  ...new Set(links.flatMap(({ server }) => (server ? [endText(server)] : []))),
]

/** `reviews-v1`, or `reviews-v1.shop` outside of `default`. */
export const endText = ({ namespace, workload }: LinkEnd): string =>
  namespace === 'default' ? workload : `${workload}.${namespace}`

/** Names of clients, or `*` when these are all there are. */
export function clientsText(names: readonly string[], all: readonly string[]): string {
  if (names.length === all.length) return '*'
  if (names.length <= MAX_NAMES) return names.join(', ')
  const others = all.filter((name) => !names.includes(name))
  return others.length <= MAX_NAMES ? `all but ${others.join(', ')}` : `${names.length} workloads`
}

function targetText(links: readonly Link[], all: readonly string[]): string {
  const { service, port, subset } = links[0] as Link
  const name =
    service.namespace === 'default' || service.name.includes('.')
      ? service.name
      : `${service.name}.${service.namespace}`
  const servers = serversOf(links)
  const only = servers.length === all.length ? '' : ` (${clientsText(servers, all)})`
  return `${name}:${port}${subset ? ` ${subset}` : ''}${only}`
}

function grouped<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const out = new Map<string, T[]>()
  for (const item of items) {
    const key = keyOf(item)
    const known = out.get(key)
    if (known) known.push(item)
    else out.set(key, [item])
  }
  return out
}

/** How many links between workloads of the mesh there are, and how many are mutual TLS that works. */
export interface LinkCount {
  readonly links: number
  readonly mtls: number
}

/** Counts pairs of workload and service port; addresses outside the mesh are none. */
export function countLinks(links: readonly Link[]): LinkCount {
  const pairs = new Map<string, boolean>()
  for (const { clients, hostname, port, subset, mode, transport, fails } of links) {
    if (mode === 'outside' || subset !== '') continue
    for (const client of clients) {
      const key = JSON.stringify([client.namespace, client.workload, hostname, port])
      pairs.set(key, (pairs.get(key) ?? true) && transport === 'mTLS' && fails === undefined)
    }
  }
  return { links: pairs.size, mtls: [...pairs.values()].filter(Boolean).length }
}

/** Of a row that is no working mutual TLS, within the mesh: what is wrong with it, in one line; else undefined. */
export function shortcoming(row: Pick<LinkRow, 'transport' | 'by' | 'mode' | 'modeBy' | 'fails'>): string | undefined {
  const { transport, by, mode, modeBy, fails } = row
  if (mode === 'outside' || (transport === 'mTLS' && !fails)) return undefined
  const why = by ? ` (${by})` : ''
  if (fails) return `fails: it is ${transport}${why}, and ${fails}${modeBy ? ` (${mode}, ${modeBy})` : ` (${mode})`}`
  return `is ${transport}${why}`
}
