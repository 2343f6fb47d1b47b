import http from 'node:http'
import type net from 'node:net'
import type { ProxyServerOptions } from '../../src/proxy/server.ts'
import { httpFilter, type RunningProxy, socketAddress, startProxy } from './proxy.ts'

/** What an upstream of a test does: an http handler, or 'down' for a port where nobody listens. */
export type Upstream = http.RequestListener | 'down'

/** One endpoint's settings, in the words of the API. */
export interface Endpoint {
  readonly weight?: number
  readonly status?: string
  readonly labels?: Record<string, unknown>
}

/** A group of endpoints in one locality, by the names of their upstreams. */
export interface Group {
  readonly zone?: string
  readonly priority?: number
  readonly weight?: number
  readonly hosts: Record<string, Endpoint>
}

export interface Answer {
  readonly status: number
  readonly body: string
  readonly headers: http.IncomingHttpHeaders
}

/** A proxy with one cluster `a`, whose upstreams answer with their names unless told otherwise. */
export interface SpreadProxy extends RunningProxy {
  call(options?: { path?: string; headers?: http.OutgoingHttpHeaders }): Promise<Answer>
  /** Addresses of the upstreams, `ip:port`. */
  readonly addresses: Record<string, string>
  stop(): Promise<void>
}

/** Starts it. `route` and `cluster` are merged into the route's action and the cluster. */
export async function startSpread(options: {
  readonly groups: readonly Group[]
  readonly upstreams?: Record<string, Upstream>
  readonly cluster?: object
  readonly route?: object
  readonly hcm?: object
  readonly bootstrap?: object
  readonly moreClusters?: readonly object[]
  readonly proxy?: Partial<ProxyServerOptions>
}): Promise<SpreadProxy> {
  const servers: http.Server[] = []
  const ports: Record<string, number> = {}
  for (const name of options.groups.flatMap((g) => Object.keys(g.hosts))) {
    const handler = options.upstreams?.[name] ?? ((_request, response) => response.end(name))
    const server = http.createServer(handler === 'down' ? undefined : handler)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    ports[name] = (server.address() as net.AddressInfo).port
    if (handler === 'down') server.close()
    else servers.push(server)
  }
  const endpoints = options.groups.map((group) => ({
    ...(group.zone === undefined ? {} : { locality: { region: 'r', zone: group.zone } }),
    priority: group.priority ?? 0,
    load_balancing_weight: group.weight,
    lb_endpoints: Object.entries(group.hosts).map(([name, host]) => ({
      endpoint: { address: socketAddress(ports[name]!) },
      load_balancing_weight: host.weight,
      health_status: host.status,
      metadata: { filter_metadata: { 'envoy.lb': { hash_key: name, ...host.labels } } },
    })),
  }))
  const routes = [{ match: { prefix: '/' }, route: { cluster: 'a', ...options.route } }]
  const bootstrap = {
    static_resources: {
      listeners: [
        {
          name: 'l',
          address: socketAddress(0),
          filter_chains: [
            {
              filters: [
                httpFilter('', {
                  route_config: { name: 'r', virtual_hosts: [{ name: 'all', domains: ['*'], routes }] },
                  ...options.hcm,
                }),
              ],
            },
          ],
        },
      ],
      clusters: [
        {
          name: 'a',
          type: 'STATIC',
          connect_timeout: '1s',
          load_assignment: { cluster_name: 'a', endpoints },
          ...options.cluster,
        },
        ...(options.moreClusters ?? []),
      ],
    },
    ...options.bootstrap,
  }
  const running = await startProxy(bootstrap, options.proxy)
  return {
    ...running,
    addresses: Object.fromEntries(Object.entries(ports).map(([name, port]) => [name, `127.0.0.1:${port}`])),
    call: ({ path = '/', headers = {} } = {}) =>
      new Promise((resolve, reject) => {
        const request = http.get(
          { host: '127.0.0.1', port: running.port('l'), path, headers, agent: false },
          (answer) => {
            let body = ''
            answer.setEncoding('utf8')
            answer.on('data', (chunk: string) => {
              body += chunk
            })
            answer.on('end', () => resolve({ status: answer.statusCode!, body, headers: answer.headers }))
          },
        )
        request.on('error', reject)
      }),
    async stop() {
      await running.stop()
      for (const server of servers) {
        server.closeAllConnections()
        server.close()
      }
    },
  }
}

/** Requests that wait at an upstream until they are let go. */
export class Gate {
  private readonly waiting: (() => void)[] = []
  private arrived = 0
  private readonly watchers: { count: number; resolve: () => void }[] = []

  /** An upstream that answers with `name` once it may. */
  readonly upstream = (name: string): http.RequestListener => {
    return (_request, response) => {
      this.waiting.push(() => response.end(name))
      this.arrived++
      for (const w of this.watchers) if (this.arrived >= w.count) w.resolve()
    }
  }

  /** Resolves when so many requests have arrived in all. */
  reached(count: number): Promise<void> {
    if (this.arrived >= count) return Promise.resolve()
    return new Promise((resolve) => this.watchers.push({ count, resolve }))
  }

  /** Lets go those that wait now. */
  open(): void {
    for (const go of this.waiting.splice(0)) go()
  }
}
