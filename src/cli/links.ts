import type { Command } from 'commander'
import { askMesh } from '../mesh/control/client.ts'
import type { LinksView, LinkView } from '../mesh/control/link-view.ts'
import { findMesh } from '../mesh/control/running.ts'
import { CliError } from './errors.ts'
import { meshOption } from './options.ts'
import { table } from './table.ts'

interface Options {
  output: string
  mesh?: number
}

const OUTPUTS = ['table', 'json']

/** `dinghy links`: which connections between workloads are mutual TLS, and what decides that. */
export function linksCommand(program: Command): void {
  program
    .command('links')
    .alias('edges')
    .summary('show which connections between workloads are mutual TLS, and why')
    .argument('[names...]', 'only links from or to these workloads or services')
    .option('-o, --output <format>', OUTPUTS.join(', '), 'table')
    .addOption(meshOption())
    .action(async (names: string[], options: Options) => {
      if (!OUTPUTS.includes(options.output))
        throw new CliError(`-o ${options.output}: there are ${OUTPUTS.join(', ')}`, 2)
      const view = await askMesh<LinksView>(findMesh(options.mesh), 'GET', '/v1/links')
      const rows = names.length === 0 ? view.rows : view.rows.filter((row) => names.some((name) => concerns(row, name)))
      if (rows.length === 0 && names.length > 0) throw new CliError(`no link from or to ${names.join(', ')}`)
      if (options.output === 'json') process.stdout.write(`${JSON.stringify({ ...view, rows }, null, 2)}\n`)
      else process.stdout.write(`${linksTable(rows)}\n\n${linksSummary(view)}\n`)
    })
}

function concerns({ host, servers, clientWorkloads }: LinkView, name: string): boolean {
  const workload = name.includes('.') ? name.split('.').reverse().join('/') : name
  const isIt = (full: string): boolean => full === workload || full.endsWith(`/${workload}`)
  return host === name || host.startsWith(`${name}.`) || servers.some(isIt) || clientWorkloads.some(isIt)
}

/** The links as a table. */
export function linksTable(rows: readonly LinkView[]): string {
  return table(
    ['CLIENT', 'TO', 'CONNECTION', 'BY', 'SERVER TAKES', 'SEEN'],
    rows.map((row) => [
      row.clients,
      row.target,
      row.fails ? `${row.transport}: FAILS` : row.transport,
      row.by,
      `${row.mode}${row.modeBy ? ` (${row.modeBy})` : ''}`,
      seen(row),
    ]),
  )
}

function seen({ observed }: LinkView): string {
  if (!observed) return '-'
  const { tls, plaintext, failed } = observed
  const parts = [
    ...(tls > 0 ? [`${tls} TLS`] : []),
    ...(plaintext > 0 ? [`${plaintext} plaintext`] : []),
    ...(failed > 0 ? [`${failed} failed`] : []),
  ]
  return parts.join(', ') || 'none yet'
}

/** `mTLS: 11 of 12 links`. */
export const linksSummary = ({ links, mtls }: LinksView): string =>
  `mTLS: ${mtls} of ${links} link${links === 1 ? '' : 's'}`

/** How many services are named in a line. */
const MAX_TARGETS = 4

/** The summary, and a line for the links within the mesh that are no working mutual TLS; at most `max` of them. */
export function linksBrief(view: LinksView, max: number): string[] {
  const wanting = new Map<string, string[]>()
  for (const { clients, target, shortcoming } of view.rows) {
    if (shortcoming === undefined) continue
    const key = `${clients}\0${shortcoming}`
    wanting.set(key, [...(wanting.get(key) ?? []), target])
  }
  const lines = [...wanting].slice(0, max).map(([key, targets]) => {
    const [clients, shortcoming] = key.split('\0')
    const more = targets.length > MAX_TARGETS ? `, … ${targets.length - MAX_TARGETS} more` : ''
    return `  ${clients} → ${targets.slice(0, MAX_TARGETS).join(', ')}${more} ${shortcoming}`
  })
  if (wanting.size > max) lines.push(`  … and ${wanting.size - max} more: dinghy links`)
  return [linksSummary(view), ...lines]
}
