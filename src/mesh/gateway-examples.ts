import { hostsForNamespace, intersection } from '../pilot/gateway/hosts.ts'
import type { GatewayServer } from '../pilot/gateway/servers.ts'
import type { PushContext } from '../pilot/scope/push-context.ts'
import type { Workload } from '../registry/model.ts'
import type { WorkloadView } from './control/api.ts'
import type { Instance } from './instance.ts'
import { publishedPorts } from './outside.ts'

/** An instance's view; of a gateway with the ports that clients know, those of its services, if it listens there. */
export function withServicePorts(
  instance: Pick<Instance, 'view' | 'workload' | 'boundTo'>,
  { registry }: PushContext,
): WorkloadView {
  const view = instance.view()
  const { workload } = instance
  if (!workload.gateway) return view
  const services: Record<string, string> = {}
  const named = new Set<number>()
  for (const { port, targetPort } of registry.targets(workload)) {
    const at = view.inbound[targetPort]
    if (!at || !instance.boundTo(targetPort)) continue
    services[port.port] ??= at
    named.add(targetPort)
  }
  for (const [port, at] of Object.entries(view.inbound))
    if (!named.has(Number(port)) && instance.boundTo(Number(port))) services[port] ??= at
  return { ...view, services }
}

/** How a client outside the mesh reaches a gateway. */
export interface GatewayExample {
  /** Of a program that knows nothing of the mesh. */
  readonly command: string
  /** For `dinghy call outside`. */
  readonly url: string
}

/** How to reach each gateway: one example per host that it serves over HTTP. */
export function gatewayExamples(context: PushContext, views: readonly WorkloadView[]): GatewayExample[] {
  const { registry, gateways } = context
  const seen = new Set<string>()
  return views.flatMap((view) => {
    const workload = registry.workload(view.namespace, view.name)
    if (!workload?.gateway || seen.has(`${workload.namespace}/${workload.workloadName}`)) return []
    seen.add(`${workload.namespace}/${workload.workloadName}`)
    const targets = registry.targets(workload)
    const merged = gateways.of({ type: 'router', labels: workload.labels, targets })
    const hosts = new Set<string>()
    return (merged?.ports ?? []).flatMap(({ port, servers }) => {
      const at = view.inbound[port]
      if (!at) return []
      return servers.flatMap((server) =>
        hostsOf(context, workload, server).flatMap((host) => {
          const key = `${host.host} ${server.server.tls !== undefined}`
          if (hosts.has(key)) return []
          hosts.add(key)
          return [example(server, host, at, publishedPorts(targets, port, server.server.port.number)[0]!)]
        }),
      )
    })
  })
}

interface Route {
  host: string
  path: string
}

/** The hosts of a server for which there is a route, and a path that its first rule takes. */
function hostsOf({ virtualServices }: PushContext, { namespace }: Workload, server: GatewayServer): Route[] {
  if (server.routeName === '') return []
  return virtualServices.visible(namespace, server.gateway).flatMap((config) => {
    const uri = config.http[0]?.rule.match?.[0]?.uri
    const path = uri?.exact ?? uri?.prefix ?? '/'
    const hosts = intersection(hostsForNamespace(server.hosts, config.namespace), config.hosts)
    return hosts.map((host) => ({ host, path }))
  })
}

function example(
  { server, routeName }: GatewayServer,
  { host: written, path }: Route,
  at: string,
  published: number,
): GatewayExample {
  const host = written === '*' ? '' : written.replace(/^\*/, 'any')
  const secure = routeName.startsWith('https.')
  const usual = published === (secure ? 443 : 80)
  const url = `${secure ? 'https' : 'http'}://${host || 'any.example.com'}${usual ? '' : `:${published}`}${path}`
  if (!secure) {
    const header = host ? `-H 'Host: ${host}' ` : ''
    const follows = server.tls?.httpsRedirect ? '-i ' : ''
    return { url, command: `curl ${follows}${header}http://${at}${path}` }
  }
  const [ip, port] = [at.slice(0, at.lastIndexOf(':')), at.slice(at.lastIndexOf(':') + 1)]
  const certificate = server.tls?.mode === 'MUTUAL' ? '--cert client.pem --key client.key ' : ''
  const where = host ? `--resolve ${host}:${port}:${ip} https://${host}:${port}` : `https://${at}`
  return { url, command: `curl -k ${certificate}${where}${path}` }
}
