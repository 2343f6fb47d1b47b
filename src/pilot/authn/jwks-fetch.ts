import dns from 'node:dns'
import net from 'node:net'
import { Agent, buildConnector, type Dispatcher, EnvHttpProxyAgent, request } from 'undici'
import type { Runtime } from '../../runtime.ts'
import { addressGuard } from './blocked-addresses.ts'
import { leadsIntoMesh, type MeshDial } from './mesh-dial.ts'
import { trustedRoots } from './trusted-roots.ts'

/** What fetching depends on. */
export interface FetchOptions {
  readonly runtime: Runtime
  /** The environment, '' for what is not set. */
  readonly variable: (name: string) => string
  /** Default: every name is asked of the system. */
  readonly dial?: MeshDial | undefined
}

/** As many as Go's client follows. */
const MAX_REDIRECTS = 10
const MAX_BYTES = 10 << 20
/** Of an answer that is none, so much is told. */
const QUOTED = 100

/**
 * Gets documents for pilot, as istiod's clients do it: directly or by the proxy that the environment names, on a
 * connection of its own, and never from link-local addresses (pilot/pkg/model/jwks_resolver.go).
 */
export class JwksFetcher {
  readonly #runtime: Runtime
  readonly #dial: MeshDial
  readonly #variable: (name: string) => string
  readonly #guard: (ip: string) => string | undefined
  #agents: { direct: Agent; proxied: EnvHttpProxyAgent } | undefined
  #closed = false

  constructor({ runtime, variable, dial = () => undefined }: FetchOptions) {
    this.#runtime = runtime
    this.#dial = dial
    this.#variable = variable
    this.#guard = addressGuard(variable('BLOCKED_CIDRS_IN_JWKS_URIS'))
  }

  /** The body of a 2xx answer that comes within `timeout` milliseconds. Rejects with what went wrong, in words. */
  async get(url: string, timeout: number): Promise<string> {
    const abort = new AbortController()
    const timer = this.#runtime.after(timeout, () => abort.abort(new Error(`no answer within ${timeout / 1000} s`)))
    try {
      return await this.#follow(url, abort.signal)
    } catch (error) {
      throw abort.signal.aborted ? abort.signal.reason : new Error(inWords(error))
    } finally {
      timer.cancel()
    }
  }

  /** Ends what is under way. */
  async close(): Promise<void> {
    this.#closed = true
    const agents = this.#agents
    this.#agents = undefined
    await Promise.all([agents?.direct.destroy(), agents?.proxied.destroy()])
  }

  async #follow(first: string, signal: AbortSignal): Promise<string> {
    let url = first
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) throw new Error(`${url} is no http or https URL`)
      if (this.#closed) throw new Error('nothing is fetched any more')
      const dispatcher = this.#agentFor(url)
      const answer = await request(url, { dispatcher, signal, headers: headersFor(url) })
      const { location } = answer.headers
      if ([301, 302, 303, 307, 308].includes(answer.statusCode) && typeof location === 'string') {
        await answer.body.dump()
        url = new URL(location, url).href
        continue
      }
      const body = await read(answer.body)
      if (answer.statusCode < 200 || answer.statusCode > 299) {
        const text = body.length > QUOTED ? `${body.slice(0, QUOTED)}…` : body
        throw new Error(`status ${answer.statusCode}${text ? ` (${JSON.stringify(text)})` : ''}`)
      }
      return body
    }
    throw new Error(`more than ${MAX_REDIRECTS} redirects`)
  }

  #agentFor(url: string): Dispatcher {
    const { protocol, hostname } = new URL(url)
    const names = protocol === 'https:' ? ['HTTPS_PROXY', 'https_proxy'] : ['HTTP_PROXY', 'http_proxy']
    const proxy = names.map(this.#variable).find(Boolean)
    this.#agents ??= this.#makeAgents()
    const local = hostname === 'localhost' || /^127\.|^\[::1\]$/.test(hostname)
    return proxy && !local && !leadsIntoMesh(this.#dial, url) ? this.#agents.proxied : this.#agents.direct
  }

  #makeAgents(): { direct: Agent; proxied: EnvHttpProxyAgent } {
    const variable = this.#variable
    const insecure = /^(?:1|t|T|true|True|TRUE)$/.test(variable('JWKS_RESOLVER_INSECURE_SKIP_VERIFY'))
    const tls = { ca: trustedRoots(variable), rejectUnauthorized: !insecure }
    const connect = this.#connector(tls)
    return {
      // Without pipelining every request has a connection of its own, and says so.
      direct: new Agent({ connect, pipelining: 0 }),
      proxied: new EnvHttpProxyAgent({
        connect,
        requestTls: tls,
        pipelining: 0,
        proxyTunnel: false,
        httpProxy: variable('HTTP_PROXY') || variable('http_proxy'),
        httpsProxy: variable('HTTPS_PROXY') || variable('https_proxy'),
        noProxy: variable('NO_PROXY') || variable('no_proxy'),
      }),
    }
  }

  /** Connects to the socket beneath a host of the mesh, and to others by the system's resolver. */
  #connector(tls: { ca: string[]; rejectUnauthorized: boolean }): buildConnector.connector {
    const connect = buildConnector({ ...tls, lookup: this.#lookup } as buildConnector.BuildOptions)
    return (options, callback) => {
      const host = options.hostname.replace(/^\[|\]$/g, '')
      const port = Number(options.port || (options.protocol === 'https:' ? 443 : 80))
      const inMesh = this.#dial(host, port)
      // What is an address already is not looked up.
      const ip = inMesh?.ip ?? (net.isIP(host) ? host : undefined)
      const blocked = ip && this.#guard(ip)
      if (blocked) {
        callback(new Error(blocked), null)
        return
      }
      if (inMesh) {
        const servername = options.servername ?? (net.isIP(host) ? undefined : host)
        connect({ ...options, hostname: inMesh.host, port: String(inMesh.port), servername }, callback)
      } else {
        connect(options, callback)
      }
    }
  }

  readonly #lookup: net.LookupFunction = (hostname, options, callback) => {
    dns.lookup(hostname, options, (error, found, family) => {
      const addresses = Array.isArray(found) ? found.map(({ address }) => address) : [found]
      const blocked = error ? undefined : addresses.map(this.#guard).find((reason) => reason !== undefined)
      if (blocked !== undefined) callback(new Error(blocked), found, family)
      else callback(error, found, family)
    })
  }
}

/** Some servers refuse who does not say what it is. */
function headersFor(url: string): Record<string, string> {
  const headers = { accept: '*/*', 'user-agent': 'dinghy' }
  const { username, password } = new URL(url)
  if (username === '' && password === '') return headers
  const login = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  return { ...headers, authorization: `Basic ${Buffer.from(login).toString('base64')}` }
}

async function read(body: Dispatcher.ResponseData['body']): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_BYTES) throw new Error(`the answer has more than ${MAX_BYTES >> 20} MiB`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

/** What the parts of a failure say; a name with several addresses fails once for each. */
function inWords(error: unknown): string {
  const { message, errors, code, hostname } = error as Error & { errors?: Error[]; code?: string; hostname?: string }
  if (code === 'ENOTFOUND') return `the name ${hostname} is not known`
  return message || errors?.map((one) => one.message).join(', ') || code || 'it failed'
}
