import { execFile } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { makeAuthority, makeIdentity } from '../support/certificates.ts'
import { dinghyProxy, type RunningEnvoy, startEnvoy } from './envoy.ts'

const MODULE = 'github.com/summerwind/h2spec/cmd/h2spec'
const VERSION = 'v2.2.1+incompatible'
/** What node:http2 passes by itself, of 145; a real Envoy 1.40 passes 139 with this configuration. */
const AT_LEAST = 137

const run = promisify(execFile)
const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-h2spec-'))
let h2spec = ''
let proxy: RunningEnvoy | undefined
let ports: { plain: number; tls: number }

/** Builds h2spec by Go, in a module of its own. */
async function build(): Promise<string> {
  const target = process.env.DINGHY_TEST_H2SPEC
  if (target) return target
  try {
    await run('go', ['mod', 'init', 'h2spec'], { cwd: dir })
    await run('go', ['get', `${MODULE}@${VERSION}`], { cwd: dir })
    await run('go', ['build', '-mod=mod', MODULE], { cwd: dir })
    return path.join(dir, 'h2spec')
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new Error(
      `THE H2SPEC TESTS HAVE NOT RUN: there is no h2spec. Building ${MODULE} with Go failed (${why.trim()}). ` +
        'It needs Go 1.21 or newer with access to modules, or set DINGHY_TEST_H2SPEC to a binary.',
    )
  }
}

async function freePort(): Promise<number> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

const typed = (name: string) => `type.googleapis.com/envoy.extensions.${name}`

function listener(name: string, port: number, chain: object): object {
  return {
    name,
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [
      {
        ...chain,
        filters: [
          {
            name: 'envoy.filters.network.http_connection_manager',
            typed_config: {
              '@type': typed('filters.network.http_connection_manager.v3.HttpConnectionManager'),
              stat_prefix: name,
              delayed_close_timeout: '0.1s',
              route_config: {
                virtual_hosts: [
                  {
                    name: 'all',
                    domains: ['*'],
                    routes: [
                      {
                        match: { prefix: '/' },
                        direct_response: { status: 200, body: { inline_string: 'a body of some length' } },
                      },
                    ],
                  },
                ],
              },
              http_filters: [{ name: 'router', typed_config: { '@type': typed('filters.http.router.v3.Router') } }],
            },
          },
        ],
      },
    ],
  }
}

beforeAll(async () => {
  h2spec = await build()
  const { cert, key } = await makeIdentity(await makeAuthority('CN=test'), 'CN=localhost', [
    { type: 'dns', value: 'localhost' },
  ])
  ports = { plain: await freePort(), tls: await freePort() }
  const tls = {
    transport_socket: {
      name: 'tls',
      typed_config: {
        '@type': typed('transport_sockets.tls.v3.DownstreamTlsContext'),
        common_tls_context: {
          alpn_protocols: ['h2'],
          tls_certificates: [{ certificate_chain: { inline_string: cert }, private_key: { inline_string: key } }],
        },
      },
    },
  }
  proxy = await startEnvoy(
    { static_resources: { listeners: [listener('plain', ports.plain, {}), listener('tls', ports.tls, tls)] } },
    dinghyProxy,
  )
}, 180_000)

afterAll(async () => {
  await proxy?.stop()
  fs.rmSync(dir, { recursive: true, force: true })
})

it.each(['plain', 'tls'] as const)(
  'h2spec passes on a listener with %s connections',
  async (kind) => {
    const args = ['-h', '127.0.0.1', '-p', String(ports[kind]), '-o', '2', ...(kind === 'tls' ? ['-t', '-k'] : [])]
    // It fails as a program when a single test does.
    const output = await run(h2spec, args, { maxBuffer: 1 << 24 }).then(
      (done) => done.stdout,
      (failed: { stdout?: string }) => failed.stdout ?? '',
    )
    const [, total, passed] = /(\d+) tests, (\d+) passed/.exec(output) ?? []
    expect(Number(total), output.slice(-2000)).toBe(145)
    expect(Number(passed), output.slice(output.indexOf('Failures'))).toBeGreaterThanOrEqual(AT_LEAST)
  },
  180_000,
)
