import type { Command } from 'commander'
import { qualified } from '../api/resource-names.ts'
import { askMesh } from '../mesh/control/client.ts'
import { findMesh, type RunningMesh } from '../mesh/control/running.ts'
import type { ObjectsView, ObjectView } from '../mesh/object-views.ts'
import { CliError } from './errors.ts'
import { columnsOf } from './get-columns.ts'
import { meshOption } from './options.ts'
import { table } from './table.ts'

interface Options {
  namespace?: string
  allNamespaces: boolean
  output: string
  mesh?: number
}

const OUTPUTS = ['table', 'wide', 'yaml', 'json', 'name']

/** `dinghy get KIND [NAME…]`: objects of a running mesh with their statuses, as `kubectl get` shows them. */
export function getCommand(program: Command): void {
  program
    .command('get')
    .summary('show objects of a running mesh, with their statuses, as kubectl does')
    .argument(
      '<kind>',
      'a kind such as httproutes, svc or gateways.networking.istio.io; several with commas; or KIND/NAME',
    )
    .argument('[names...]', 'names of objects, or further KIND/NAME')
    .option('-n, --namespace <namespace>', 'objects of that namespace (default: default)')
    .option('-A, --all-namespaces', 'objects of all namespaces', false)
    .option('-o, --output <format>', OUTPUTS.join(', '), 'table')
    .addOption(meshOption())
    .action(async (kind: string, names: string[], options: Options) => {
      if (!OUTPUTS.includes(options.output))
        throw new CliError(`-o ${options.output}: there are ${OUTPUTS.join(', ')}`, 2)
      await get(findMesh(options.mesh), [kind, ...names], options)
    })
}

/** What is asked for: resources, and names unless all are. */
interface Request {
  words: string
  names?: string[]
}

function requestsOf(args: readonly string[]): Request[] {
  const [kind = '', ...names] = args
  const pairs = args.map((arg) => arg.split('/'))
  if (pairs.every((pair) => pair.length === 2)) {
    return pairs.map(([words = '', name = '']) => ({ words, names: [name] }))
  }
  if (pairs.some((pair) => pair.length > 1)) {
    const why =
      'there is no need to specify a resource type as a separate argument when passing arguments in resource/name form'
    throw new CliError(
      `${why} (e.g. 'dinghy get resource/<resource_name>' instead of 'dinghy get resource resource/<resource_name>'`,
    )
  }
  return [names.length > 0 ? { words: kind, names } : { words: kind }]
}

async function get(mesh: RunningMesh, args: readonly string[], options: Options): Promise<void> {
  const requests = requestsOf(args)
  const single = requests.length === 1 && requests[0]?.names?.length === 1
  if (options.allNamespaces && requests.some(({ names }) => names)) {
    throw new CliError('a resource cannot be retrieved by name across all namespaces')
  }
  const namespace = options.allNamespaces ? '' : (options.namespace ?? 'default')
  const found: ObjectsView[] = []
  const missing: string[] = []
  for (const { words, names } of requests) {
    const query = `kinds=${encodeURIComponent(words)}&namespace=${encodeURIComponent(namespace)}`
    let views: ObjectsView[]
    try {
      views = (await askMesh<{ objects: ObjectsView[] }>(mesh, 'GET', `/v1/objects?${query}`)).objects
    } catch (e) {
      const { message } = e as Error
      if (!message.includes("doesn't have a resource type")) throw e
      complain(`error: ${message}`)
      return
    }
    for (const { resource, items } of views) {
      if (!names) {
        found.push({ resource, items })
        continue
      }
      const byName = new Map(items.map((item) => [item.metadata.name, item]))
      found.push({ resource, items: names.flatMap((name) => byName.get(name) ?? []) })
      for (const name of names.filter((wanted) => !byName.has(wanted))) {
        missing.push(
          `Error from server (NotFound): ${qualified(resource.plural, resource.group)} ${JSON.stringify(name)} not found`,
        )
      }
    }
  }
  await print(
    found.filter(({ items }) => items.length > 0),
    single,
    options,
  )
  if (missing.length > 0) for (const line of missing) complain(line)
  else if (found.every(({ items }) => items.length === 0) && !isData(options)) {
    const clusterWide = found.every(({ resource }) => !resource.namespaced)
    process.stderr.write(
      `No resources found${options.allNamespaces || clusterWide ? '' : ` in ${namespace} namespace.`}\n`,
    )
  }
}

const isData = ({ output }: Options): boolean => output === 'yaml' || output === 'json'

function complain(line: string): void {
  process.stderr.write(`${line}\n`)
  process.exitCode = 1
}

async function print(found: readonly ObjectsView[], single: boolean, options: Options): Promise<void> {
  const objects = found.flatMap(({ items }) => items)
  if (options.output === 'yaml' || options.output === 'json') {
    if (single && objects.length === 0) return
    const list = { apiVersion: 'v1', items: objects, kind: 'List', metadata: { resourceVersion: '' } }
    await printData(single ? objects[0] : list, options.output)
  } else if (options.output === 'name') {
    for (const { resource, items } of found) {
      const prefix = qualified(resource.singular, resource.group)
      for (const { metadata } of items) process.stdout.write(`${prefix}/${metadata.name}\n`)
    }
  } else {
    process.stdout.write(found.map((view) => `${tableOf(view, found.length > 1, options)}\n`).join('\n'))
  }
}

async function printData(value: unknown, format: 'json' | 'yaml'): Promise<void> {
  const ordered = sorted(value)
  if (format === 'json') {
    process.stdout.write(`${JSON.stringify(ordered, null, 4)}\n`)
    return
  }
  const { stringify } = await import('yaml')
  // kubectl quotes what YAML 1.1 would read otherwise, such as times.
  process.stdout.write(stringify(ordered, { version: '1.1', lineWidth: 0, indentSeq: false }))
}

/** With the fields of every map in alphabetical order, as kubectl has them. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([, part]) => part !== undefined)
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, part]) => [key, sorted(part)]))
}

/** Names have their kind before them where there are several tables. */
function tableOf({ resource, items }: ObjectsView, several: boolean, options: Options): string {
  const columns = columnsOf(qualified(resource.plural, resource.group)).filter(
    ({ wide }) => !wide || options.output === 'wide',
  )
  const withNamespace = options.allNamespaces && resource.namespaced
  const now = Date.now()
  const prefix = several ? `${qualified(resource.singular, resource.group)}/` : ''
  const row = (object: ObjectView): string[] => [
    ...(withNamespace ? [object.metadata.namespace ?? ''] : []),
    `${prefix}${object.metadata.name}`,
    ...columns.map(({ cell }) => cell(object, now)),
  ]
  const heads = [...(withNamespace ? ['NAMESPACE'] : []), 'NAME', ...columns.map(({ head }) => head)]
  return table(heads, items.map(row))
}
