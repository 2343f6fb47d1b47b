import net from 'node:net'
import { ProxyServer, type ProxyServerOptions } from '../../src/proxy/server.ts'
import { SystemRuntime } from '../../src/runtime-system.ts'
import { readJson } from '../../src/xds/json.ts'

/** A proxy that runs in this process, with what it said to its operator. */
export interface RunningProxy {
  readonly server: ProxyServer
  readonly warnings: string[]
  /** The port that a listener's first address is bound to. */
  port(listener: string): number
  counter(name: string): number
  admin(path: string, method?: string): Promise<{ status: number; body: string }>
  stop(): Promise<void>
}

/** Starts a proxy from a bootstrap in JSON; the admin interface is added. */
export async function startProxy(bootstrap: object, options: Partial<ProxyServerOptions> = {}): Promise<RunningProxy> {
  const warnings: string[] = []
  const json = { node: { id: 'test', cluster: 'test' }, admin: { address: socketAddress(0) }, ...bootstrap }
  const server = new ProxyServer({
    // Through text, as from a file: what is undefined is absent.
    bootstrap: readJson('envoy.config.bootstrap.v3.Bootstrap', JSON.parse(JSON.stringify(json))),
    runtime: new SystemRuntime(),
    warn: (line) => warnings.push(line),
    ...options,
  })
  await server.start()
  return {
    server,
    warnings,
    port(listener) {
      const managed = server.listeners.all().find((l) => l.name === listener)
      const [address] = managed?.sockets.addresses ?? []
      if (!address) throw new Error(`listener ${listener} is not bound`)
      return address.port
    },
    counter: (name) => server.stats.counters.get(name)?.value ?? server.stats.gauges.get(name)?.value ?? 0,
    async admin(path, method = 'GET') {
      const { ip, port } = server.adminAddress!
      const response = await fetch(`http://${ip}:${port}${path}`, { method })
      return { status: response.status, body: await response.text() }
    },
    stop: () => server.stop(),
  }
}

/** An Address message; port 0 picks a free one. */
export function socketAddress(port: number, address = '127.0.0.1'): object {
  return { socket_address: { address, port_value: port } }
}

/** A STATIC cluster with one host. */
export function staticCluster(name: string, port: number, more: object = {}): object {
  return {
    name,
    type: 'STATIC',
    connect_timeout: '1s',
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress(port) } }] }],
    },
    ...more,
  }
}

/** A tcp_proxy filter. */
export function tcpProxyFilter(more: object): object {
  return {
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
      stat_prefix: 't',
      ...more,
    },
  }
}

/** A filter chain that proxies to a cluster. */
export function tcpChain(cluster: string, more: object = {}): object {
  return { filters: [tcpProxyFilter({ cluster })], ...more }
}

/** A connection manager that answers every request with a text. */
export function httpFilter(body: string, more: object = {}): object {
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
      stat_prefix: 'h',
      route_config: {
        name: 'r',
        virtual_hosts: [
          {
            name: 'all',
            domains: ['*'],
            routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: body } } }],
          },
        ],
      },
      http_filters: [
        {
          name: 'envoy.filters.http.router',
          typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
        },
      ],
      ...more,
    },
  }
}

/** A TCP server that names itself, then echoes; `close` also ends its connections. */
export async function echoServer(
  greeting: string,
): Promise<{ port: number; close(): void; sockets: net.Socket[]; server: net.Server }> {
  const sockets: net.Socket[] = []
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    if (greeting) socket.write(greeting)
    socket.pipe(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as net.AddressInfo).port,
    sockets,
    server,
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** A client connection that remembers what it received and how it ended. */
export class Client {
  readonly socket: net.Socket
  text = ''
  error: string | undefined
  private readonly waiting: { until: (text: string) => boolean; resolve: () => void }[] = []
  /** The other side has ended or reset the connection. */
  readonly ended: Promise<void>

  constructor(port: number, host = '127.0.0.1') {
    this.socket = net.connect({ port, host, allowHalfOpen: true })
    this.socket.on('data', (data) => {
      this.text += data.toString('latin1')
      for (const w of this.waiting) if (w.until(this.text)) w.resolve()
    })
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      this.error = error.code
    })
    this.ended = new Promise((resolve) => {
      this.socket.once('end', () => resolve())
      this.socket.once('close', () => resolve())
    })
  }

  write(text: string): void {
    this.socket.write(text, 'latin1')
  }

  /** Resolves when the text received so far contains `wanted`. */
  receives(wanted: string): Promise<void> {
    const until = (text: string) => text.includes(wanted)
    if (until(this.text)) return Promise.resolve()
    return new Promise((resolve) => this.waiting.push({ until, resolve }))
  }

  destroy(): void {
    this.socket.destroy()
  }
}

/** Resolves when `condition` holds; looks again after each turn of the event loop. */
export async function eventually(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2))
}
